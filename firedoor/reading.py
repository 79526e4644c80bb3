"""The findings in whatever a file, a pipe or a message holds."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from firedoor.discovery import find
from firedoor.errors import NotAFinding
from firedoor.model.finding import Finding
from firedoor.source import Source

GZIP = b"\x1f\x8b"


def read(content: str | bytes, name: str) -> Iterator[Finding]:
    """Yield the findings in one JSON document, in JSON lines, or in either packed with gzip.

    A document is a finding, an event with one, or a list of these, also below `Findings`. `name`
    is what people call the content. Raises `NotAFinding` at the first that cannot be read.
    """
    text = _text(content, name)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0][1]):
            raise _not_json(name, text, error) from error
        for number, line in lines:
            yield from _read_line(line, f"{name}:{number}")
    else:
        yield from parse(document, name)


def parse(document: Any, name: str) -> tuple[Finding, ...]:
    """Return the findings in one decoded JSON document.

    Raises `NotAFinding`.
    """
    match document:
        case list():
            return _parse_all(document, f"{name}: ")
        case {"Findings": list(listed)}:
            return _parse_all(listed, f"{name}: Findings")
        case {"findings": list(listed)}:
            return _parse_all(listed, f"{name}: findings")
    return _parse_one(document, name)


def _parse_all(documents: list[Any], name: str) -> tuple[Finding, ...]:
    if not documents:
        raise NotAFinding(name.removesuffix(": "), "", "expected findings, but the list is empty")
    found = (_parse_one(document, f"{name}[{n}]") for n, document in enumerate(documents))
    return tuple(chain.from_iterable(found))


def _parse_one(document: Any, name: str) -> tuple[Finding, ...]:
    sources: Mapping[str, Source] = find("firedoor.findings", Source)
    for source in sources.values():
        if source.recognises(document):
            return source.parse(document, name)
    known = " or ".join(source.title for source in sources.values())
    raise NotAFinding(name, "", f"expected a finding of {known}")


def _read_line(line: str, name: str) -> tuple[Finding, ...]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _not_json(name, line, error) from error
    return parse(document, name)


def _text(content: str | bytes, name: str) -> str:
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        unpacked = gzip.decompress(content) if content.startswith(GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise NotAFinding(name, "", "expected gzip, but it is damaged") from error
    try:
        return unpacked.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotAFinding(name, f"byte {error.start}", "expected UTF-8") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _not_json(name: str, text: str, error: Exception) -> NotAFinding:
    if not text.strip():
        return NotAFinding(name, "", "expected a finding, but it is empty")
    if isinstance(error, json.JSONDecodeError):
        return NotAFinding(name, f"line {error.lineno} column {error.colno}", "expected JSON")
    return NotAFinding(name, "", "expected JSON with less nesting and shorter numbers")
