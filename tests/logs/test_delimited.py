"""Delimited lines: what is sound is read, and of what is not it is said why."""

from typing import Any

import pytest

from firedoor.logs._delimited import NUMBER, REAL, SMALL, TEXT, WORD, Format, read

PLAIN = Format(("host", "kind", "size"), {"size": NUMBER, "kind": WORD, "host": TEXT})
QUOTED = Format(
    ("kind", "agent", "status", "time"),
    {"agent": TEXT, "status": SMALL, "time": REAL},
    least=3,
    quoted=True,
)


def reading(lines: str | bytes, format_: Format, first: int = 1) -> tuple[list[Any], list[Any]]:
    """Return the rows of lines as tuples, and the number and reason of each refusal."""
    content = lines.encode() if isinstance(lines, str) else lines
    table, refused = read(content, format_, first)
    return (
        [tuple(row.values()) for row in table.to_pylist()],
        [(one.number, one.reason) for one in refused],
    )


def test_columns_are_typed_and_a_hyphen_is_null() -> None:
    table, refused = read(b"a x 1\nb - -\n", PLAIN)

    assert table.to_pylist() == [
        {"host": "a", "kind": "x", "size": 1},
        {"host": "b", "kind": None, "size": None},
    ]
    assert [table.schema.field(name).type for name in PLAIN.types] == list(PLAIN.types.values())
    assert refused == []


def test_column_that_is_not_asked_for_is_not_read() -> None:
    table, _ = read(b"a x 1\n", Format(PLAIN.names, {"kind": WORD}))

    assert table.to_pylist() == [{"kind": "x"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bogus line", "2 columns, expected 3"),
        ("a x 1x", "size: expected a whole number, not 1x"),
        ("a x 1.5", "size: expected a whole number, not 1.5"),
        ("a x " + "9" * 19, "size: expected a whole number, not " + "9" * 19),
    ],
)
def test_bad_line_is_refused_alone(line: str, reason: str) -> None:
    assert reading(f"a x 1\n{line}\nb y 2\n", PLAIN, first=7) == (
        [("a", "x", 1), ("b", "y", 2)],
        [(8, reason)],
    )


def test_refusal_has_the_line_and_blank_lines_are_counted() -> None:
    table, [refusal] = read(b"a x 1\n\n  \r\nbogus\n", PLAIN)

    assert (table.num_rows, refusal.number, refusal.text) == (1, 4, b"bogus")


def test_more_columns_than_there_are_names_are_left_out() -> None:
    assert reading("a x 1 new\nb y 2\nc z 3 new newer\n", PLAIN) == (
        [("a", "x", 1), ("b", "y", 2), ("c", "z", 3)],
        [],
    )


def test_column_that_lines_lack_is_null() -> None:
    assert reading("h a 200\n", QUOTED) == ([("a", 200, None)], [])
    assert reading("h a 200 0.5\nh b 404\n", QUOTED) == ([("a", 200, 0.5), ("b", 404, None)], [])


def test_quoted_text_is_as_it_was_logged() -> None:
    line = r'h "say \"x\" \x22 \\ é" 200 0.5' + "\n"

    assert reading(line, QUOTED) == ([('say "x" \\x22 \\ é', 200, 0.5)], [])


def test_quote_that_is_not_closed_costs_only_its_line() -> None:
    lines = 'h "a" 200\nh "b 200\nh "c" 200\nh "d" 200\n'

    assert reading(lines, QUOTED) == (
        [("a", 200, None), ("c", 200, None), ("d", 200, None)],
        [(2, "a quote is not closed")],
    )


def test_quote_within_a_plain_field_is_a_letter() -> None:
    assert reading('h a"b 200\n', QUOTED) == ([('a"b', 200, None)], [])


def test_text_that_is_not_utf8_is_kept() -> None:
    assert reading(b"a\xff x 1\nb y 2\n", PLAIN) == ([("a�", "x", 1), ("b", "y", 2)], [])


def test_check_refuses_lines() -> None:
    checked = Format(PLAIN.names, PLAIN.types, checks={"host": str.isalpha})

    assert reading("a x 1\n7 y 2\n- z 3\n", checked) == (
        [("a", "x", 1), (None, "z", 3)],
        [(2, "host: not 7")],
    )


def test_another_delimiter_may_part_the_columns() -> None:
    commas = Format(PLAIN.names, PLAIN.types, delimiter=",")

    assert reading("a,x y,1\nb,c\n", commas) == ([("a", "x y", 1)], [(2, "2 columns, expected 3")])


def test_no_lines_are_no_rows() -> None:
    assert reading("", PLAIN) == ([], [])
    assert reading("bogus\n", PLAIN) == ([], [(1, "1 columns, expected 3")])
