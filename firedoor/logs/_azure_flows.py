"""The tuples of Azure's flow logs as rows of packets that went one way.

A record holds thousands of tuples, so they are read as the lines of a table, all at once: the
number of their group goes before each, and by it they find again what the record said of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from firedoor.log_source import LAST, Parsed, Piece, Refusal, address_columns, decoded, table
from firedoor.logs import _azure, _delimited
from firedoor.logs._delimited import NUMBER, SMALL, WORD
from firedoor.relations import NETWORK_ACTIVITY

# The answers are those of the receiver, as far as a format counts them.
TYPES: Final = {
    "group": SMALL,
    "time": NUMBER,
    "src_ip": WORD,
    "dst_ip": WORD,
    "src_port": SMALL,
    "dst_port": SMALL,
    "protocol": WORD,
    "direction": WORD,
    "action": WORD,
    "packets": NUMBER,
    "bytes": NUMBER,
    "answer_packets": NUMBER,
    "answer_bytes": NUMBER,
}
SWAPPED: Final = {
    "src_ip": "dst_ip",
    "dst_ip": "src_ip",
    "src_port": "dst_port",
    "dst_port": "src_port",
    "packets": "answer_packets",
    "bytes": "answer_bytes",
}
INBOUND, OUTBOUND = "Inbound", "Outbound"
S = TypeVar("S")
AT_ONCE: Final = 50_000
"""How many tuples are read at once: their texts take more than the rows that they become."""


@dataclass(frozen=True)
class Group:
    """Tuples that stand together, and what is true of all of them."""

    number: int
    """Of their record in the object."""
    tuples: Sequence[str]
    lacking: str = ""
    """The commas of those columns that an earlier version has not."""
    account: str | None = None
    interface: str | None = None
    resource: str | None = None
    network: str | None = None
    subnet: str | None = None
    rule: str | None = None


SHARED: Final = ("account", "interface", "resource", "network", "subnet", "rule")


@dataclass(frozen=True)
class Meaning:
    """What the tuples of a format mean."""

    fields: Sequence[str]
    """The columns, in their order."""
    unit: int
    """How many milliseconds a step of their time is."""
    actions: Mapping[str, str]
    protocols: Mapping[str, int] | None = None
    """The numbers of its words; None where it has numbers itself."""
    uncounted: Sequence[str] = ()
    """The actions of tuples in which nothing was counted, though they have a 0."""


def parse(
    piece: Piece,
    type_: type[S],
    grouped: Callable[[int, S], Iterator[Group]],
    meaning: Meaning,
    source: str,
) -> Parsed:
    """Return the rows of records of a type, which `grouped` takes apart.

    A tuple that cannot be read is refused alone; a record without one is passed over.
    """
    records, refused = decoded(type_, piece)
    groups: list[Group] = []
    passed = 0
    for number, record in records.items():
        found = [one for one in grouped(number, record) if one.tuples]
        groups += found
        passed += not found
    tables: list[pa.Table] = []
    for some in _parts(groups):
        rows, bad = _rows(some, meaning, piece, source)
        tables += [rows] if rows is not None else []
        refused += bad
    refused.sort(key=lambda one: one.number)
    whole = {NETWORK_ACTIVITY.name: pa.concat_tables(tables)} if tables else {}
    return Parsed(whole, refused, passed)


def _parts(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Yield groups with no more tuples than are read at once: one record may hold most of them."""
    some: list[Group] = []
    room = AT_ONCE
    for group in groups:
        for first in range(0, len(group.tuples), AT_ONCE):
            part = replace(group, tuples=group.tuples[first : first + AT_ONCE])
            if len(part.tuples) > room and some:
                yield some
                some, room = [], AT_ONCE
            some.append(part)
            room -= len(part.tuples)
    if some:
        yield some


def _rows(
    groups: Sequence[Group], meaning: Meaning, piece: Piece, source: str
) -> tuple[pa.Table | None, list[Refusal]]:
    """Return the rows of groups of tuples, and the tuples that cannot be read."""
    if not groups:
        return None, []
    # What joins them writes the number before each, so no tuple is touched by itself.
    lines = "".join(
        f"{number}," + f"{group.lacking}\n{number},".join(group.tuples) + f"{group.lacking}\n"
        for number, group in enumerate(groups)
    )
    format_ = _delimited.Format(("group", *meaning.fields), TYPES)
    found, bad = _delimited.read(lines.replace(",", " ").encode(), format_)
    refused = [
        _refusal(one.text.decode("utf-8", "replace").replace(" ", ","), one.reason, groups)
        for one in bad
    ]
    found, untimed = _timed(found, meaning.unit)
    known = {one.text for one in refused}
    refused += [
        Refusal(groups[number].number, "time: expected one", text.encode())
        for number in untimed
        for text in groups[number].tuples
        if not _is_time(text, meaning.unit) and text.encode() not in known
    ]
    if not found.num_rows or not piece.wants(NETWORK_ACTIVITY):
        return None, refused
    rows = _with_answers(_meant(found, meaning))
    columns = _columns(rows, groups, piece) | {"source": source}
    return table(NETWORK_ACTIVITY, rows.num_rows, columns, piece), refused


