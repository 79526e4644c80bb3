"""The contract of a log source, and what all of them need to make rows of what others wrote.

A source is a mapping: from lines or JSON records of one format into rows of our relations. It never
opens anything: `firedoor.lake.objects` unpacks an object, cuts it into pieces, and knows by
`recognises` whose they are.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from functools import cache, lru_cache, partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firedoor.relations import RELATIONS, Relation, Type

ARROW: Final[Mapping[Type, pa.DataType]] = {
    Type.TEXT: pa.string(),
    Type.WORD: pa.dictionary(pa.int32(), pa.string()),
    Type.INTEGER: pa.int64(),
    Type.SMALL: pa.int32(),
    Type.REAL: pa.float64(),
    Type.FLAG: pa.bool_(),
}

# Nobody on the Internet has these: RFC 1918, 6598, 3927, 1122, 5771, 1112 and 4193, 4291.
INSIDE: Final = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
        "::/127", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
"""What is inside wherever one stands; `Place.networks` adds what is one's own."""

DAY: Final = 86_400_000
"""A day in milliseconds."""
LAST: Final = 253_402_300_799_999
"""The last millisecond that has a date; what is later is in another unit."""

S = TypeVar("S")


class Shape(StrEnum):
    """How the records of a format stand in an object."""

    LINES = "lines"
    RECORDS = "records"  # JSON: lines, a list, or a list below `Records`, `records`, `value` ...
    TABLE = "table"  # Parquet


@dataclass(frozen=True)
class Place:
    """What is known of an object before it is read: where it lies, and whose it is."""

    name: str
    account: str = ""
    region: str = ""
    format: str = ""
    """Columns of its lines, where no header says them: `${version} ${account-id} ...`."""
    networks: tuple[Any, ...] = ()
    """Our own networks, beside those that are `INSIDE` everywhere."""


@dataclass(frozen=True)
class Sample:
    """The beginning of an object, for `recognises`."""

    name: str
    line: bytes = b""
    """The first line that is not blank; of JSON, the first record."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The first JSON record; empty where it is not JSON."""
    columns: tuple[str, ...] = ()
    """The names of the columns, if it is Parquet."""
    format: str = ""
    """Columns of its lines, where that was told: see `Place`."""


@dataclass(frozen=True)
class Refusal:
    """A line or record that could not be read, and why."""

    number: int
    """Of the line or the record in its object, from 1."""
    reason: str
    text: bytes


@dataclass(frozen=True)
class Parsed:
    """What a piece held."""

    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    """Rows, by relation."""
    refused: Sequence[Refusal] = ()
    passed: int = 0
    """How many say that there is nothing to say: NODATA lines, digests, entries of no relation."""
    lost: int = 0
    """How many say that the cloud itself could not log something: SKIPDATA."""


@dataclass(frozen=True)
class Piece:
    """Whole lines, whole JSON records or whole rows: a part of an object, or all of it."""

    place: Place
    lines: bytes = b""
    """Lines with their ends, without the header. Empty where there are records."""
    header: bytes = b""
    """The first line of the object, where the source says that it is one."""
    raws: Sequence[msgspec.Raw] = ()
    """JSON records, each still to be decoded."""
    table: pa.Table | None = None
    first: int = 1
    """The number of the first line or record in the object."""
    wanted: Mapping[str, frozenset[str]] | None = None
    """The columns that are asked for, by relation; None is all of them."""

    def wants(self, relation: Relation, column: str = "") -> bool:
        """Whether anything of a relation, or this column of it, is asked for."""
        if not column:
            return self.wanted is None or relation.name in self.wanted
        return column in _wanted(relation, self)


@dataclass(frozen=True, kw_only=True)
class LogSource:
    """One log format. Its id is the name of its module below `firedoor.logs`: `aws_vpc_flow`.

    `recognises(sample)` says whether an object begins as its own do. `parse(piece)` returns the
    rows; what it cannot read it returns as refused, and goes on. `header(line)` says whether the
    first line names the columns. `relations` are those that it fills.
    """

    title: str
    relations: tuple[str, ...]
    shape: Shape
    recognises: Callable[[Sample], bool]
    parse: Callable[[Piece], Parsed]
    header: Callable[[bytes], bool] = lambda _: False


