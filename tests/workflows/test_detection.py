"""Runs of the detections: new logs are read, and what is found becomes incidents, once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from firedoor.model.incident import Incident
from firedoor.model.watch import Detected, Watch
from firedoor.settings import settings

SCANNED = "i-0a1b2c3d4e5f60718"

Scan = Callable[..., Path]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task_queue: str) -> Path:
    """Where the worker of the test looks for logs."""
    folder = tmp_path / "arriving"
    folder.mkdir()
    monkeypatch.setenv("FIREDOOR_LOG_PLACES", str(folder))
    settings.cache_clear()
    return folder


def scan(folder: Path, name: str, at: datetime, ports: int = 60) -> None:
    """Let somebody scan the ports of an instance, in an object of its own."""
    header = "account-id srcaddr dstaddr srcport dstport protocol start end action instance-id"
    second = int(at.timestamp())
    lines = "".join(
        f"123456789012 198.51.100.7 10.0.1.5 40000 {port} 6 {second} {second} REJECT {SCANNED}\n"
        for port in range(1, ports + 1)
    )
    (folder / name).write_text(f"{header}\n{lines}")


async def run(client: Client, queue: str, watch: Watch | None = None) -> Detected:
    done: Detected = await client.execute_workflow(
        "Detection",
        watch or Watch(rules=("port_scan",)),
        id=f"detection-{uuid4()}",
        task_queue=queue,
        result_type=Detected,
    )
    return done


@pytest.mark.golden
async def test_new_log_is_read_and_what_is_found_becomes_an_incident(
    client: Client, task_queue: str, places: Path
) -> None:
    scan(places, "a.log", datetime.now(UTC) - timedelta(minutes=5))

    done = await run(client, task_queue)

    assert (done.read.objects, done.read.rows, done.found.findings) == (1, 60, 1)
    (id_,) = done.found.incidents
    incident = await client.get_workflow_handle(id_).query("incident", result_type=Incident)
    assert incident.findings[0].subject.id == SCANNED


async def test_second_run_reads_and_tells_nothing_again(
    client: Client, task_queue: str, places: Path
) -> None:
    scan(places, "a.log", datetime.now(UTC) - timedelta(minutes=5))
    await run(client, task_queue)

    done = await run(client, task_queue)

    assert (done.read.objects, done.found.findings, done.found.incidents) == (0, 0, ())


async def test_what_came_late_is_looked_at(client: Client, task_queue: str, places: Path) -> None:
    scan(places, "late.log", datetime.now(UTC) - timedelta(hours=9))

    done = await run(client, task_queue)

    assert done.found.findings == 1


async def test_without_logs_nothing_is_found(client: Client, task_queue: str, places: Path) -> None:
    done = await run(client, task_queue, Watch())

    assert (done.read.objects, done.found.findings, done.found.problems) == (0, 0, ())