def _refusal(line: str, reason: str, groups: Sequence[Group]) -> Refusal:
    number, _, text = line.partition(",")
    return Refusal(groups[int(number)].number, reason, text.encode())


def _timed(found: pa.Table, unit: int) -> tuple[pa.Table, list[int]]:
    """Return what has a time, and the numbers of the groups in which something has none."""
    time = found["time"]
    fits = pc.fill_null(
        pc.and_(pc.greater_equal(time, 0), pc.less_equal(time, LAST // unit)), False
    )
    if pc.all(fits).as_py() is not False:
        return found, []
    return found.filter(fits), pc.unique(found["group"].filter(pc.invert(fits))).to_pylist()


def _is_time(text: str, unit: int) -> bool:
    time = text.partition(",")[0]
    return time.isdecimal() and int(time) <= LAST // unit


def _meant(found: pa.Table, meaning: Meaning) -> pa.Table:
    """Return a table with our words and units for those of the format."""
    found = found.unify_dictionaries().combine_chunks()
    way = {"I": INBOUND, "O": OUTBOUND}
    changed: dict[str, Any] = {
        "time": pc.multiply(found["time"], meaning.unit),
        "direction": _words(found["direction"], way, pa.string()),
        "action": _words(found["action"], meaning.actions, pa.string()),
        "protocol": found["protocol"].cast(pa.string()).cast(SMALL)
        if meaning.protocols is None
        else _words(found["protocol"], meaning.protocols, SMALL),
    }
    if meaning.uncounted:
        uncounted = pc.is_in(found["action"], pa.array(meaning.uncounted, pa.string()))
        for name in ("packets", "bytes"):
            nothing = pc.and_(uncounted, pc.equal(found[name], 0))
            changed[name] = pc.if_else(nothing, None, found[name])
    for name, column in changed.items():
        found = found.set_column(found.column_names.index(name), name, column)
    return found


def _words(column: pa.ChunkedArray, meanings: Mapping[str, Any], type_: pa.DataType) -> pa.Array:
    """Return what words mean; one that means nothing is null."""
    encoded = column.combine_chunks()
    known = [meanings.get(word) for word in encoded.dictionary.to_pylist()]
    return pa.array(known, type_).take(encoded.indices)


def _with_answers(rows: pa.Table) -> pa.Table:
    """Return the rows, and for those that were answered a row of what went the other way."""
    if "answer_packets" not in rows.column_names:
        return rows
    answered = rows.filter(pc.greater(rows["answer_packets"], 0))
    sent = rows.drop_columns(["answer_packets", "answer_bytes"])
    if not answered.num_rows:
        return sent
    inbound = pc.equal(answered["direction"], INBOUND)
    columns = {name: answered[SWAPPED.get(name, name)] for name in sent.column_names}
    columns["direction"] = pc.if_else(inbound, OUTBOUND, INBOUND)
    return pa.concat_tables([sent, pa.table(columns)]).unify_dictionaries()


def _columns(rows: pa.Table, groups: Sequence[Group], piece: Piece) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: rows[name].combine_chunks() for name in rows.column_names if name != "group"
    }
    columns |= {side: _addresses(columns[side]) for side in ("src_ip", "dst_ip")}
    group = rows["group"].combine_chunks()
    for name in SHARED:
        texts = [getattr(one, name) for one in groups]
        if name == "account":
            texts = [text or piece.place.account for text in texts]
        columns[name] = pa.array(texts, pa.string()).take(group)
    return columns | {"cloud": "azure", "region": piece.place.region}


def _addresses(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Return a column of addresses; what is none is null, and the rest of its row stays."""
    try:
        address_columns(column.dictionary)
    except ValueError:
        known = [_azure.address(text) for text in column.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(column.indices, pa.array(known, pa.string()))
    return column
