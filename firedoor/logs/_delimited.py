"""Lines of columns with one character between them, as Arrow reads them: a few lines may be bad."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from firedoor.log_source import Refusal

Types = Mapping[str, pa.DataType]
"""The columns that are read, and as what: text, a dictionary of text, or a whole number."""

# Of the size of an object; a block holds whole lines, so one line cannot be longer.
BLOCK = 64 << 20


def read(
    lines: bytes,
    names: Sequence[str],
    types: Types,
    *,
    first: int = 1,
    delimiter: str = " ",
    quote: str | None = None,
    escape: str | None = None,
    null: str = "-",
) -> tuple[pa.Table, list[Refusal]]:
    """Return the columns of `types` that `names` has, of every line, and the lines that are bad.

    `names` are those of all columns, in the order of the line. A line with more has new columns at
    its end, which are left out; one with fewer is refused. `null` says that there is nothing.
    """
    reading = _Reading(lines, tuple(names), types, first, delimiter, quote, escape, null)
    try:
        return reading.typed()
    except pa.ArrowInvalid:
        return reading.masked()


class _Reading:
    """One reading of lines: all columns typed, or as text first where a value does not fit."""

    def __init__(
        self,
        lines: bytes,
        names: tuple[str, ...],
        types: Types,
        first: int,
        delimiter: str,
        quote: str | None,
        escape: str | None,
        null: str,
    ) -> None:
        self.lines, self.names, self.first, self.null = lines, names, first, null
        self.types = {name: type_ for name, type_ in types.items() if name in names}
        self.delimiter, self.quote, self.escape = delimiter, quote, escape
        self.odd: list[tuple[int, str, int]] = []  # number, text and columns of lines

    def typed(self) -> tuple[pa.Table, list[Refusal]]:
        table = self._parse(self.types)
        if not self.odd:
            return table, []
        longer, refused = self._odd_lines()
        if longer:
            more, bad = read(
                longer, self.names, self.types, first=self.first, delimiter=self.delimiter,
                quote=self.quote, escape=self.escape, null=self.null,
            )  # fmt: skip
            return pa.concat_tables([table, more]).unify_dictionaries(), [*refused, *bad]
        return table, refused

    def masked(self) -> tuple[pa.Table, list[Refusal]]:
        """Read all as text, keep the lines of which every value is what it should be."""
        self.odd.clear()
        texts = self._parse(dict.fromkeys(self.types, pa.string()))
        fits = pa.repeat(pa.scalar(True), texts.num_rows)
        for name, type_ in self.types.items():
            if pa.types.is_integer(type_):
                digits = pc.match_substring_regex(texts[name], r"^-?[0-9]{1,18}$")
                fits = pc.and_(fits, pc.fill_null(digits, True))
        odd = {number for number, _, _ in self.odd}
        numbered = [
            (number, line)
            for number, line in enumerate(self.lines.splitlines(), self.first)
            if line.strip() and number not in odd
        ]
        wrong = [i for i, fit in enumerate(fits.to_pylist()) if not fit]
        refused = [
            Refusal(numbered[i][0], self._unfit(texts, i), numbered[i][1])
            for i in wrong
            if i < len(numbered)
        ]
        table = texts.filter(fits)
        cast = [_cast(table[name], type_) for name, type_ in self.types.items()]
        _, odd_refused = self._odd_lines()
        return pa.table(cast, names=list(self.types)), sorted(
            [*refused, *odd_refused], key=lambda one: one.number
        )

    def _parse(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        def note(row: Any) -> str:
            self.odd.append(((row.number or 1) + self.first - 1, row.text, row.actual_columns))
            return "skip"

        return csv.read_csv(
            io.BytesIO(self.lines),
            # One thread: what reads many objects at once has a thread for each.
            csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=self.names),
            csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=self.quote or False,
                double_quote=False,
                escape_char=self.escape or False,
                invalid_row_handler=note,
            ),
            csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=[self.null, ""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                check_utf8=True,
            ),
        )

    def _odd_lines(self) -> tuple[bytes, list[Refusal]]:
        """Return what is longer than it should be, cut, and the rest as refused."""
        expected = len(self.names)
        longer, refused = [], []
        for number, text, columns in self.odd:
            if columns > expected and not self.quote:
                longer.append(self.delimiter.join(text.split(self.delimiter)[:expected]))
            else:
                why = f"{columns} columns, expected {expected}"
                refused.append(Refusal(number, why, text.encode()))
        return "".join(f"{line}\n" for line in longer).encode(), refused

    def _unfit(self, texts: pa.Table, row: int) -> str:
        for name, type_ in self.types.items():
            value = texts[name][row].as_py()
            if pa.types.is_integer(type_) and value is not None:
                digits = value.removeprefix("-")
                if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
                    return f"{name}: expected a whole number, not {value[:40]}"
        return "not as it should be"


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    return column.dictionary_encode() if pa.types.is_dictionary(type_) else column.cast(type_)
