"""What an object of a log holds: unpacked, unwrapped, recognised, and parsed piece by piece.

Memory does not grow with the object: no more than a block of it is held, nor a line or record that
is longer than that.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO, Final

import msgspec
import pyarrow as pa
from isal import isal_zlib
from pyarrow import parquet

from firedoor.discovery import find
from firedoor.errors import Unreadable
from firedoor.lake import envelopes, json_stream
from firedoor.log_source import (
    UNFIT,
    LogSource,
    Parsed,
    Piece,
    Place,
    Refusal,
    Sample,
    Shape,
)

BLOCK: Final = 8 << 20
"""How much of an object is held at once, in bytes."""
LONGEST: Final = 32 << 20
"""The longest line or record that is read, in bytes."""
KEPT: Final = 4096
"""How much is kept of a line or record that is refused, in bytes."""
# Deflate packs 1 to 1032 at most. No log comes near; what does is made to fill a disk.
HOSTILE_RATIO, HOSTILE_SIZE = 500, 1 << 30
PART: Final = 1 << 16
"""How much is unpacked at once: no more than this is lost before damage."""
RECORDS: Final = 50_000
"""How many JSON records make a piece."""
FIRST: Final = 1000
"""How many of them are looked at until one is somebody's."""
UNKNOWN: Final = "expected a log that we know"
ROWS: Final = 100_000

GZIP, PARQUET, BOM = b"\x1f\x8b", b"PAR1", b"\xef\xbb\xbf"
PACKED: Final = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "packed with bzip2",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xfd7zXZ": "packed with xz",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
}


