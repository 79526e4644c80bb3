"""`firedoor logs`: logs are read, kept, asked, and what cannot be read is told."""

import csv
import gzip
import io
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from firedoor.lab.server import ACCOUNT, REGION, EmulatedAws

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
    whole = await cli("logs", "refused", str(logs / "c.txt"))

    assert (ended.status, ended.out) == (1, "3 objects with 5 rows, 2 not whole\n")
    assert f"{logs}/b.log: 1 lines refused" in ended.err
    assert f"{logs}/c.txt: expected a log that we know" in ended.err
    named = {line.split()[0] for line in listed.out.splitlines()[1:]}
    assert named == {f"{logs}/b.log", f"{logs}/c.txt"}
    assert lines.out == "2: 2 columns, expected 14: no flow\n"
    assert whole.out == "expected a log that we know: name its format with --format\n"


async def test_logs_are_asked_where_they_lie(cli: Cli, logs: Path) -> None:
    asked = await cli("logs", "query", COUNT, "--logs", logs, "-o", "csv")
    kept = await cli("logs", "status")

    assert [*csv.reader(io.StringIO(asked.out))] == [
        ["action", "n"],
        ["Allowed", "1"],
        ["Denied", "3"],
    ]
    assert len(kept.out.splitlines()) == 1  # the head of a table that is empty


async def test_all_that_is_wrong_with_an_object_is_said_where_it_lies(
    cli: Cli, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.log.gz"
    lines = "".join(LINE.format(port, "REJECT") for port in range(500))
    cut.write_bytes(gzip.compress(f"{LINE.format(22, 'ACCEPT')}no flow\n{lines}".encode())[:-20])

    ended = await cli("logs", "query", COUNT, "--logs", cut)

    assert ended.status == 1
    assert "expected gzip: it ends too early" in ended.err
    assert "1 lines left out: 2 columns, expected 14" in ended.err


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
        (("query", ""), "query: expected a question"),
        (("query", "SELECT 1 AS a", "--since", "999999d"), "--since: 999999d: expected how long"),
        (("query", "SELECT 1 AS a", "--until", "0001-01-01T00:00+01:00"), "--until: 0001"),
        (("query", "SELECT 1 AS a", "--until", "0001-01-01"), "expected a time from 1970"),
        (("query", "SELECT 1 AS a", "--logs", ".", "--engine", "athena"), "--logs: Athena is"),
        (("query", "SELECT 1 AS a", "--logs", ".", "--since", "7d"), "the question has no :since"),
        (("ingest", "nowhere"), "nowhere"),
        (("ingest", ""), "logs: expected a file"),
        (("enable", "aws_waf", "--account", "123456789012"), "region: none: expected one"),
        (("enable", "aws_waf", "--region", "eu west/1"), "region: eu west/1: expected one"),
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


async def test_only_keys_of_addresses_are_shown_as_addresses(cli: Cli) -> None:
    sql = "SELECT 5 AS a_key, 5000000000 AS b_key, 'x' AS c_key, [1] AS d_key, 1.5 AS e_key"

    asked = await cli("logs", "query", sql, "--json")

    assert json.loads(asked.out) == {
        "a_key": "0.0.0.5", "b_key": 5000000000, "c_key": "x", "d_key": [1], "e_key": 1.5,
    }  # fmt: skip


async def test_question_that_needs_no_logs_is_asked_of_them(cli: Cli, logs: Path) -> None:
    asked = await cli("logs", "query", "SELECT 1 AS a", "--logs", logs, "--json")

    assert (asked.status, asked.out) == (0, '{"a": 1}\n')


async def test_sum_is_printed_as_json(cli: Cli, logs: Path) -> None:
    await cli("logs", "ingest", logs)

    asked = await cli("logs", "query", "SELECT sum(bytes) AS n FROM network_activity", "--json")

    assert (asked.status, asked.out) == (0, '{"n": 160}\n')


async def test_file_that_was_lost_is_named(cli: Cli, logs: Path) -> None:
    await cli("logs", "ingest", logs)
    (file,) = (logs.parent / "home" / "logs").rglob("*.parquet")
    file.unlink()

    asked = await cli("logs", "query", COUNT)

    assert (asked.status, asked.out) == (2, "")
    assert asked.err.startswith("firedoor: what is kept: network_activity: ")
    assert str(file) in asked.err
    assert len(asked.err.splitlines()) == 1


async def test_damaged_ledger_is_one_line(cli: Cli, logs: Path) -> None:
    await cli("logs", "ingest", logs)
    with closing(sqlite3.connect(logs.parent / "home" / "logs" / "ledger.sqlite")) as ledger:
        ledger.execute("ALTER TABLE files RENAME COLUMN day TO night")

    ended = await cli("logs", "status")

    assert (ended.status, ended.out) == (3, "")
    assert "logs cannot be kept there" in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_formats_and_columns_are_listed(cli: Cli) -> None:
    sources, tables = await cli("logs", "sources"), await cli("logs", "tables")
    columns = await cli("logs", "tables", "network_activity", "--json")

    assert "aws_vpc_flow" in sources.out
    assert "network_activity" in tables.out
    assert {"name": "src_key"}.items() <= columns.document[8].items()


async def test_saved_query_is_asked(cli: Cli, logs: Path) -> None:
    asked = await cli(
        "logs", "query", "--saved", "rejected_traffic", "--logs", logs,
        "--since", "2026-05-28T00:00Z", "--until", "2026-05-29T00:00Z", "--json",
    )  # fmt: skip

    (row,) = [asked.document]
    assert (row["src_key"], row["dst_port"], row["count"]) == ("198.51.100.7", 22, 3)


async def test_addresses_of_version_6_are_shown_for_their_keys(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "six.log"
    file.write_text(LINE.format(22, "REJECT").replace("198.51.100.7", "2001:db8::7"))
    sql = "SELECT src_key, count(*) AS n FROM network_activity GROUP BY src_key"

    lying = await cli("logs", "query", sql, "--logs", file, "--json")
    await cli("logs", "ingest", file)
    kept = await cli("logs", "query", sql, "--json")

    assert lying.document == kept.document == {"src_key": "2001:db8::7", "n": 1}


async def test_tables_for_athena_are_printed(cli: Cli, logs: Path) -> None:
    await cli("logs", "ingest", logs)

    ended = await cli("logs", "ddl", "s3://lake/logs")

    assert ended.status == 0
    assert "\nLOCATION 's3://lake/logs/network_activity/'\n" in ended.out
    assert "123456789012" in ended.out


async def test_what_turns_logs_on_is_shown_and_then_done(cli: Cli, lab: EmulatedAws) -> None:
    lab.reset()
    order = ("logs", "enable", "aws_guardduty", "--account", ACCOUNT, "--region", REGION)

    shown = await cli(*order)
    unasked = await cli(*order, "--apply")
    done = await cli(*order, "--apply", "--yes")
    again = await cli(*order, "--apply", "--yes")

    assert "$ aws guardduty create-detector" in shown.out
    assert (unasked.status, unasked.err) == (2, "firedoor: no terminal to ask on: give --yes\n")
    assert (done.status, again.status) == (0, 0)
    assert "done: " in done.out
    assert "create-detector" not in again.out


async def test_what_is_printed_only_says_so(cli: Cli) -> None:
    listed = await cli("logs", "enable")

    told = {line.split()[0]: line.split()[-1] for line in listed.out.splitlines()[1:]}
    assert told["aws_guardduty"] == "applied"
    assert told["azure_defender"] == "printed"
