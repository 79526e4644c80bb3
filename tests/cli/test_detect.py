"""`firedoor detect`: detections run over logs, and what they find becomes incidents."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker

from firedoor.lab.server import EmulatedAws
from firedoor.model.watch import SCHEDULE, Detected
from firedoor.settings import settings
from firedoor.testing import World
from worker.plugin import PLATFORM, SANDBOX, workflows

Cli = Callable[..., Awaitable[Any]]

HEADER = "account-id srcaddr dstaddr srcport dstport protocol start end action instance-id\n"
LINE = "123456789012 198.51.100.7 10.0.1.5 40000 {} 6 1780000000 1780000060 REJECT i-0a1b2c3d\n"


SIGMA = """
title: Log stopped
id: 11111111-1111-4111-8111-111111111111
status: test
level: high
logsource:
  product: aws
  service: cloudtrail
detection:
  selection:
    eventSource: CloudTrail.amazonaws.com
    eventName: stoplogging
  condition: selection
"""
STOPPED = {
    "eventVersion": "1.09", "eventTime": "2026-05-29T12:00:00Z", "eventName": "StopLogging",
    "eventSource": "cloudtrail.amazonaws.com", "awsRegion": "eu-central-1",
    "sourceIPAddress": "198.51.100.7", "recipientAccountId": "123456789012",
    "eventID": "00000000-0000-4000-8000-000000000001", "eventType": "AwsApiCall",
    "userIdentity": {"type": "IAMUser", "userName": "eve", "accountId": "123456789012"},
}  # fmt: skip


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


async def test_all_windows_since_then_are_looked_at(cli: Cli, scan: Path) -> None:
    await cli("logs", "ingest", scan)
    whole = ("--since", "12h", "--until", "2026-05-29T00:00Z", "--json")

    lying = await cli("detect", "run", "port_scan", "--logs", scan, *whole)
    kept = await cli("detect", "run", "port_scan", "--param", "ports=40", *whole)

    assert [ended.document["count"] for ended in (lying, kept)] == [60, 60]


async def test_folder_without_sigma_rules_is_said(cli: Cli, scan: Path) -> None:
    (scan.parent / "rules").mkdir()

    ended = await cli("detect", "run", "port_scan", "--sigma", scan.parent / "rules")

    assert ended.status == 1
    assert "rules: there are none, in files that end in .yml" in ended.err


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
        (("run", "--sigma", "nosuch"), "--sigma: nosuch: expected a file or a folder"),
        (("run", "--engine", "athena", "--since", "7d"), "--since: Athena is asked for"),
        (("run", "--engine", "athena", "--logs", "."), "--logs: Athena is asked for"),
        (("run", "--engine", "athena", "--sigma", "."), "--sigma: Athena is asked for"),
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


async def test_scheduled_run_reads_new_logs_and_hands_over_what_it_finds(
    cli: Cli, client: Client, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving = tmp_path / "arriving"
    arriving.mkdir()
    now = int(time.time()) - 300
    lines = "".join(LINE.format(port).replace("1780000000", str(now)) for port in range(1, 61))
    (arriving / "scan.log").write_text(HEADER + lines.replace("1780000060", str(now)))
    monkeypatch.setenv("FIREDOOR_LOG_PLACES", f"{tmp_path}/gone,{arriving}")
    monkeypatch.setenv("FIREDOOR_SIGMA", f"{tmp_path}/gone")
    settings.cache_clear()
    keeper = Worker(
        client,
        task_queue=settings().log_queue,
        workflows=workflows(),
        activities=PLATFORM,
        workflow_runner=SANDBOX,
    )

    async with keeper:
        begun = await cli("detect", "schedule", "port_scan", "--every", "6h", "--now")
        told = await incidents_told(client)
    await cli("detect", "schedule", "--off")

    assert begun.status == 0
    assert [one for one in told if one.endswith("/i-0a1b2c3d")]


async def incidents_told(client: Client) -> tuple[str, ...]:
    """Return the incidents that the first scheduled run to end told of something."""
    async with asyncio.timeout(30):
        while True:
            async for run in client.list_workflows("WorkflowType = 'Detection'"):
                if run.status is WorkflowExecutionStatus.COMPLETED:
                    handle = client.get_workflow_handle(run.id, result_type=Detected)
                    return (await handle.result()).found.incidents
            await asyncio.sleep(0.2)


async def test_sigma_rules_run_beside_our_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rule.yml").write_text(SIGMA)
    (tmp_path / "calls.json").write_text(json.dumps({"Records": [STOPPED]}))

    ended = await cli(
        "detect", "run", "port_scan", "--logs", tmp_path / "calls.json",
        "--sigma", tmp_path / "rule.yml", "--json",
    )  # fmt: skip

    assert ended.status == 0
    assert (ended.document["title"], ended.document["subject"]["id"]) == ("Log stopped", "user/eve")


async def test_sigma_rule_that_cannot_be_used_is_named(cli: Cli, scan: Path) -> None:
    rule = scan.parent / "rule.yml"
    rule.write_text(SIGMA.replace("product: aws", "product: windows"))

    ended = await cli("detect", "run", "port_scan", "--logs", scan, "--sigma", rule)

    assert ended.status == 1
    assert "firedoor: rule.yml" in ended.err
    assert "198.51.100.7 was refused" in ended.out


async def test_athena_says_what_a_question_may_cost_before_it_is_asked(
    cli: Cli, lab: EmulatedAws
) -> None:
    lab.reset()
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="lake")
    folder = "logs/network_activity/day=2026-05-28/account=123456789012"
    s3.put_object(Bucket="lake", Key=f"{folder}/a.parquet", Body=b"x" * 3_000_000)
    asked = (
        "detect", "run", "port_scan", "--engine", "athena", "--place", "s3://lake/logs",
        "--until", "2026-05-28T20:00Z",
    )  # fmt: skip

    ended = await cli(*asked, FIREDOOR_ATHENA_RESULTS="s3://lake/results")
    query = await cli(
        "logs", "query", "--saved", "rejected_traffic", "--since", "2026-05-28",
        "--until", "2026-05-28T20:00Z", "--engine", "athena", "--place", "s3://lake/logs",
        FIREDOOR_ATHENA_RESULTS="s3://lake/results",
    )  # fmt: skip
    refused = await cli(*asked, "--limit", "0.001", FIREDOOR_ATHENA_RESULTS="s3://lake/results")

    assert ended.status == 0, ended.err
    assert ended.err.startswith("firedoor: port_scan: up to 3.0 MB, 0.01 USD\n")
    assert query.status == 0, query.err
    assert query.err.startswith("firedoor: the question: up to 3.0 MB, 0.01 USD\n")
    assert refused.status == 1
    assert "the limit is 1.0 MB: ask for fewer days, or raise the limit" in refused.err


async def test_athena_wants_to_know_where(cli: Cli) -> None:
    ended = await cli("detect", "run", "--engine", "athena")

    assert (ended.status, ended.out) == (2, "")
    assert "--place: name the place of `logs publish`" in ended.err