Getter = Callable[[Any], Any]


@dataclass(frozen=True)
class Into:
    """How records become rows of a relation.

    `rows(record)` yields what becomes a row each: nothing, where a record is no event of this
    relation. `columns` says for each column how to get it from such a row, or what it always is.
    A getter of JSON text gives each row's as `msgspec.Raw`.
    """

    relation: Relation
    columns: Mapping[str, Getter | str | int | bool | None]
    rows: Callable[[Any], Iterable[Any]] | None = None
    """Where it is None, each record is a row."""

    def __post_init__(self) -> None:
        unknown = sorted(name for name in self.columns if name not in self.relation)
        if unknown:
            raise TypeError(f"{self.relation.name} has no column {', '.join(unknown)}")


def records(type_: type[S], *into: Into) -> Callable[[Piece], Parsed]:
    """Return a `parse` for JSON records of a type, which become rows of one relation or several.

    The type is a `msgspec.Struct`; what it does not name is skipped without being decoded. A record
    that is not of the type, or of which a row cannot be made, is refused whole. One that no
    relation takes is passed over. A member `raw` of type `msgspec.Raw` gets the record itself.
    """
    return partial(_parse_records, type_, into)


# What a getter raises for a record that is not as it should be.
UNFIT: Final = (
    ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError,
    msgspec.MsgspecError,
)  # fmt: skip


def _parse_records(type_: type[S], into: tuple[Into, ...], piece: Piece) -> Parsed:
    good, refused = decoded(type_, piece)
    try:
        tables, taken = _build(good, into, piece)
    except UNFIT:
        unfit = dict(_unmade(good, into))
        good = {number: one for number, one in good.items() if number not in unfit}
        unfit |= dict(_unfit(good, into, piece))
        good = {number: one for number, one in good.items() if number not in unfit}
        tables, taken = _build(good, into, piece)
        refused += [Refusal(n, why, bytes(piece.raws[n - piece.first])) for n, why in unfit.items()]
    refused.sort(key=lambda one: one.number)
    return Parsed(tables, refused, passed=len(good) - taken)


def decoded(type_: type[S], piece: Piece) -> tuple[dict[int, S], list[Refusal]]:
    """Return the records of a piece by their numbers, and those that are not of the type."""
    decode = msgspec.json.Decoder(type_).decode
    found: dict[int, S] = {}
    refused: list[Refusal] = []
    keeps = "raw" in getattr(type_, "__struct_fields__", ())
    for number, raw in enumerate(piece.raws, piece.first):
        try:
            found[number] = record = decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            refused.append(Refusal(number, str(error), bytes(raw)))
        else:
            if keeps:
                record.raw = raw  # type: ignore[attr-defined]
    return found, refused


def _build(
    good: Mapping[int, Any], into: tuple[Into, ...], piece: Piece
) -> tuple[dict[str, pa.Table], int]:
    """Return the tables, and how many records have a row in any of them."""
    tables: dict[str, pa.Table] = {}
    taken: set[int] = set()
    for one in into:
        if one.rows is None:
            rows: Sequence[Any] = list(good.values())
            taken.update(good)
        else:
            rows = []
            for number, record in good.items():
                made = list(one.rows(record))
                rows += made
                if made:
                    taken.add(number)
        if rows and piece.wants(one.relation):
            tables[one.relation.name] = _table_of(one, rows, piece)
    return tables, len(taken)


def _unmade(good: Mapping[int, Any], into: tuple[Into, ...]) -> Iterator[tuple[int, str]]:
    """Yield of which records no rows are made, and why: where sources are mixed, of many."""
    for number, record in good.items():
        try:
            for one in into:
                if one.rows is not None:
                    list(one.rows(record))
        except UNFIT as error:
            yield number, _why(error)


