"""The flat table: a row for each event, with one column for each field that rules ask for.

Each record is decoded once, and of it only the members that are asked for; measured, this costs
less than letting DuckDB look for each path in the JSON.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
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
        texts = _formed(cells[field], form)
        if columns.is_list((field, form)) or any(len(one) > 1 for one in texts):
            lists.add((field, form))
            arrays.append(pa.array([one or None for one in texts], pa.list_(pa.string())))
        else:
            arrays.append(pa.array([one[0] if one else None for one in texts], pa.string()))
    return pa.table(arrays, names=[ROW, *columns.names.values()]), lists


def empty(columns: Columns) -> pa.Table:
    """Return the table of no records."""
    fields = [(ROW, pa.int64())]
    for key, name in columns.names.items():
        fields.append((name, pa.list_(pa.string()) if columns.is_list(key) else pa.string()))
    return pa.schema(fields).empty_table()


def _cells(
    raws: Iterable[bytes | str], log: Log, fields: Collection[str]
) -> dict[str, list[Collection[str]]]:
    """Return the values of each field in each record."""
    decode = _decoder(log.members(fields))
    getters = {field: log.getter(field) for field in fields}
    cells: dict[str, list[Collection[str]]] = {field: [] for field in fields}
    added = [(getters[field], cells[field].append) for field in fields]
    for raw in raws:
        record = decode(raw)
        for get, add in added:
            add(get(record))
    return cells


def _decoder(members: Collection[str] | None) -> Callable[[bytes | str], Any]:
    """Return what decodes these members of a record, and skips the others."""
    if members is None:
        return msgspec.json.Decoder().decode
    keys = sorted(members)
    top = msgspec.defstruct(
        "Top",
        [
            (f"m{number}", Any, msgspec.field(default=None, name=key))
            for number, key in enumerate(keys)
        ],
    )
    decode = msgspec.json.Decoder(top).decode
    return lambda raw: dict(zip(keys, msgspec.structs.astuple(decode(raw)), strict=True))


def _formed(texts: list[Collection[str]], form: Form) -> list[list[str]]:
    written = _FORMS[form]
    known: dict[str, list[str]] = {}

    def of(text: str) -> list[str]:
        if (found := known.get(text)) is None:
            found = known[text] = written(text)
        return found

    return [[one for text in cell for one in of(text)] for cell in texts]


def _address(text: str) -> list[str]:
    try:
        address = ip_address(text)
    except ValueError:
        return []
    return [ordered(getattr(address, "ipv4_mapped", None) or address)]


_FORMS: Final[Mapping[Form, Callable[[str], list[str]]]] = {
    Form.FOLDED: lambda text: [folded(text)],
    Form.EXACT: lambda text: [text],
    Form.ADDRESS: _address,
}
