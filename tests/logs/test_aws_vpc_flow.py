"""Flow logs that are not as most are."""

import io
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed, Place

GOOD = (
    "2 123456789012 eni-0a1b 192.0.2.10 10.0.0.5 43418 22 6 20 4249 1767322800 1767322860 ACCEPT OK"
)


def read(content: str | bytes, **known: Any) -> Parsed:
    """Return what an object of one piece holds."""
    data = content.encode() if isinstance(content, str) else content
    options = {name: known.pop(name) for name in ("source", "wanted") if name in known}
    [parsed] = Reading(io.BytesIO(data), Place("flows.log", **known), **options)
    return parsed


def flows(parsed: Parsed, *columns: str) -> list[tuple[Any, ...]]:
    """Return some columns of the flows."""
    rows = parsed.tables["network_activity"].to_pylist()
    return [tuple(row[column] for column in columns) for row in rows]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bogus line", "2 columns, expected 14"),
        (GOOD.replace("10.0.0.5", "10.0.0.256"), "dstaddr: not 10.0.0.256"),
        (GOOD.replace("192.0.2.10", "nowhere"), "srcaddr: not nowhere"),
        (GOOD.replace("43418", "http"), "srcport: expected a whole number, not http"),
    ],
)
def test_bad_line_is_refused_alone(line: str, reason: str) -> None:
    parsed = read(f"{GOOD}\n{line}\n{GOOD}\n")

    assert [(one.number, one.reason) for one in parsed.refused] == [(2, reason)]
    assert flows(parsed, "src_ip") == [("192.0.2.10",)] * 2


def test_bad_address_in_parquet_is_refused_alone() -> None:
    stored = io.BytesIO()
    columns = {
        "srcaddr": ["192.0.2.1", "x", "192.0.2.2"],
        "dstaddr": ["10.0.0.1"] * 3,
        "log_status": ["OK"] * 3,
        "start": [1767322800] * 3,
    }
    parquet.write_table(pa.table(columns), stored)

    parsed = read(stored.getvalue())

    assert [(one.number, one.reason) for one in parsed.refused] == [(2, "srcaddr: not x")]
    assert flows(parsed, "src_ip", "time") == [
        ("192.0.2.1", 1767322800000),
        ("192.0.2.2", 1767322800000),
    ]


def test_line_without_data_is_passed_over_and_one_of_lost_data_counted() -> None:
    nothing = "2 123456789012 eni-0a1b - - - - - - - 1767322800 1767322860 - "

    parsed = read(f"{nothing}NODATA\n{nothing}SKIPDATA\n{nothing}NODATA\n")

    assert (flows(parsed), parsed.passed, parsed.lost) == ([], 2, 1)


def test_configured_format_is_read_where_there_is_no_header() -> None:
    parsed = read(
        "443 192.0.2.7 1767322800 10.0.0.1 new\n",
        format="${dstport} ${srcaddr} ${start} ${dstaddr} ${of-tomorrow}",
        account="123456789012",
        region="eu-central-1",
    )

    assert flows(parsed, "src_ip", "dst_ip", "dst_port", "account", "region") == [
        ("192.0.2.7", "10.0.0.1", 443, "123456789012", "eu-central-1")
    ]


def test_header_within_may_name_the_fields_in_another_order() -> None:
    parsed = read(
        "version srcaddr dstaddr start\n2 192.0.2.1 10.0.0.1 1767322800\n"
        "dstaddr srcaddr start end\nbogus\n10.0.0.2 192.0.2.2 1767322801 1767322802\n"
    )

    assert flows(parsed, "src_ip", "dst_ip") == [
        ("192.0.2.1", "10.0.0.1"),
        ("192.0.2.2", "10.0.0.2"),
    ]
    assert [one.number for one in parsed.refused] == [4]


def test_format_without_times_is_refused() -> None:
    parsed = read("version srcaddr dstaddr\n2 192.0.2.1 10.0.0.1\n")

    assert [one.reason for one in parsed.refused] == [
        "a format without start and end tells no time"
    ]


def test_unknown_account_is_that_of_the_place() -> None:
    unknown = GOOD.replace("123456789012", "unknown")

    assert flows(read(f"{unknown}\n", account="123456789012"), "account") == [("123456789012",)]


def test_only_what_is_wanted_is_read() -> None:
    parsed = read(f"{GOOD}\n", wanted={"network_activity": frozenset({"dst_port", "day"})})

    assert parsed.tables["network_activity"].select(["day", "dst_port"]).to_pylist() == [
        {"day": "2026-01-02", "dst_port": 22}
    ]
    assert "src_ip" not in parsed.tables["network_activity"].column_names
