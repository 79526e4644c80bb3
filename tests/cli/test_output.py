"""What reaches a terminal, and what programs read."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from firedoor.cli import output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zürich, 東京 🔥", "Zürich, 東京 🔥"),
        ("a\x1b[2J", "a\\u001b[2J"),
        ("a\x7f\x9b2J", "a\\u007f\\u009b2J"),
        ("i-0abc\u202etxt\u2066", "i-0abc\\u202etxt\\u2066"),
        ("a\u2028b\nc", "a\\u2028b\\u000ac"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half\ud83d", "half\\ud83d"),
    ],
)
def test_what_acts_on_a_terminal_is_spelled_out(text: str, expected: str) -> None:
    assert output.clean(text) == expected


def test_a_text_of_several_lines_becomes_one() -> None:
    assert output.one_line("a\n  b\u2028c\x85d\x1b[2J\u202e") == "a b c d\\u001b[2J\\u202e"


def test_a_line_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.line("still held by incident/\x9b2J\u202e")

    assert capsys.readouterr().out == "still held by incident/\\u009b2J\\u202e\n"


def test_json_says_the_same_and_cannot_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = {"id": "i-\x9b\u202e\U000e0041", "name": "Zürich"}

    output.document(said)
    output.record(said)

    printed = capsys.readouterr().out
    assert printed.isascii()
    assert [json.loads(line) for line in printed.splitlines()] == [said, said]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal(1 << 70), str(1 << 70)),
        (Decimal("1.50"), "1.5"),
        (float("nan"), "null"),
        (b"a\xab", '"a\\\\xab"'),
        (date(2026, 1, 31), '"2026-01-31"'),
        (datetime(2026, 1, 31, tzinfo=UTC), '"2026-01-31T00:00:00+00:00"'),
        (timedelta(hours=1), '"1:00:00"'),
        ([None, {"a": Decimal(1)}], '[null, {"a": 1}]'),
    ],
)
def test_whatever_an_answer_holds_is_json(
    value: Any, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.record(value)

    assert capsys.readouterr().out == f"{expected}\n"