def _unfit(
    good: Mapping[int, Any], into: tuple[Into, ...], piece: Piece
) -> Iterator[tuple[int, str]]:
    """Yield whose rows do not fit into a table, and why: by halves, since there are few."""
    try:
        _build(good, into, piece)
    except UNFIT as error:
        numbers = list(good)
        if len(numbers) == 1:
            yield numbers[0], _why(error)
            return
        middle = len(numbers) // 2
        for half in (numbers[:middle], numbers[middle:]):
            yield from _unfit({number: good[number] for number in half}, into, piece)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _table_of(into: Into, rows: Sequence[Any], piece: Piece) -> pa.Table:
    relation, wanted = into.relation, _wanted(into.relation, piece)
    columns = {
        name: _array([got(row) for row in rows], _plain(relation[name].type))
        if callable(got)
        else got
        for name, got in into.columns.items()
        if name in wanted
    }
    return table(relation, len(rows), columns, piece)


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    if isinstance(values[0], msgspec.Raw):
        return json_texts(values)
    return pa.array(values, type_)


def json_texts(values: Sequence[msgspec.Raw]) -> pa.StringArray:
    """Return JSON as it was written; what is empty or null is null. Raises `ValueError`."""
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=ends[1:])
    text = b"".join(values)
    array = pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(text))
    array.validate(full=True)  # it is UTF-8
    nothing = pc.is_in(array, pa.array(["", "null"]))
    return pc.if_else(nothing, None, array) if pc.any(nothing).as_py() else array


def table(relation: Relation, length: int, columns: Mapping[str, Any], piece: Piece) -> pa.Table:
    """Return a table of a relation, of the columns that the piece wants.

    A column is an array or, where it is the same in all rows, a value. What follows from another is
    worked out: `day` from `time`, the key and the side of an address from its text. What is not
    given is null. Raises `ValueError` where a column does not hold what it should.
    """
    wanted = _wanted(relation, piece)
    known: dict[str, Any] = dict(columns)
    for side in ("src", "dst"):
        if known.get(f"{side}_ip") is not None and wanted & {f"{side}_key", f"{side}_inside"}:
            known[f"{side}_ip"] = _encoded(known[f"{side}_ip"])
            keys, inside = _endpoint(known[f"{side}_ip"], piece.place)
            known |= {f"{side}_key": keys, f"{side}_inside": inside}
            if not _is_asked(relation, f"{side}_ip", piece):
                known[f"{side}_ip"] = _untold(known[f"{side}_ip"], keys)
    if wanted & {"time", "day"} and known.get("time") is not None:
        _check_times(known["time"])
        known["day"] = _days(known["time"]) if "day" in wanted else None
    names = [column.name for column in relation.columns if column.name in wanted]
    arrays = [_column(known.get(name), ARROW[relation[name].type], length) for name in names]
    return pa.table(arrays, names=names)


def _wanted(relation: Relation, piece: Piece) -> frozenset[str]:
    if piece.wanted is None:
        return _all_columns(relation.name)
    asked = piece.wanted.get(relation.name, frozenset())
    # The text of an IPv6 address cannot be told from its key.
    return (
        asked
        | {f"{name[:3]}_ip" for name in asked if name.endswith(("_key", "_inside"))}
        | ({"time"} if "day" in asked else frozenset())
    )


def _is_asked(relation: Relation, column: str, piece: Piece) -> bool:
    return piece.wanted is None or column in piece.wanted.get(relation.name, ())


@cache
def _all_columns(relation: str) -> frozenset[str]:
    return frozenset(column.name for column in RELATIONS[relation].columns)


def _plain(type_: Type) -> pa.DataType:
    return pa.string() if type_ is Type.WORD else ARROW[type_]


def _column(value: Any, type_: pa.DataType, length: int) -> pa.Array:
    if value is None:
        return pa.nulls(length, type_)
    if not isinstance(value, pa.Array | pa.ChunkedArray):
        if pa.types.is_dictionary(type_):
            indices = pa.array(np.zeros(length, np.int32))
            return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.string()))
        return pa.repeat(pa.scalar(value, type_), length)
    if value.type == type_:
        return value
    if pa.types.is_dictionary(type_) and pa.types.is_string(value.type):
        return value.dictionary_encode()
    return value.cast(type_)