class Reading:
    """One reading of an object; iterating it yields what its pieces hold.

    Raises `Unreadable` where it cannot go on: what came before is good.
    """

    def __init__(
        self,
        stream: BinaryIO,
        place: Place,
        *,
        source: str | None = None,
        wanted: Mapping[str, frozenset[str]] | None = None,
        resumed: bool = False,
    ) -> None:
        self.source = source
        """The id of the log source: the one that was named, or the first that was recognised."""
        self.consumed = 0
        """How far it was read, in bytes of what is not packed: where an appended one goes on."""
        self.unfinished = ""
        """Why what comes after that was not read, if it was not: a record that is not whole."""
        self._named = source
        self._stream, self._place, self._wanted = stream, place, wanted
        self._resumed = resumed
        self._number = 1
        self._before = 0
        self._missed = False

    def __iter__(self) -> Iterator[Parsed]:
        if self._named is not None and self._named not in _sources():
            known = ", ".join(_sources())
            raise self._unreadable(f"expected a format, not {self._named}: one of {known}")
        buffered = io.BufferedReader(_Raw(self._stream), 1 << 20)
        head = buffered.peek(8)[:8]
        if head.startswith(PARQUET):
            yield from self._table(buffered)
            return
        for magic, what in PACKED.items():
            if head.startswith(magic):
                raise self._unreadable(f"expected text, gzip or Parquet, not {what}")
        blocks = inflated(buffered, self._place.name) if head.startswith(GZIP) else _plain(buffered)
        yield from self._text(blocks)

    def _text(self, blocks: Iterator[bytes]) -> Iterator[Parsed]:
        first = next(blocks, b"")
        if first.startswith(BOM):
            first = first.removeprefix(BOM)
            self._before = len(BOM)
        if _is_blank(first):
            return
        rest = _chained(first, blocks)
        if self._resumed or _BLANK.sub(b"", first[:KEPT], 1)[:1] in (b"{", b"["):
            yield from self._json(rest)
        else:
            yield from self._lines(self._counted(rest))

    def _counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        self.consumed = self._before
        for block in blocks:
            self.consumed += len(block)
            yield block

    def _json(self, blocks: Iterator[bytes]) -> Iterator[Parsed]:
        stream = json_stream.Stream(blocks, LONGEST, resumed=self._resumed)
        for found in stream.batches(RECORDS):
            if found.refused:
                yield Parsed(refused=[_cut(one) for one in found.refused])
            yield from self._records(found.raws, self._place)
        self.consumed = self._before + stream.consumed
        self.unfinished = stream.unfinished
        if stream.damage is not None:
            raise stream.damage
        if self._missed and self.source is None:
            raise self._unknown()
        if stream.unfinished and not self._resumed and stream.consumed == 0:
            raise self._unreadable(f"expected JSON: {stream.unfinished}")

    def _records(self, raws: Sequence[msgspec.Raw], place: Place) -> Iterator[Parsed]:
        """Yield what JSON records hold; one may be an envelope of others."""
        # Looking into each record would take longer than to parse it. Where the first is none, an
        # envelope is among what the source refuses.
        if raws and _opened(raws[0], place) is None:
            yield from self._parsed_records(raws, place)
            return
        plain: dict[Place, json_stream.Batch] = {}
        for raw in raws:
            for inner in _unwrapped(raw, place):
                if inner.lines:
                    yield from self._lines(iter([inner.lines]), inner.place)
                for one in inner.raws:
                    batch = plain.setdefault(inner.place, json_stream.Batch())
                    batch.add(one)
                    if len(batch.raws) >= RECORDS or batch.bytes >= json_stream.PIECE:
                        yield from self._parsed_records(batch.raws, inner.place)
                        del plain[inner.place]
        for whose, batch in plain.items():
            yield from self._parsed_records(batch.raws, whose)

    def _parsed_records(self, raws: Sequence[msgspec.Raw], place: Place) -> Iterator[Parsed]:
        """Parse records, and give what their source refuses to the source that it is of."""
        samples = (_record_sample(raw, place) for raw in raws[:FIRST])
        id_ = self._recognised(samples, Shape.RECORDS)
        piece = Piece(place, raws=raws, first=self._number, wanted=self._wanted)
        self._number += len(raws)
        parsed = _sources()[id_].parse(piece) if id_ else _refused(piece)
        strangers: dict[str, list[Refusal]] = {}
        kept, enveloped = [], []
        for one in parsed.refused:
            raw = msgspec.Raw(one.text)
            if _opened(raw, place) is not None:
                enveloped.append(raw)
                continue
            other = _recognise(_record_sample(raw, place))
            if other is None or other == id_:
                kept.append(one)
            else:
                strangers.setdefault(other, []).append(one)
        yield Parsed(parsed.tables, [_cut(one) for one in kept], parsed.passed, parsed.lost)
        for other, refused in strangers.items():
            yield self._as(other, refused, piece)
        yield from self._records(enveloped, place)

    def _as(self, id_: str, strangers: Sequence[Refusal], piece: Piece) -> Parsed:
        """Return what records hold that another source has refused."""
        raws = [msgspec.Raw(one.text) for one in strangers]
        parsed = _sources()[id_].parse(replace(piece, raws=raws, first=0))
        refused = [
            _cut(replace(one, number=strangers[one.number].number)) for one in parsed.refused
        ]
        return replace(parsed, refused=refused)

    def _lines(self, blocks: Iterator[bytes], enveloped: Place | None = None) -> Iterator[Parsed]:
        place = enveloped or self._place
        source, head, before_it = None, b"", b""
        for lines, too_long in _whole_lines(blocks):
            # Only where more follows, for counting takes as long as a question.
            self._number += before_it.count(b"\n")
            before_it = b""
            if too_long:
                refusal = Refusal(self._number, f"a line of over {LONGEST >> 20} MB", lines[:KEPT])
                self._number += 1
                yield Parsed(refused=[refusal])
                continue
            if source is None and not _is_blank(lines):
                before, line = _first_line(lines)
                sample = Sample(place.name, line, format=place.format)
                id_ = self._recognised([sample], Shape.LINES, alone=enveloped is None)
                if id_ is None:
                    self._missed = True
                    yield Parsed(refused=[Refusal(self._number, UNKNOWN, lines[:KEPT])])
                    return
                source = _sources()[id_]
                if source.header(line):
                    head = line
                    self._number += before + 1
                    lines = lines[(lines.find(b"\n", lines.find(line)) + 1 or len(lines)) :]
            piece = Piece(place, lines=lines, header=head, first=self._number, wanted=self._wanted)
            before_it = lines
            if source is not None and not _is_blank(lines):
                for parsed in _by_halves(source, piece):
                    kept = [_cut(one) for one in parsed.refused]
                    yield Parsed(parsed.tables, kept, parsed.passed, parsed.lost)
        if enveloped is not None:
            self._number += before_it.count(b"\n")

    def _table(self, stream: BinaryIO) -> Iterator[Parsed]:
        try:
            # Its footer is at the end, so it is sought in; who has only a pipe has it in memory.
            seekable = self._stream if self._stream.seekable() else io.BytesIO(stream.read())
            seekable.seek(0)
            file = parquet.ParquetFile(seekable)
            sample = Sample(self._place.name, columns=tuple(file.schema_arrow.names))
            source = _sources()[self._recognised([sample]) or ""]
            for batch in file.iter_batches(ROWS):
                rows = pa.Table.from_batches([batch])
                piece = Piece(self._place, table=rows, first=self._number, wanted=self._wanted)
                self._number += rows.num_rows
                yield source.parse(piece)
        except (pa.ArrowException, OSError, *UNFIT) as error:
            reason = str(error).partition("\n")[0]
            raise Unreadable(self._place.name, "", f"expected Parquet: {reason}") from error

    def _recognised(
        self, samples: Iterable[Sample], shape: Shape | None = None, *, alone: bool = True
    ) -> str | None:
        """Return the source that was named, or else whose the first sample is that is anybody's.

        Among what is known, what nobody knows is refused; alone, it makes the object unreadable.
        """
        id_ = self._named or next(filter(None, map(_recognise, samples)), None)
        if id_ is None and self.source is None and alone:
            raise self._unknown()
        if id_ and shape and _sources()[id_].shape is not shape:
            raise self._unreadable(f"expected {_sources()[id_].shape.value}, as {id_} has them")
        self.source = self.source or id_
        return id_

    def _unknown(self) -> Unreadable:
        return self._unreadable(f"{UNKNOWN}: name its format with --format")

    def _unreadable(self, reason: str) -> Unreadable:
        return Unreadable(self._place.name, "", reason)


