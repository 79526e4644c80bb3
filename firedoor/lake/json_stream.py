"""JSON records, however they stand in a stream: one a line, one after another, or in a list.

A list may stand alone or in an object, below a name that one of the clouds gives it. What is of the
size of a usual object is decoded at once; what is larger, or ends too early, is cut into records by
its brackets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from firedoor.log_source import Refusal

AT_ONCE: Final = 64 << 20
"""Up to how many bytes a document is decoded at once."""
LISTS: Final = ("Records", "records", "value", "Events", "entries")
_OPENING: Final = re.compile(
    rb'\s*\{\s*"(?:' + "|".join(LISTS).encode() + rb')"\s*:\s*\[|\s*\['
)  # fmt: skip
_CLOSING: Final = re.compile(rb"\](?:\s*\})?\s*\Z")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_BETWEEN: Final = b" \t\r\n,"


@dataclass
class Batch:
    """Some of the records, and what is none."""

    raws: list[msgspec.Raw] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class _Document(msgspec.Struct):
    """An object that holds nothing but a list of records, by the names that the clouds use."""

    Records: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    records: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    value: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    Events: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    entries: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_document: Final = msgspec.json.Decoder(_Document)
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_any: Final = msgspec.json.Decoder(msgspec.Raw)
_WRONG: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Stream:
    """The records of a stream of JSON.

    `resumed` says that it begins within a list, where an earlier reading ended.
    """

    def __init__(self, blocks: Iterator[bytes], longest: int, *, resumed: bool = False) -> None:
        self._blocks, self._longest, self._resumed = blocks, longest, resumed
        self.consumed = 0
        """Up to which byte there are only whole records."""
        self.unfinished = ""
        """Why the last record is not whole, if it is not."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the records, at most so many at a time."""
        head = b""
        for block in self._blocks:
            head += block
            if len(head) > AT_ONCE:
                break
        else:
            whole = None if self._resumed else self._at_once(head)
            if whole is not None:
                # Azure writes what is new before the brackets that end a list.
                end = max(0, len(head) - 1024)
                closing = _CLOSING.search(head, end) if _OPENING.match(head) else None
                self.consumed = closing.start() if closing and whole else len(head)
                for first in range(0, len(whole), size):
                    yield Batch(whole[first : first + size])
                return
        yield from self._cut(head, size)

    def _at_once(self, text: bytes) -> list[msgspec.Raw] | None:
        """Return the records of a document or of lines, or None if it is neither."""
        try:
            return _records_of(text)
        except _WRONG:
            lines = text.splitlines()
        try:
            return [raw for line in lines if line.strip() for raw in _records_of(line)]
        except _WRONG:
            return None

    def _cut(self, text: bytes, size: int) -> Iterator[Batch]:
        """Yield records as brackets and lines part them, with no more than a block in memory."""
        cutter = _Cutter(self._longest, resumed=self._resumed)
        batch = Batch()
        held = 0
        for block in self._with_rest(text):
            for one in cutter.feed(block):
                (batch.refused if isinstance(one, Refusal) else batch.raws).append(one)  # type: ignore[arg-type]
                held += len(one.text if isinstance(one, Refusal) else bytes(one))
                if len(batch.raws) + len(batch.refused) >= size or held >= AT_ONCE:
                    yield batch
                    batch = Batch()
                    held = 0
        if one := cutter.end():
            self.unfinished = one.reason
        self.consumed = cutter.consumed
        if batch.raws or batch.refused:
            yield batch

    def _with_rest(self, text: bytes) -> Iterator[bytes]:
        yield text
        yield from self._blocks


def _records_of(text: bytes) -> list[msgspec.Raw]:
    """Return the records of one JSON document; raises one of `_WRONG`."""
    if text.lstrip()[:1] == b"[":
        return _list.decode(text)
    if _OPENING.match(text):
        told = _document.decode(text)
        for name in LISTS:
            found = getattr(told, name)
            if found is not msgspec.UNSET:
                return list(found)
    return [_any.decode(text)]


class _Cutter:
    """Cuts a growing text into JSON values by their brackets."""

    def __init__(self, longest: int, *, resumed: bool) -> None:
        self._text = b""
        self._longest = longest
        self._inside = resumed
        self._resumed = resumed
        self._begun = resumed
        self._number = 0
        self._skipping = False
        self.consumed = 0

    def feed(self, block: bytes) -> Iterator[msgspec.Raw | Refusal]:
        self._text += block
        at = 0
        if not self._begun and (found := _OPENING.match(self._text)):
            at, self._inside = found.end(), True
        self._begun = True
        while (end := self._next(at)) is not None:
            start, at = end[0], end[1]
            self._number += 1
            value = self._text[start:at]
            try:
                # Where a reading goes on, another document may follow the list that it was in.
                whole = not self._inside or self._resumed
                yield from _records_of(value) if whole else [_any.decode(value)]
            except _WRONG as error:
                yield Refusal(self._number, str(error), value)
        self.consumed += at
        self._text = self._text[at:]
        if len(self._text) > self._longest:
            self._number += 1
            why = f"a record of over {self._longest >> 20} MB"
            yield Refusal(self._number, why, self._text[:4096])
            # Its end cannot be told from an end within it: go on after the next line's.
            cut = self._text.rfind(b"\n") + 1 or len(self._text)
            self.consumed += cut
            self._text = self._text[cut:]

    def end(self) -> Refusal | None:
        """Return what is left, if it is more than the end of a list."""
        left = self._text.strip(_BETWEEN + b"]}")
        return Refusal(self._number + 1, "it ends within a record", left[:4096]) if left else None

    def _next(self, at: int) -> tuple[int, int] | None:
        """Return where the next whole value begins and ends."""
        text = self._text
        while at < len(text) and text[at] in (b" \t\r\n,]}" if self._inside else b" \t\r\n,"):
            at += 1
        if at >= len(text):
            return None
        if text[at] not in b"{[":
            return self._line(at)
        depth = 0
        for token in _TOKEN.finditer(text, at):
            mark = text[token.start()]
            if mark in b"{[":
                depth += 1
            elif mark in b"}]":
                depth -= 1
                if depth == 0:
                    return at, token.end()
            # A line that ends within a record is a record of its own that is damaged.
        broken = text.find(b"\n", at)
        if broken >= 0 and not self._inside and _starts_anew(text, broken):
            return at, broken
        return None

    def _line(self, at: int) -> tuple[int, int] | None:
        """Return a line that is no JSON at all."""
        end = self._text.find(b"\n", at)
        return None if end < 0 else (at, end)


def _starts_anew(text: bytes, at: int) -> bool:
    """Whether a record begins in the next line, as in JSON lines."""
    return text[at + 1 : at + 3] in (b'{"', b"{}")