def _check_times(time: Any) -> None:
    """Raise `ValueError` where there is none, or one of no log: it is in another unit."""
    if time.null_count:
        raise ValueError("time: expected one")
    for bound in pc.min_max(time).as_py().values():
        if bound is not None and not 0 <= bound <= LAST:
            raise ValueError(f"time: expected one from 1970 to 9999, not {bound}")


def _days(time: Any) -> pa.Array:
    """Return the UTC days of epoch milliseconds; an object holds few different ones."""
    days = (
        pc.floor(pc.divide(pc.cast(time, pa.float64()), DAY)).cast(pa.int32()).dictionary_encode()
    )
    if isinstance(days, pa.ChunkedArray):
        days = days.combine_chunks()
    names = [(date(1970, 1, 1) + timedelta(day)).isoformat() for day in days.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(days.indices, pa.array(names, pa.string()))


def _encoded(texts: Any) -> pa.DictionaryArray:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    return texts.dictionary_encode() if isinstance(texts, pa.StringArray) else texts


def _untold(texts: pa.DictionaryArray, keys: pa.Array) -> pa.Array:
    """Return the addresses that their keys do not tell: those of IPv6."""
    if not len(keys) or (pc.min(keys).as_py() or 0) >= 0:
        return pa.nulls(len(texts), texts.type)
    return pc.if_else(pc.less(keys, 0), texts, pa.scalar(None, texts.type))


def _endpoint(texts: pa.DictionaryArray, place: Place) -> tuple[pa.Array, pa.Array]:
    """Return the keys of addresses, and whether they are inside; null where there is none."""
    keys, inside = address_columns(texts.dictionary, place.networks)
    return keys.take(texts.indices), inside.take(texts.indices)


def address_columns(
    texts: pa.StringArray, networks: Iterable[Any] = ()
) -> tuple[pa.Array, pa.Array]:
    """Return the keys of addresses, and whether they are inside, each address once.

    Raises `ValueError` if one of the texts is not an address.
    """
    own = [network for network in (*INSIDE, *networks) if network.version == 4]
    dotted = pc.match_substring_regex(texts, r"^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$")
    if pc.all(dotted).as_py() and len(texts) and not texts.null_count:
        parts = pc.split_pattern(texts, ".").flatten().cast(pa.int64()).to_numpy().reshape(-1, 4)
        if (parts > 255).any():
            raise ValueError(f"{_first_wrong(texts)} is no address")
        keys = parts @ np.array([1 << 24, 1 << 16, 1 << 8, 1])
        inside = np.zeros(len(keys), bool)
        for network in own:
            first, last = int(network.network_address), int(network.broadcast_address)
            inside |= (keys >= first) & (keys <= last)
        return pa.array(keys), pa.array(inside)
    known = [None if text is None else _one(text, tuple(networks)) for text in texts.to_pylist()]
    return (
        pa.array([one and one[0] for one in known], pa.int64()),
        pa.array([one and one[1] for one in known], pa.bool_()),
    )


def translated(column: Any, words: Mapping[str, str]) -> pa.DictionaryArray:
    """Return a dictionary column with some of its words replaced; every row is as it was."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    known = [words.get(word, word) for word in column.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(column.indices, pa.array(known, pa.string()))


def key(text: str) -> int:
    """Return the number by which an address is grouped and joined; raises `ValueError`."""
    return _one(text, ())[0]


@lru_cache(maxsize=1 << 16)
def _one(text: str, networks: tuple[Any, ...]) -> tuple[int, bool]:
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    inside = any(
        address in network for network in (*INSIDE, *networks) if network.version == address.version
    )
    if address.version == 4:
        return int(address), inside
    digest = hashlib.blake2b(address.packed, digest_size=8).digest()
    # Below zero, where no IPv4 address is.
    return -(int.from_bytes(digest) >> 1) - 1, inside


def _first_wrong(texts: pa.StringArray) -> str:
    for text in texts.to_pylist():
        try:
            ip_address(text)
        except ValueError:
            return str(text)
    return ""
