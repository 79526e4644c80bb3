"""JSON records, however they stand in a stream: one a line, one after another, or in a list.

A list may stand alone or in an object, below a name that one of the clouds gives it. A document of
the size of a usual object is decoded at once, and lines are one by one; what is larger, or ends too
early, is cut into records by its brackets.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import msgspec

from firedoor.errors import Unreadable
from firedoor.log_source import Refusal

AT_ONCE: Final = 64 << 20
"""Up to how many bytes a document is decoded at once."""
PIECE: Final = 4 << 20
"""About how many bytes of records are given at once: as rows they take many times as much."""
LISTS: Final = ("Records", "records", "value", "Events", "entries")
_OPENING: Final = re.compile(
    rb'\s*\{\s*"(?:' + "|".join(LISTS).encode() + rb')"\s*:\s*\[|\s*\['
)  # fmt: skip
_CLOSING: Final = re.compile(rb"\](?:\s*\})?\s*\Z")
# A quotation mark alone is the beginning of a string that does not end.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}\[\]]', re.DOTALL)
_BETWEEN: Final = b" \t\r\n,"
_AROUND, _WITHIN = re.compile(rb"[ \t\r\n,]*+"), re.compile(rb"[ \t\r\n,\]}]*+")
CUT: Final = "it ends within a record"


@dataclass
class Batch:
    """Some of the records, and what is none."""

    raws: list[msgspec.Raw] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    bytes: int = 0
    """How long they are together."""

    def add(self, one: msgspec.Raw | Refusal) -> None:
        """Take in one more."""
        if isinstance(one, Refusal):
            self.refused.append(one)
            self.bytes += len(one.text)
        else:
            self.raws.append(one)
            self.bytes += len(one)


def batches(found: Iterable[msgspec.Raw | Refusal], size: int) -> Iterator[Batch]:
    """Yield what is found, at most so many at a time, and about a `PIECE`."""
    batch = Batch()
    for one in found:
        batch.add(one)
        if len(batch.raws) + len(batch.refused) >= size or batch.bytes >= PIECE:
            yield batch
            batch = Batch()
    if batch.raws or batch.refused:
        yield batch


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
        self.damage: Unreadable | None = None
        """Why the stream ended, if not where it should."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the records, at most so many at a time."""
        blocks = self._undamaged()
        held: deque[bytes] = deque()
        room, ended = AT_ONCE, False
        while room >= 0 and not ended:
            block = next(blocks, b"")
            held.append(block)
            room, ended = room - len(block), not block
        whole = self._at_once(b"".join(held)) if ended and not self._resumed else None
        if whole is None:
            yield from batches(self._cut(chain(_emptied(held), blocks)), size)
        else:
            held.clear()
            yield from batches(whole, size)

    def _at_once(self, text: bytes) -> list[msgspec.Raw] | None:
        """Return the records of a document, or None if it is not one."""
        whole = _whole(text)
        if whole is not None:
            # Azure writes what is new before the brackets that end a list.
            end = max(0, len(text) - 1024)
            closing = _CLOSING.search(text, end) if _OPENING.match(text) else None
            self.consumed = closing.start() if closing and whole else len(text)
        return whole

    def _undamaged(self) -> Iterator[bytes]:
        """Yield what can be read: a record before the damage is as good as any other."""
        try:
            yield from self._blocks
        except Unreadable as error:
            self.damage = error

    def _cut(self, blocks: Iterator[bytes]) -> Iterator[msgspec.Raw | Refusal]:
        """Yield records as lines or brackets part them, with no more than a block in memory."""
        first = next(blocks)
        lines = not self._resumed and _are_lines(first)
        cutter = _Lines(self._longest) if lines else _Cutter(self._longest, resumed=self._resumed)
        for block in chain([first], filter(None, blocks)):
            yield from cutter.feed(block)
        yield from cutter.end()
        self.consumed, self.unfinished = cutter.consumed, cutter.unfinished


def _emptied(blocks: deque[bytes]) -> Iterator[bytes]:
    """Yield blocks, of which each can be forgotten then."""
    while blocks:
        yield blocks.popleft()


