"""Logs and metrics."""

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
import structlog

from firedoor import telemetry
from firedoor.errors import BadInput

GREETING = """
from datetime import timedelta

import structlog
from temporalio import activity, workflow

from firedoor import telemetry
from firedoor.errors import BadInput

log = structlog.get_logger("firedoor.greeting")


@activity.defn
def greet() -> None:
    with telemetry.bind(incident=activity.info().workflow_id, step="hello"):
        log.info("greeting.done")


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.info("greeting.begun")
        log.info("greeting.library")
        await workflow.execute_activity(greet, start_to_close_timeout=timedelta(seconds=9))
        workflow.logger.info("greeting.ended")


@workflow.defn
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a bug, of which the core complains")
"""

PROCESS = """
import asyncio, contextlib, os, sys, urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from firedoor import telemetry
from worker.plugin import SANDBOX
from greeting import Broken, Greeting, greet

async def main(binary, port):
    telemetry.configure(json=True)
    runtime = telemetry.runtime(f"127.0.0.1:{port}")
    runner = SandboxedWorkflowRunner(
        restrictions=SANDBOX.restrictions.with_passthrough_modules("structlog")
    )
    async with (
        await WorkflowEnvironment.start_local(
            dev_server_existing_path=binary, runtime=runtime, dev_server_log_level="error"
        ) as env,
        Worker(
            env.client, task_queue="q", workflows=[Broken, Greeting], activities=[greet],
            activity_executor=ThreadPoolExecutor(2), workflow_runner=runner, max_cached_workflows=0,
        ),
    ):
        await env.client.execute_workflow(Greeting.run, id="incident/1", task_queue="q")
        with contextlib.suppress(WorkflowFailureError):
            await env.client.execute_workflow(
                Broken.run, id="incident/2", task_queue="q", execution_timeout=timedelta(seconds=1)
            )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            names = {line.partition("{")[0] for line in answer.read().decode().splitlines()}
    print(*sorted(names), sep="\\n")

asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)  # the SDK can abort while an interpreter ends that has done its work
"""


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """What is logged as JSON, in a process whose logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = StringIO()
    telemetry.configure(json=True, stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_has_time_level_event_incident_and_step(stream: StringIO) -> None:
    structlog.get_logger("firedoor.x").info("instance.isolated", instance_id="i-0abc")

    (line,) = lines(stream)
    at = datetime.fromisoformat(str(line.pop("timestamp")))

    assert at.utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "event": "instance.isolated",
        "instance_id": "i-0abc",
        "logger": "firedoor.x",
        "incident": None,
        "step": None,
    }


def test_bound_incident_and_step_are_on_the_lines_inside_and_not_after(stream: StringIO) -> None:
    log = structlog.get_logger()
    with telemetry.bind(incident="incident/1", step="isolate"):
        log.info("inside")
        logging.getLogger("library").warning("inside too")
    log.info("after")

    places = [(line["event"], line["incident"], line["step"]) for line in lines(stream)]

    assert places == [
        ("inside", "incident/1", "isolate"),
        ("inside too", "incident/1", "isolate"),
        ("after", None, None),
    ]


def test_extra_fields_of_standard_logging_are_fields_of_the_line(stream: StringIO) -> None:
    logging.getLogger("temporalio.workflow").info("step.proven", extra={"step": "isolate"})

    (line,) = lines(stream)

    assert (line["event"], line["step"]) == ("step.proven", "isolate")


def test_an_exception_is_one_line_with_its_traceback(stream: StringIO) -> None:
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        structlog.get_logger().exception("failed")

    (line,) = lines(stream)

    assert "ValueError: no\nsuch thing" in str(line["exception"])


def test_what_libraries_tell_about_each_request_is_left_out(stream: StringIO) -> None:
    logging.getLogger("botocore.credentials").info("Found credentials")

    assert lines(stream) == []


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What a process that runs one workflow with one activity, each sandboxed as usual, prints."""
    (place := tmp_path_factory.mktemp("worker")).joinpath("greeting.py").write_text(GREETING)
    place.joinpath("process.py").write_text(PROCESS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.run(
        [sys.executable, "process.py", str(Path(sys.executable).parent / "temporal"), str(port)],
        cwd=place, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


def test_lines_of_workflow_and_activity_say_of_which_and_occur_once(
    worker: subprocess.CompletedProcess[str],
) -> None:
    found = [json.loads(line) for line in worker.stderr.splitlines()]
    ours = [
        (line["event"], line["incident"], line["step"], line.get("activity"))
        for line in found
        if line["event"].startswith("greeting.")
    ]

    assert ours == [
        ("greeting.begun", "incident/1", None, None),
        ("greeting.library", "incident/1", None, None),
        ("greeting.done", "incident/1", "hello", "greet"),
        ("greeting.ended", "incident/1", None, None),
    ]


def test_lines_of_the_core_are_on_stderr_like_all_others(
    worker: subprocess.CompletedProcess[str],
) -> None:
    loggers = {json.loads(line)["logger"] for line in worker.stderr.splitlines()}

    assert "temporal.core" in loggers
    assert "Failing workflow task" not in worker.stdout


def test_metrics_are_served_where_they_were_asked_for(
    worker: subprocess.CompletedProcess[str],
) -> None:
    assert "temporal_workflow_completed_total" in worker.stdout.splitlines()


def test_a_terminal_gets_no_nulls_and_no_json() -> None:
    stream = StringIO()
    telemetry.configure(json=False, stream=stream)
    structlog.get_logger().info("queue.opened", queue="q")
    structlog.reset_defaults()

    assert "queue=q" in stream.getvalue()
    assert "None" not in stream.getvalue()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999"])
def test_metrics_address_that_is_none_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match=f"metrics: {address}"):
        telemetry.runtime(address)
