"""Adding people and keys to the two files of responders, which keep all that is in them."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

from firedoor import allowed_signers, rosters
from firedoor.document import Document, Problem, read
from firedoor.errors import BadInput, Refused
from firedoor.model.responder import Key, Person

INDENT = "  "
PLAIN = re.compile(r"[A-Za-z][\w.@+-]*")


class Newcomer(NamedTuple):
    """Who is added, with a key; someone who is known gets one more."""

    name: str
    public: str
    comment: str
    person: Person

    @property
    def line(self) -> str:
        """The line of `allowed_signers`."""
        return allowed_signers.line(self.name, self.public, self.comment)

    @property
    def entry(self) -> tuple[str, ...]:
        """The lines of `responders.yaml`, without their indentation."""
        said = self.person.model_dump(exclude_defaults=True)
        members = [f"{INDENT}{member}: {_yaml(value)}" for member, value in said.items()]
        name = rosters.written(self.name)
        return (f"{name}:", *members) if members else (f"{name}: {{}}",)


class Change(NamedTuple):
    """What a file holds, and what it is to hold."""

    file: Path
    before: str
    after: str
    added: tuple[str, ...]


def planned(newcomer: Newcomer, responders: Path, signers: Path) -> tuple[Change, ...]:
    """Return what adding somebody would change; what is there stays as it is written.

    Raises `BadInput` if the files could not be read afterwards, or are not in order already.
    """
    if not allowed_signers.NAME.fullmatch(newcomer.name):
        raise BadInput("NAME", newcomer.name, "use letters, digits and . _ @ + - in names")
    people, keys = _text(responders), _text(signers)
    document = _document(people, responders)
    known = document.value.get("people") or {} if document else {}
    if known:
        rosters.parse(people, str(responders), keys, str(signers))
    gateways = document.value.get("gateways") or () if document else ()
    changes = []
    if newcomer.name not in known and newcomer.name not in gateways:
        changes.append(
            Change(responders, people, _with(people, document, newcomer.entry), newcomer.entry)
        )
    elif newcomer.person != Person():
        what = f"{newcomer.name} is there already: change their groups and addresses in the file"
        raise BadInput("responders", str(responders), what)
    head = "" if keys else rosters.SIGNERS_HEAD
    added = f"{head}{_ended(keys)}{newcomer.line}\n"
    changes.append(Change(signers, keys, added, (newcomer.line,)))
    _check(newcomer, changes[0].after if len(changes) > 1 else people, added, responders, signers)
    return tuple(changes)


def write(changes: tuple[Change, ...]) -> None:
    """Write files as they were planned, each whole or not at all.

    Raises `Refused` if one has changed meanwhile.
    """
    directory = changes[0].file.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with rosters.locked(directory):
            for change in changes:
                if _text(change.file) != change.before:
                    raise Refused(f"{change.file} has changed meanwhile: try again")
            for change in changes:
                _replace(change.file.resolve(), change.after)
    except OSError as error:
        what = f"it cannot be written: {error.strerror}"
        raise BadInput("responders", str(error.filename or directory), what) from error


def _check(newcomer: Newcomer, people: str, keys: str, responders: Path, signers: Path) -> None:
    """Require that the files are read as they are meant once they are written."""
    roster = rosters.parse(people, str(responders), keys, str(signers)).roster
    found = roster.people.get(newcomer.name) or roster.gateways.get(newcomer.name)
    if found is None or newcomer.public not in {key.public for key in found.keys}:
        what = f"{Key(public=newcomer.public).fingerprint} would not count: is it revoked?"
        raise BadInput("responders", str(responders), what)
    meant = newcomer.person
    if meant != Person() and Person(**found.model_dump(exclude={"keys"})) != meant:
        what = f"what is said of {newcomer.name} cannot be written: use characters that are seen"
        raise BadInput("responders", str(responders), what)


def _document(text: str, file: Path) -> Document | None:
    """Return what the people's file says, or None if it says nothing yet."""
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        return None
    document = read(text, str(file), only_text=True)
    if isinstance(document, Problem):
        what = f"{document.problem}: {document.mend}"
        raise BadInput(str(file), f"line {document.line}", what)
    if not isinstance(document.value, dict):
        raise BadInput(str(file), "line 1", "it is not a mapping: write `people:`")
    return document


def _with(text: str, document: Document | None, entry: tuple[str, ...]) -> str:
    """Return the people's file with one more person, behind the last one."""
    if document is None:
        return _ended(text) + "".join(_indented((rosters.HEAD, *entry), text))
    node = _people(document)
    if node is None:
        return _ended(text) + "".join(_indented(("people:\n", *entry), text))
    first = node.value[0][0].start_mark.column if _is_block(node) else len(INDENT)
    if isinstance(node, yaml.MappingNode) and not _is_block(node):
        if node.value:
            what = "write people one below the other, for another to be added"
            raise BadInput(document.file, f"line {document.line(('people',))}", what)
        # `people: {}` says that there is nobody.
        text = text[: node.start_mark.index].rstrip(" ") + text[node.end_mark.index :]
    lines = _ended(text).splitlines(keepends=True)
    last = _last_line(node) + 1
    return "".join((*lines[:last], *(f"{' ' * first}{line}\n" for line in entry), *lines[last:]))


def _indented(lines: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return a head and lines below it; what already has comments needs no other."""
    head, *entry = lines
    if text.strip():
        head = "people:\n"
    return (head, *(f"{INDENT}{line}\n" for line in entry))


def _people(document: Document) -> yaml.Node | None:
    root = document.root
    members = root.value if isinstance(root, yaml.MappingNode) else ()
    return next((value for key, value in members if key.value == "people"), None)


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _last_line(node: yaml.Node) -> int:
    """Return the number of a value's last line, without comments and blank lines behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.line)


def _yaml(value: object) -> str:
    """Return a value on one line, as YAML reads it back."""
    match value:
        case dict():
            inner = ", ".join(f"{member}: {_yaml(one)}" for member, one in value.items())
            return f"{{{inner}}}"
        case list() | tuple():
            return f"[{', '.join(map(_yaml, value))}]"
        case str() if PLAIN.fullmatch(value):
            return value
    return json.dumps(value, ensure_ascii=False)


def _ended(text: str) -> str:
    """Return a text whose last line has an end."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def _text(file: Path) -> str:
    return rosters.text_of("responders", file) if file.exists() else ""


def _replace(file: Path, text: str) -> None:
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
            os.fchmod(out.fileno(), mode)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink()
        raise
