"""A whole house: a Temporal server, the emulated AWS, and workers in processes of their own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.incident import Incident
from firedoor.settings import settings
from firedoor.testing import RESPONDER, lay_out
from worker.client import connect
from worker.server import DevServer


@dataclass
class House:
    """What a test needs to let things happen and to look at them."""

    lab: EmulatedAws
    scene: Scene
    server: DevServer
    client: Client
    directory: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> None:
        with (self.directory / f"worker{len(self.workers)}.log").open("wb") as log:
            self.workers.append(
                subprocess.Popen([sys.executable, "-m", "worker"], env=os.environ, stderr=log)
            )

    def kill_worker(self) -> None:
        """End the newest worker as the kernel does when memory runs out."""
        self.workers[-1].send_signal(signal.SIGKILL)
        self.workers[-1].wait()

    def hold(self, operation: str, seconds: float = 5) -> None:
        """Let the next call of an operation take effect, and its answer come late."""
        body = {"service": "ec2", "operation": operation, "seconds": seconds}
        self.lab.control("POST", "firedoor/hold", body)

    def calls(self, operation: str) -> int:
        """How often an operation was called with success."""
        made = self.lab.control("GET", "firedoor/calls")
        return sum(call["operation"] == operation and call["status"] == 200 for call in made)

    async def until_called(self, operation: str, times: int = 1) -> None:
        await eventually(lambda: self.calls(operation) >= times)

    async def until(
        self, handle: WorkflowHandle[Any, Incident], holds: Callable[[Incident], bool]
    ) -> Incident:
        """Wait until an incident is as expected, and return it."""
        seen: Incident | None = None
        for _ in range(300):
            with suppress(RPCError):  # of a query that a dying worker took with it
                seen = await handle.query(
                    "incident", result_type=Incident, rpc_timeout=timedelta(seconds=2)
                )
            if seen is not None and holds(seen):
                return seen
            await asyncio.sleep(0.1)
        assert seen is not None, "no worker answers"
        steps = [(s.key, s.state, s.reason) for s in seen.steps]
        raise AssertionError(f"it stayed {seen.status}: {steps}")


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to hold")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("temporal")) as running:
        yield running


@pytest_asyncio.fixture
async def house(
    server: DevServer,
    lab: EmulatedAws,
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[House]:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
    monkeypatch.setenv("FIREDOOR_TASK_QUEUE", f"test-{uuid4()}")
    settings.cache_clear()
    lay_out(settings().data, RESPONDER)
    lab.control("DELETE", "firedoor/calls")
    made = House(lab, scene, server, await connect(), tmp_path)
    yield made
    for process in made.workers:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    async for running in made.client.list_workflows(
        f"TaskQueue='{settings().task_queue}' AND ExecutionStatus='Running'"
    ):
        await made.client.get_workflow_handle(running.id).terminate()