def _sources() -> Mapping[str, LogSource]:
    return find("firedoor.logs", LogSource)


def _recognise(sample: Sample) -> str | None:
    for id_, source in _sources().items():
        if bool(sample.record) != (source.shape is Shape.RECORDS) and not sample.columns:
            continue
        if source.recognises(sample):
            return id_
    return None


def _opened(raw: msgspec.Raw, place: Place) -> envelopes.Inner | None:
    return envelopes.open_(raw, place) if envelopes.MARK.search(raw) else None


def _unwrapped(raw: msgspec.Raw, place: Place) -> Iterator[envelopes.Inner]:
    """Yield what is in an envelope, however many there are around it; what is none as it is."""
    inner = _opened(raw, place)
    if inner is None:
        yield envelopes.Inner(place, raws=[raw])
    elif inner.raws and _opened(inner.raws[0], inner.place) is not None:
        for one in inner.raws:
            yield from _unwrapped(one, inner.place)
    else:
        yield inner


def _refused(piece: Piece) -> Parsed:
    raws = enumerate(piece.raws, piece.first)
    return Parsed(refused=[Refusal(number, UNKNOWN, bytes(raw)) for number, raw in raws])


def _record_sample(raw: msgspec.Raw, place: Place) -> Sample:
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        record = {}
    return Sample(place.name, bytes(raw)[:KEPT], record if isinstance(record, dict) else {})


