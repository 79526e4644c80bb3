"""Workflows on a real server whose clocks can be wound forward, with a world of doors."""

import os
import re
import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from firedoor.settings import settings
from firedoor.testing import RESPONDER, World, lay_out
from worker import channels
from worker.actions import activities_of
from worker.catalogue import forget
from worker.plugin import PLATFORM, SANDBOX, patient, workflows
from workflows import visibility


@pytest_asyncio.fixture(scope="session")
async def clocks() -> AsyncIterator[WorkflowEnvironment]:
    binary = Path(sysconfig.get_path("scripts")) / "temporal"
    async with await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(binary),
        data_converter=pydantic_data_converter,
        search_attributes=visibility.ALL,
        dev_server_log_level="error",
        dev_server_extra_args=[
            "--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true",
            "--dynamic-config-value", 'history.timerProcessorMaxTimeShift="10ms"',
            "--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000",
            "--dynamic-config-value", "history.transferProcessorMaxPollHostRPS=2000",
        ],
    ) as env:  # fmt: skip
        yield env


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def task_queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """One queue a test, so that nothing leaks from one to the next."""
    name = f"test-{uuid4()}"
    monkeypatch.setenv("FIREDOOR_TASK_QUEUE", name)
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    lay_out(tmp_path, RESPONDER)
    settings.cache_clear()
    forget()
    return name


@pytest_asyncio.fixture
async def client(
    clocks: WorkflowEnvironment, world: World, task_queue: str, request: pytest.FixtureRequest
) -> AsyncIterator[Client]:
    """A client whose world has a worker. Without a cache, so that every task is a replay, too.

    Clocks stand still until a test winds them forward. FIREDOOR_RECORD names the directory in which
    the histories of the tests marked `golden` are to be saved.
    """
    working = Worker(
        clocks.client,
        task_queue=task_queue,
        workflows=workflows(),
        activities=[
            *activities_of(world.actions, world.archive),
            *channels.activities_of({"board": world.board.channel}),
            *PLATFORM,
        ],
        workflow_runner=SANDBOX,
        max_cached_workflows=0,
    )
    async with patient(working):
        with clocks.with_time_skipping_disabled():
            yield clocks.client
    directory = os.environ.get("FIREDOOR_RECORD")
    if directory and request.node.get_closest_marker("golden"):
        await _record(clocks.client, task_queue, request.node.name, directory)


async def _record(client: Client, queue: str, test: str, directory: str) -> None:
    """Save the histories of a test; they are replayed for ever after."""
    async for execution in client.list_workflows(f"TaskQueue='{queue}'"):
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        history = (await handle.fetch_history()).to_json()
        name = f"{test.removeprefix('test_')}.{execution.workflow_type.lower()}.json"
        # Which process on which machine recorded it, and where there, is nobody's business.
        history = re.sub(r'"identity": ?"[^"]*"', '"identity": "test"', history)
        history = re.sub(r'"stackTrace": ?"(?:[^"\\]|\\.)*"', '"stackTrace": ""', history)
        (Path(directory) / name).write_text(history)
