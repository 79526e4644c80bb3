"""`firedoor detect`: detections run over logs, and what they find becomes incidents."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from firedoor.model.watch import SCHEDULE

Cli = Callable[..., Awaitable[Any]]

HEADER = "account-id srcaddr dstaddr srcport dstport protocol start end action instance-id\n"
LINE = "123456789012 198.51.100.7 10.0.1.5 40000 {} 6 1780000000 1780000060 REJECT i-0a1b2c3d\n"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Flow logs of a port scan."""
    file = tmp_path / "scan.log"
    file.write_text(HEADER + "".join(LINE.format(port) for port in range(1, 61)))
    return file


async def test_scan_is_found_in_logs_where_they_lie(cli: Cli, scan: Path) -> None:
    ended = await cli("detect", "run", "port_scan", "--logs", scan, "--json")

    assert ended.status == 0
    found = ended.document
    assert (found["type"], found["subject"]["id"]) == ("Recon:Network/PortScan", "i-0a1b2c3d")
    assert (found["addresses"], found["source"]) == (["198.51.100.7"], "detections")


async def test_scan_is_found_in_logs_that_are_kept(cli: Cli, scan: Path) -> None:
    await cli("logs", "ingest", scan)

    then = await cli("detect", "run", "port_scan", "--until", "2026-05-28T20:30Z")
    now = await cli("detect", "run", "port_scan")

    assert "198.51.100.7 was refused at 60 ports" in then.out
    assert len(now.out.splitlines()) == 1


async def test_parameter_is_set(cli: Cli, scan: Path) -> None:
    ended = await cli("detect", "run", "port_scan", "--logs", scan, "--param", "ports=61")

    assert (ended.status, len(ended.out.splitlines())) == (0, 1)


async def test_findings_are_handed_over(cli: Cli, client: Client, scan: Path) -> None:
    ended = await cli("detect", "run", "port_scan", "--logs", scan, "--submit")

    assert ended.status == 0
    assert ended.out.splitlines()[-1].endswith(" started")


async def test_detections_are_scheduled_changed_and_ended(cli: Cli, client: Client) -> None:
    first = await cli("detect", "schedule", "--every", "6h")
    second = await cli("detect", "schedule", "port_scan", "--every", "1h", "--json")
    schedule = await client.get_schedule_handle(SCHEDULE).describe()
    ended, again = (
        await cli("detect", "schedule", "--off"),
        await cli("detect", "schedule", "--off"),
    )

    assert first.out.startswith("every 6h, next at ")
    assert second.document["watch"]["rules"] == ["port_scan"]
    assert schedule.schedule.spec.intervals[0].every.total_seconds() == 3600
    assert (ended.status, ended.out) == (0, "ended\n")
    assert (again.status, again.err) == (1, "firedoor: detections are not scheduled\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "nosuch"), "rule: nosuch: no such detection"),
        (("show", "nosuch"), "rule: nosuch: no such detection"),
        (("run", "port_scan", "--param", "nosuch=1"), "--param: nosuch: expected one of ports"),
        (("run", "port_scan", "--param", "ports=x"), "--param: ports=x: expected a number"),
        (("schedule", "--every", "5"), "--every: 5: expected a length of time"),
    ],
)
async def test_bad_input_is_one_line(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    ended = await cli("detect", *arguments)

    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_rules_are_listed_and_shown(cli: Cli) -> None:
    listed, shown = await cli("detect", "rules"), await cli("detect", "show", "port_scan")

    assert any(line.startswith("port_scan ") for line in listed.out.splitlines())
    assert "ports = 30" in shown.out
    assert "FROM network_activity" in shown.out
