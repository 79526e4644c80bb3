"""`firedoor logs`: logs are read, kept, asked, and what cannot be read is told."""

import csv
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Awaitable[Any]]

LINE = "2 123456789012 eni-0a 198.51.100.7 10.0.1.5 40000 {} 6 1 40 1780000000 1780000060 {} OK\n"
COUNT = "SELECT action, count(*) AS n FROM network_activity GROUP BY action ORDER BY action"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.log").write_text(LINE.format(22, "REJECT") * 3 + LINE.format(443, "ACCEPT"))
    return folder


async def test_logs_are_read_once_and_asked(cli: Cli, logs: Path) -> None:
    first, second = await cli("logs", "ingest", logs), await cli("logs", "ingest", logs)
    asked = await cli("logs", "query", COUNT, "--json")

    assert (first.status, first.out) == (0, "1 objects with 4 rows\n")
    assert (second.status, second.out) == (0, "0 objects with 0 rows\n")
    assert asked.out.splitlines() == [
        '{"action": "Allowed", "n": 1}',
        '{"action": "Denied", "n": 3}',
    ]


async def test_what_cannot_be_read_is_named_and_the_rest_goes_on(cli: Cli, logs: Path) -> None:
    (logs / "b.log").write_text(LINE.format(22, "REJECT") + "no flow\n")
    (logs / "c.txt").write_text("shopping list\n")

    ended = await cli("logs", "ingest", logs)
    listed = await cli("logs", "refused")
    lines = await cli("logs", "refused", str(logs / "b.log"))

    assert (ended.status, ended.out) == (1, "3 objects with 5 rows, 2 not whole\n")
    assert f"{logs}/b.log: 1 lines refused" in ended.err
    assert f"{logs}/c.txt: expected a log that we know" in ended.err
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == [
        f"{logs}/c.txt",
        f"{logs}/b.log",
    ] or len(listed.out.splitlines()) == 3
    assert lines.out == "2: 2 columns, expected 14: no flow\n"


async def test_logs_are_asked_where_they_lie(cli: Cli, logs: Path) -> None:
    asked = await cli("logs", "query", COUNT, "--logs", logs, "-o", "csv")
    kept = await cli("logs", "status")

    assert [*csv.reader(io.StringIO(asked.out))] == [
        ["action", "n"],
        ["Allowed", "1"],
        ["Denied", "3"],
    ]
    assert len(kept.out.splitlines()) == 1  # the head of a table that is empty


async def test_addresses_are_shown_for_their_keys(cli: Cli, logs: Path) -> None:
    sql = "SELECT src_key, count(*) AS n FROM network_activity GROUP BY src_key"

    asked = await cli("logs", "query", sql, "--logs", logs)

    assert asked.out.splitlines()[1].split() == ["198.51.100.7", "4"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("query", "SELEC 1"), "query"),
        (("query", "SELECT nothing FROM network_activity"), "nothing"),
        (("query",), "query: give one question: SQL, or --saved NAME"),
        (("query", "--saved", "nosuch"), "--saved: nosuch: expected one of"),
        (
            ("query", "SELECT 1 AS a", "--since", "yesterday"),
            "--since: yesterday: expected how long",
        ),
        (("ingest", "nowhere"), "nowhere"),
        (("ingest", ".", "--format", "nosuch"), "--format: nosuch: expected one of aws_alb"),
        (("tables", "nosuch"), "relation: nosuch: expected one of network_activity"),
        (("refused", "nosuch"), "object: nosuch: it was never read"),
    ],
)
async def test_bad_input_is_one_line(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    ended = await cli("logs", *arguments)

    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_formats_and_columns_are_listed(cli: Cli) -> None:
    sources, tables = await cli("logs", "sources"), await cli("logs", "tables")
    columns = await cli("logs", "tables", "network_activity", "--json")

    assert "aws_vpc_flow" in sources.out
    assert "network_activity" in tables.out
    assert {"name": "src_key"}.items() <= columns.document[8].items()
