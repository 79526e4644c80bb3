"""Lines of columns with one character between them, as Arrow reads them; some may be bad.

Arrow reads all of them at once. Only where it cannot is each line looked at by itself, and what is
sound given to Arrow again.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import pyarrow as pa
from pyarrow import csv

from firedoor.log_source import Refusal

WORD, TEXT = pa.dictionary(pa.int32(), pa.string()), pa.string()
NUMBER, SMALL, REAL = pa.int64(), pa.int32(), pa.float64()

# Of the size of a piece: a block holds whole lines, so a line cannot be longer.
BLOCK: Final = 128 << 20
NULLS: Final = ("-", "")
# A quoted field ends at a quote that is not escaped. In any other, a quote is like a letter.
FIELD: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"\S*|[^" ]\S*)?')
# A backslash before anything but a quote or another: `\\x22` is not an escape but what was logged.
BACKSLASH: Final = re.compile(rb'\\(?=[^"\\])')
SOUND: Final[Mapping[pa.DataType, tuple[re.Pattern[str], str]]] = {
    NUMBER: (re.compile("-?[0-9]{1,18}"), "a whole number"),
    SMALL: (re.compile("-?[0-9]{1,9}"), "a whole number"),
    REAL: (re.compile("-?[0-9]{1,18}([.][0-9]{0,18})?"), "a number"),
}


T = TypeVar("T")


@dataclass(frozen=True)
class Format:
    """The columns of a line."""

    names: Sequence[str]
    """All of them, in their order."""
    types: Mapping[str, pa.DataType]
    """Those that are read, and as what; one that a line has not is left out."""
    least: int = 0
    """With how many columns a line is whole; 0 is all. What is missing at its end is null."""
    delimiter: str = " "
    quoted: bool = False
    """Whether a text that holds spaces has quotes around it, and `\\` before a quote in it."""
    checks: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    """Whether a value is as it should be. With any, each line is looked at by itself."""

    @property
    def fewest(self) -> int:
        """With how many columns a line is whole."""
        return self.least or len(self.names)


def read(lines: bytes, format_: Format, first: int = 1) -> tuple[pa.Table, list[Refusal]]:
    """Return the columns of all lines that are sound, and why the others are not.

    `-` and an empty text are null. What a line has beyond the names is left out.
    """
    if not lines.isascii():
        # Arrow cannot even say which line is not UTF-8.
        lines = lines.decode(errors="replace").encode()
    if not format_.checks:
        head = lines[: lines.find(b"\n")].decode(errors="replace")
        columns = max(len(_fields(head, format_) or ()), format_.fewest)
        try:
            table = _parsed(lines, columns, format_)
        except pa.ArrowInvalid:
            return _one_by_one(lines, format_, first)
        # A quote that is not closed takes the next line with it.
        if not format_.quoted or table.num_rows == lines.count(b"\n"):
            return _completed([table], format_), []
    return _one_by_one(lines, format_, first)


def built(
    lines: bytes, format_: Format, build: Callable[[pa.Table], T], first: int = 1
) -> tuple[T, list[Refusal]]:
    """Return what is built from the lines; where that fails, from those that pass the checks.

    `build` raises `ValueError` where a value is not as it should be.
    """
    table, refused = read(lines, replace(format_, checks={}), first)
    try:
        return build(table), refused
    except ValueError:
        table, refused = read(lines, format_, first)
        return build(table), refused


def _one_by_one(lines: bytes, format_: Format, first: int) -> tuple[pa.Table, list[Refusal]]:
    """Sort the lines by their number of columns, and let Arrow read those that are sound."""
    sound: dict[int, list[str]] = {}
    refused = []
    for number, line in enumerate(lines.splitlines(), first):
        text = line.decode(errors="replace")
        if not text.strip():
            continue
        fields = _fields(text, format_)
        why = _why_not(fields, format_)
        if why:
            refused.append(Refusal(number, why, line))
        else:
            sound.setdefault(len(fields or ()), []).append(text)
    tables = [
        _parsed("\n".join([*texts, ""]).encode(), columns, format_)
        for columns, texts in sound.items()
    ]
    return _completed(tables, format_), refused


def _fields(line: str, format_: Format) -> list[str] | None:
    """Return the fields of a line, or None if a quote is not closed."""
    if not format_.quoted:
        return line.rstrip("\r").split(format_.delimiter)
    fields, at, line = [], 0, line.rstrip("\r")
    while found := FIELD.match(line, at):
        fields.append(found[0])
        if found.end() == len(line):
            return fields
        if line[found.end()] != " ":
            return None
        at = found.end() + 1
    return None


def _why_not(fields: list[str] | None, format_: Format) -> str:
    """Return why a line is not sound, or nothing if it is."""
    if fields is None:
        return "a quote is not closed"
    if len(fields) < format_.fewest:
        return f"{len(fields)} columns, expected {format_.fewest}"
    for name, value in zip(format_.names, fields, strict=False):
        if value in NULLS:
            continue
        pattern, expected = SOUND.get(format_.types.get(name), (None, ""))
        if pattern and not pattern.fullmatch(value):
            return f"{name}: expected {expected}, not {value[:40]}"
        check = format_.checks.get(name)
        if check and not check(value):
            return f"{name}: not {value[:40]}"
    return ""


def _parsed(lines: bytes, columns: int, format_: Format) -> pa.Table:
    """Return the columns of lines that all have so many; raises `pa.ArrowInvalid`."""
    names: list[str] = []
    for number in range(columns):
        known = format_.names[number] if number < len(format_.names) else ""
        names.append(known if known and known not in names else f"+{number}")
    types = {name: format_.types[name] for name in names if name in format_.types}
    if format_.quoted and b"\\" in lines:
        lines = BACKSLASH.sub(rb"\\\\", lines)
    return csv.read_csv(
        pa.BufferReader(lines),
        # One thread: what reads many objects at once has a thread for each.
        csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=names),
        csv.ParseOptions(
            delimiter=format_.delimiter,
            quote_char='"' if format_.quoted else False,
            escape_char="\\" if format_.quoted else False,
            double_quote=False,
        ),
        csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=NULLS,
            strings_can_be_null=True,
            check_utf8=False,  # `read` has seen to it
        ),
    )


def _completed(tables: Iterable[pa.Table], format_: Format) -> pa.Table:
    """Return one table of all; what not all of them have is null where it is missing."""
    names = dict.fromkeys(name for name in format_.names if name in format_.types)
    schema = pa.schema([(name, format_.types[name]) for name in names])
    empty = pa.table([pa.array([], type_) for type_ in schema.types], schema=schema)
    tables = [table for table in tables if table.num_rows]
    if len(tables) == 1 and tables[0].num_columns == len(schema):
        return tables[0]
    return pa.concat_tables([empty, *tables], promote_options="default").unify_dictionaries()
