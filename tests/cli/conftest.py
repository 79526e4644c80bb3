"""The command as people run it: a process of its own, before a server and a world of doors."""

import asyncio
import json
import os
import pty
import signal
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from firedoor.model.incident import Arrival, Incident, Status
from firedoor.model.runbook import Approval
from firedoor.settings import settings
from firedoor.testing import RESPONDER, World, finding, instance, lay_out, step
from worker.actions import activities_of
from worker.catalogue import forget
from worker.client import deliver
from worker.plugin import PLATFORM, SANDBOX, patient, workflows
from worker.server import DevServer

FIREDOOR = Path(sysconfig.get_path("scripts")) / "firedoor"


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Awaitable[Ended]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run `firedoor` with arguments, without a terminal."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("FIREDOOR_HOME", str(home))
    monkeypatch.setenv("FIREDOOR_KEY", str(lay_out(home, RESPONDER)))
    monkeypatch.setenv("FIREDOOR_RESPONDER", RESPONDER)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")  # where nobody answers

    async def run(*arguments: str, given: bytes = b"", **environment: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            FIREDOOR, *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(given), 60)
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return run


AtTerminal = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def at_terminal() -> AtTerminal:
    """Run `firedoor` on a terminal, type keys at a prompt, and return how it ended and all it said.

    Keys that lead nowhere do not let a test wait for ever.
    """

    async def run(keys: bytes, *arguments: str, prompt: bytes = b"[y/N]") -> tuple[int, str]:
        pid, ours = pty.fork()
        if pid == 0:
            os.execv(FIREDOOR, ["firedoor", *arguments])
        late = asyncio.get_running_loop().call_later(60, os.kill, pid, signal.SIGKILL)
        said, typed = b"", False
        while True:
            try:
                said += await asyncio.to_thread(os.read, ours, 65536)
            except OSError:  # how a terminal says that the other side is gone
                break
            if not typed and prompt in said:
                os.write(ours, keys)
                typed = True
        late.cancel()
        os.close(ours)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        return os.waitstatus_to_exitcode(status), said.decode()

    return run


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def world() -> World:
    return World()


@pytest_asyncio.fixture
async def client(
    server: DevServer, cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    """A client whose world has a worker, on the server that the command finds too."""
    queue = f"test-{uuid4()}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
    monkeypatch.setenv("FIREDOOR_TASK_QUEUE", queue)
    settings.cache_clear()
    forget()
    client = await Client.connect(server.address, data_converter=pydantic_data_converter)
    working = Worker(
        client,
        task_queue=queue,
        workflows=workflows(),
        activities=[*activities_of(world.actions, world.archive), *PLATFORM],
        workflow_runner=SANDBOX,
    )
    async with patient(working):
        yield client
    settings.cache_clear()


@pytest.fixture
def room() -> str:
    """The instance that the incident is about."""
    return f"i-{uuid4().hex[:17]}"


@pytest.fixture
def asking(world: World, room: str) -> Arrival:
    """A finding whose runbook asks before it closes the door."""
    close = step("close", "close_door", approval=Approval.ASK)
    return world.arrival(finding(subject=instance(room)), close)


Until = Callable[[str, Callable[[Incident], bool]], Awaitable[Incident]]


@pytest.fixture
def until(client: Client) -> Until:
    """Wait until an incident is as expected, and return it."""

    async def look(id: str, holds: Callable[[Incident], bool]) -> Incident:
        for _ in range(400):
            known: Incident = await client.get_workflow_handle(id).query(
                "incident", result_type=Incident
            )
            if holds(known):
                return known
            await asyncio.sleep(0.025)
        raise AssertionError(f"it stayed {known.status}: {known.steps}")

    return look


@pytest_asyncio.fixture
async def incident(client: Client, asking: Arrival, until: Until) -> str:
    """The id of an incident that waits for a decision."""
    id = (await deliver(client, asking)).incident
    await until(id, lambda known: known.status is Status.AWAITING_APPROVAL)
    return id
