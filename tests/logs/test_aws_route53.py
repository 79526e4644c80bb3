"""DNS questions that are not as most are."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed, Place

QUESTION: dict[str, Any] = {
    "query_timestamp": "2026-01-02T03:04:05Z",
    "query_name": "example.com.",
    "rcode": "NOERROR",
    "srcaddr": "10.0.0.1",
}
LINE = "1.0 2026-01-02T03:04:05.130Z Z123412341234 example.com A NOERROR UDP FRA6 192.0.2.1 -"


def read(content: str) -> Parsed:
    """Return what an object holds."""
    [parsed] = Reading(io.BytesIO(content.encode()), Place("dns.log"))
    return parsed


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"query_timestamp": "then"}, "query_timestamp: expected a time, not then"),
        ({"query_name": 7}, "Expected `str`, got `int` - at `$.query_name`"),
        ({"srcport": "many"}, "srcport: expected a number, not many"),
    ],
)
def test_damaged_question_is_refused_alone(odd: dict[str, Any], reason: str) -> None:
    parsed = read("".join(f"{json.dumps(one)}\n" for one in (QUESTION, QUESTION | odd)))

    assert [(one.number, one.reason) for one in parsed.refused] == [(2, reason)]
    assert parsed.tables["dns_activity"].num_rows == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bogus", "1 columns, expected 10"),
        (LINE.replace("2026-01-02", "2026-13-02"), "time: not 2026-13-02T03:04:05.130Z"),
        (LINE.replace("192.0.2.1", "192.0.2.x"), "resolver: not 192.0.2.x"),
    ],
)
def test_bad_line_is_refused_alone(line: str, reason: str) -> None:
    parsed = read(f"{LINE}\n{line}\n{LINE}\n")

    assert [(one.number, one.reason) for one in parsed.refused] == [(2, reason)]
    assert parsed.tables["dns_activity"].num_rows == 2
