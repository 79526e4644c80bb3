"""The flat table: a row for each event, with one column for each field that rules ask for.

Each record is decoded once, and of it only the members that are asked for. DuckDB finds a path in
JSON sooner, but tells a list from a text only by asking for the type of every step of every path.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

import msgspec
import pyarrow as pa

from firedoor.sigma.backend import Columns, Form, Key, ordered
from firedoor.sigma.fields import Log, folded

ROW: Final = "row"
"""The column that says which event a row is, from 0."""


def table(raws: Iterable[bytes | str], log: Log, columns: Columns) -> tuple[pa.Table, set[Key]]:
    """Return the table of records, and which of its columns hold lists.

    A column is one of lists only where a record has several values, since texts are quicker.
    """
    cells = _cells(raws, log, {field for field, _ in columns.names})
    length = len(next(iter(cells.values()), ()))
    arrays: list[pa.Array] = [pa.array(range(length), pa.int64())]
    lists: set[Key] = set()
    for field, form in columns.names:
        if columns.is_list((field, form)) or any(len(one) > 1 for one in cells[field]):
            lists.add((field, form))
            arrays.append(_lists(cells[field], form))
        else:
            arrays.append(_texts(cells[field], form))
    return pa.table(arrays, names=[ROW, *columns.names.values()]), lists


def empty(columns: Columns) -> pa.Table:
    """Return the table of no records."""
    fields = [(ROW, pa.int64())]
    for key, name in columns.names.items():
        fields.append((name, pa.list_(pa.string()) if columns.is_list(key) else pa.string()))
    return pa.schema(fields).empty_table()


def _cells(
    raws: Iterable[bytes | str], log: Log, fields: Collection[str]
) -> dict[str, list[Sequence[str]]]:
    """Return the values of each field in each record."""
    decode = _decoder(log.members(fields))
    getters = {field: log.getter(field) for field in fields}
    cells: dict[str, list[Sequence[str]]] = {field: [] for field in fields}
    added = [(getters[field], cells[field].append) for field in fields]
    for raw in raws:
        record = decode(raw)
        for get, add in added:
            try:
                add(get(record))
            except RecursionError:  # it is nested as only those do who want this to fail
                add(())
    return cells


def _decoder(members: Collection[str] | None) -> Callable[[bytes | str], Any]:
    """Return what decodes these members of a record, and skips the others."""
    # Other names msgspec does not take.
    if members is None or not all(re.fullmatch(r"[\w.:/-]+", name) for name in members):
        return _whole
    keys = sorted(members)
    fields = [
        (f"m{number}", Any, msgspec.field(default=None, name=key))
        for number, key in enumerate(keys)
    ]
    partly = msgspec.json.Decoder(msgspec.defstruct("Members", fields)).decode

    def decode(raw: bytes | str) -> Any:
        try:
            told = partly(raw)
        except (msgspec.MsgspecError, RecursionError):
            return _whole(raw)
        return dict(zip(keys, msgspec.structs.astuple(told), strict=True))

    return decode


def _whole(raw: bytes | str) -> Any:
    """Return a record, as far as it can be read: nobody hides by a letter that is none."""
    try:
        return _anything(raw)
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        text = json.dumps(json.loads(raw), ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


_anything: Final = msgspec.json.Decoder().decode


def _texts(cells: list[Sequence[str]], form: Form) -> pa.Array:
    """Return a column of texts, each of which is written, and later compared, only once."""
    texts = pa.array([cell[0] if cell else None for cell in cells], pa.string())
    once = texts.dictionary_encode()
    write = _FORMS[form]
    written = pa.array([write(text) for text in once.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(once.indices, written)


def _lists(cells: list[Sequence[str]], form: Form) -> pa.Array:
    write = _FORMS[form]
    written = [[one for text in cell if (one := write(text)) is not None] for cell in cells]
    return pa.array([one or None for one in written], pa.list_(pa.string()))


def _address(text: str) -> str | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return ordered(getattr(address, "ipv4_mapped", None) or address)


_FORMS: Final[Mapping[Form, Callable[[str], str | None]]] = {
    Form.FOLDED: folded,
    Form.EXACT: str,
    Form.ADDRESS: _address,
}
