"""What an object of a log holds: unpacked, unwrapped, recognised, and parsed piece by piece.

Memory does not grow with the object: no more than a block of it is held, nor a line or record that
is longer than that.
"""

import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

import msgspec
import pyarrow as pa
from isal import igzip, isal_zlib
from pyarrow import parquet

from firedoor.discovery import find
from firedoor.errors import Unreadable
from firedoor.lake import envelopes, json_stream
from firedoor.log_source import (
    LogSource,
    Parsed,
    Piece,
    Place,
    Refusal,
    Sample,
    Shape,
)

BLOCK: Final = 16 << 20
"""How much of an object is held at once, in bytes."""
LONGEST: Final = 32 << 20
"""The longest line or record that is read, in bytes."""
KEPT: Final = 4096
"""How much is kept of a line or record that is refused, in bytes."""
# Deflate packs 1 to 1032 at most. No log comes near; what does is made to fill a disk.
HOSTILE_RATIO, HOSTILE_SIZE = 500, 1 << 30
RECORDS: Final = 50_000
"""How many JSON records make a piece."""
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
        self._stream, self._place, self._wanted = stream, place, wanted
        self._resumed = resumed
        self._number = 1
        self._before = 0

    def __iter__(self) -> Iterator[Parsed]:
        buffered = io.BufferedReader(_Raw(self._stream), 1 << 20)
        head = buffered.peek(8)[:8]
        if head.startswith(PARQUET):
            yield from self._table(buffered)
            return
        for magic, what in PACKED.items():
            if head.startswith(magic):
                raise Unreadable(
                    self._place.name, "", f"expected text, gzip or Parquet, not {what}"
                )
        blocks = (
            _inflated(buffered, self._place.name) if head.startswith(GZIP) else _plain(buffered)
        )
        yield from self._text(blocks)

    def _text(self, blocks: Iterator[bytes]) -> Iterator[Parsed]:
        first = next(blocks, b"")
        if first.startswith(BOM):
            first = first.removeprefix(BOM)
            self._before = len(BOM)
        if not first.strip():
            return
        rest = _chained(first, blocks)
        if self._resumed or first.lstrip()[:1] in b"{[":
            yield from self._json(rest)
        else:
            self.consumed = self._before
            yield from self._lines(rest)

    def _json(self, blocks: Iterator[bytes]) -> Iterator[Parsed]:
        stream = json_stream.Stream(blocks, LONGEST, resumed=self._resumed)
        for found in stream.batches(RECORDS):
            yield from self._records(found.raws, self._place, found.refused)
        self.consumed = self._before + stream.consumed
        if stream.unfinished and not self._resumed and stream.consumed == 0:
            raise Unreadable(self._place.name, "", f"expected JSON: {stream.unfinished}")

    def _records(
        self, raws: list[msgspec.Raw], place: Place, refused: list[Refusal]
    ) -> Iterator[Parsed]:
        """Yield what JSON records hold; one may be an envelope of others."""
        if refused:
            yield Parsed(refused=[_cut(one) for one in refused])
        # Looking into each record would take longer than to parse it. Where the first is none, an
        # envelope is among what the source refuses.
        if raws and _opened(raws[0], place) is None:
            yield from self._parsed_records(raws, place)
            return
        plain: list[msgspec.Raw] = []
        for raw in raws:
            inner = _opened(raw, place)
            if inner is None:
                plain.append(raw)
            elif inner.lines:
                yield from self._lines(iter([inner.lines]), inner.place)
            else:
                yield from self._records(list(inner.raws), inner.place, [])
        if plain:
            yield from self._parsed_records(plain, place)

    def _parsed_records(self, raws: list[msgspec.Raw], place: Place) -> Iterator[Parsed]:
        sample = _record_sample(raws[0], place)
        id_ = self._recognised(sample)
        piece = Piece(place, raws=raws, first=self._number, wanted=self._wanted)
        self._number += len(raws)
        yield from self._with_strangers(id_, piece)

    def _with_strangers(self, id_: str, piece: Piece) -> Iterator[Parsed]:
        """Parse a piece, and give what its source refuses to the source that it is of."""
        parsed = _sources()[id_].parse(piece)
        strangers: dict[str, list[Refusal]] = {}
        kept, enveloped = [], []
        for one in parsed.refused:
            raw = msgspec.Raw(one.text)
            if _opened(raw, piece.place) is not None:
                enveloped.append(raw)
                continue
            other = _recognise(_record_sample(raw, piece.place))
            if other is None or other == id_:
                kept.append(one)
            else:
                strangers.setdefault(other, []).append(one)
        yield Parsed(parsed.tables, [_cut(one) for one in kept], parsed.passed, parsed.lost)
        for other, refused in strangers.items():
            raws = [msgspec.Raw(one.text) for one in refused]
            again = Piece(piece.place, raws=raws, first=refused[0].number, wanted=piece.wanted)
            more = _sources()[other].parse(again)
            yield Parsed(more.tables, [_cut(one) for one in more.refused], more.passed, more.lost)
        yield from self._records(enveloped, piece.place, [])

    def _lines(self, blocks: Iterator[bytes], place: Place | None = None) -> Iterator[Parsed]:
        place = place or self._place
        source, head = None, b""
        for lines, too_long in _whole_lines(blocks):
            if too_long:
                refusal = Refusal(self._number, f"a line of over {LONGEST >> 20} MB", lines[:KEPT])
                self._number += 1
                yield Parsed(refused=[refusal])
                continue
            if source is None:
                line = lines.lstrip().partition(b"\n")[0].rstrip(b"\r")
                source = _sources()[self._recognised(Sample(place.name, line))]
                if source.header(line):
                    head = line
                    skipped = lines.index(line) + len(line)
                    self.consumed += skipped
                    self._number += lines[:skipped].count(b"\n") + 1
                    lines = lines[skipped:].partition(b"\n")[2]
            piece = Piece(place, lines=lines, header=head, first=self._number, wanted=self._wanted)
            self._number += lines.count(b"\n")
            self.consumed += len(lines)
            if lines.strip():
                parsed = source.parse(piece)
                kept = [_cut(one) for one in parsed.refused]
                yield Parsed(parsed.tables, kept, parsed.passed, parsed.lost)

    def _table(self, stream: io.BufferedReader) -> Iterator[Parsed]:
        try:
            # Its footer is at the end, so it is sought in; who has only a pipe has it in memory.
            seekable = self._stream if self._stream.seekable() else io.BytesIO(stream.read())
            seekable.seek(0)
            file = parquet.ParquetFile(seekable)
            sample = Sample(self._place.name, columns=tuple(file.schema_arrow.names))
            source = _sources()[self._recognised(sample)]
            for batch in file.iter_batches(ROWS):
                rows = pa.Table.from_batches([batch])
                piece = Piece(self._place, table=rows, first=self._number, wanted=self._wanted)
                self._number += rows.num_rows
                yield source.parse(piece)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise Unreadable(self._place.name, "", f"expected Parquet: {reason}") from error

    def _recognised(self, sample: Sample) -> str:
        if self.source is None:
            self.source = _recognise(sample)
        if self.source is None:
            what = "expected a log that we know: name its format with --format"
            raise Unreadable(self._place.name, "", what)
        return self.source


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


def _plain(stream: io.BufferedReader) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _inflated(stream: io.BufferedReader, name: str) -> Iterator[bytes]:
    counted = _Counted(stream)
    unpacked = 0
    with igzip.IGzipFile(fileobj=counted, mode="rb") as file:
        while True:
            try:
                block = file.read(BLOCK)
            except (EOFError, OSError, isal_zlib.error) as error:
                said = "it ends too early" if isinstance(error, EOFError) else "it is damaged"
                raise Unreadable(
                    name, f"byte {unpacked} unpacked", f"expected gzip: {said}"
                ) from error
            if not block:
                return
            unpacked += len(block)
            if unpacked > HOSTILE_SIZE and unpacked > HOSTILE_RATIO * max(counted.read_, 1):
                said = f"it unpacks to more than {HOSTILE_RATIO} times its size"
                raise Unreadable(name, f"byte {unpacked} unpacked", f"expected a log: {said}")
            yield block


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


class _Counted(io.RawIOBase):
    """Counts what is read of a packed stream."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self.read_ = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = self._stream.readinto(buffer)
        self.read_ += got
        return got


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
    if carried.strip():
        yield carried + b"\n", False