def _whole(text: bytes) -> list[msgspec.Raw] | None:
    """Return the records of a document, or None if it is not one."""
    try:
        return _records_of(text)
    except _WRONG:
        return None


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


def _are_lines(text: bytes) -> bool:
    """Whether each line is a document, as the first one is."""
    line, end, _ = text.lstrip().partition(b"\n")
    return bool(end) and _whole(line) is not None


class _Lines:
    """Cuts a growing text into JSON values by its lines."""

    def __init__(self, longest: int) -> None:
        self._carried = b""
        self._longest = longest
        self._number = 0
        self._skipping = False
        self.consumed = 0
        self.unfinished = ""

    def feed(self, block: bytes) -> Iterator[msgspec.Raw | Refusal]:
        whole, end, rest = block.rpartition(b"\n")
        if not end:
            self._carried += block
        else:
            text = self._carried + whole
            self.consumed += len(text) + 1
            self._carried = rest
            for line in text.split(b"\n"):
                self._number += 1
                if self._skipping:
                    self._skipping = False
                elif line.strip():
                    yield from self._records(line)
        if self._skipping:
            self.consumed += len(self._carried)
            self._carried = b""
        elif len(self._carried) > self._longest:
            why = f"a record of over {self._longest >> 20} MB"
            yield Refusal(self._number + 1, why, self._carried[:4096])
            self.consumed += len(self._carried)
            self._carried, self._skipping = b"", True

    def end(self) -> Iterator[msgspec.Raw | Refusal]:
        if not self._carried.strip():
            return
        found = _whole(self._carried)
        if found is None:
            self.unfinished = CUT
            return
        self.consumed += len(self._carried)
        yield from found

    def _records(self, line: bytes) -> Iterator[msgspec.Raw | Refusal]:
        try:
            yield from _records_of(line)
        except _WRONG as error:
            yield Refusal(self._number, str(error), line)


class _Cutter:
    """Cuts a growing text into JSON values by their brackets."""

    def __init__(self, longest: int, *, resumed: bool) -> None:
        self._text = b""
        self._longest = longest
        self._inside = resumed
        self._begun = resumed
        self._skipping = False
        self._number = 0
        self.consumed = 0
        self.unfinished = ""

    def feed(self, block: bytes) -> Iterator[msgspec.Raw | Refusal]:
        if self._skipping:
            skipped, newline, block = block.partition(b"\n")
            self.consumed += len(skipped) + len(newline)
            self._skipping = not newline
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
                # Another document may follow the list that it is in.
                yield from _records_of(value)
            except _WRONG as error:
                yield Refusal(self._number, str(error), value)
        self.consumed += at
        self._text = self._text[at:]
        if len(self._text) > self._longest:
            self._number += 1
            why = f"a record of over {self._longest >> 20} MB"
            yield Refusal(self._number, why, self._text[:4096])
            # Its end cannot be told from an end within it: go on after the next line's.
            cut = self._text.rfind(b"\n") + 1
            self._skipping = not cut
            cut = cut or len(self._text)
            self.consumed += cut
            self._text = self._text[cut:]

    def end(self) -> Iterator[msgspec.Raw | Refusal]:
        """Yield nothing more: what is left is not whole, if it is more than the end of a list."""
        if self._text.strip(_BETWEEN + b"]}"):
            self.unfinished = CUT
        yield from ()

    def _next(self, at: int) -> tuple[int, int] | None:
        """Return where the next whole value begins and ends."""
        text = self._text
        at = (_WITHIN if self._inside else _AROUND).match(text, at).end()  # type: ignore[union-attr]
        if at >= len(text):
            return None
        if text[at] not in b"{[":
            return self._line(at)
        depth = 0
        for token in _TOKEN.finditer(text, at):
            match text[token.start() : token.end()]:
                case b"{" | b"[":
                    depth += 1
                case b"}" | b"]":
                    depth -= 1
                    if depth == 0:
                        return at, token.end()
                case b'"':
                    break
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