def _cut(refusal: Refusal) -> Refusal:
    return Refusal(refusal.number, refusal.reason[:500], refusal.text[:KEPT])


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _plain(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def inflated(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield what gzip holds, a `BLOCK` at a time, as far as it is good; raises `Unreadable`."""
    counted = _Counted(stream)
    parts: list[bytes] = []
    unpacked = held = 0
    try:
        for part in _parts(counted):
            parts.append(part)
            held += len(part)
            if held >= BLOCK:
                unpacked += held
                if unpacked > HOSTILE_SIZE and unpacked > HOSTILE_RATIO * max(counted.count, 1):
                    said = f"it unpacks to more than {HOSTILE_RATIO} times its size"
                    raise Unreadable(name, f"byte {unpacked} unpacked", f"expected a log: {said}")
                yield b"".join(parts)
                parts, held = [], 0
    except (EOFError, isal_zlib.error) as error:  # type: ignore[misc]
        if held:
            yield b"".join(parts)
        said = "it ends too early" if isinstance(error, EOFError) else "it is damaged"
        where = f"byte {unpacked + held} unpacked"
        raise Unreadable(name, where, f"expected gzip: {said}") from error
    if held:
        yield b"".join(parts)


def _parts(stream: "_Counted") -> Iterator[bytes]:
    """Yield what is unpacked, member after member, as far as it goes."""
    inflater = None
    while packed := stream.read(1 << 18):
        while packed:
            if inflater is None:
                packed = packed.lstrip(b"\0")  # members may be padded
                if not packed:
                    break
                inflater = isal_zlib.decompressobj(wbits=31)
            yield inflater.decompress(packed, PART)
            packed = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            inflater = None if inflater.eof else inflater
    if inflater is not None:
        yield inflater.flush()
        if not inflater.eof:
            raise EOFError


class _Raw(io.RawIOBase):
    """Any binary stream as one that can be buffered and peeked into."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = self._stream.read(len(buffer))
        buffer[: len(got)] = got
        return len(got)


class _Counted:
    """Counts what is read of a packed stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int) -> bytes:
        got = self._stream.read(size)
        self.count += len(got)
        return got


def _by_halves(source: LogSource, piece: Piece) -> Iterator[Parsed]:
    """Parse lines; of what a source has not foreseen, lose only the line that it is in."""
    try:
        parsed = source.parse(piece)
    except UNFIT as error:
        reason = str(error) or type(error).__name__
    else:
        yield parsed
        return
    lines = piece.lines
    middle = lines.rfind(b"\n", 0, len(lines) // 2) + 1 or lines.find(b"\n") + 1
    if middle >= len(lines):
        yield Parsed(refused=[Refusal(piece.first, reason, lines.rstrip(b"\r\n"))])
        return
    second = piece.first + lines[:middle].count(b"\n")
    yield from _by_halves(source, replace(piece, lines=lines[:middle]))
    yield from _by_halves(source, replace(piece, lines=lines[middle:], first=second))


def _first_line(lines: bytes) -> tuple[int, bytes]:
    """Return how many lines are blank, and the one that comes after them."""
    found = _BLANK.match(lines)
    start = found.end() if found else 0
    end = lines.find(b"\n", start)
    return lines[:start].count(b"\n"), lines[start : end if end >= 0 else None].rstrip(b"\r")


def _is_blank(text: bytes) -> bool:
    """Whether there is nothing in a text; to strip one of many megabytes would copy it."""
    return not text or text.isspace()


_BLANK: Final = re.compile(rb"\s*")


def _whole_lines(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield whole lines, many at once, and whether it is the beginning of one that is too long."""
    carried, skipping = b"", False
    for block in blocks:
        if skipping:
            _, end, block = block.partition(b"\n")
            skipping = not end
            if skipping:
                continue
        cut = block.rfind(b"\n") + 1
        if cut:
            yield carried + block[:cut], False
            carried = block[cut:]
        else:
            carried += block
        if len(carried) > LONGEST:
            yield carried[:KEPT], True
            carried, skipping = b"", True
    if not _is_blank(carried):
        yield carried + b"\n", False
