"""A whole house to measure in: Temporal, one emulated AWS, workers as processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import boto3
from temporalio.client import Client, WorkflowHandle

from firedoor.lab import findings
from firedoor.lab.scene import IMAGE, Scene, build
from firedoor.lab.server import EmulatedAws
from firedoor.model.incident import Incident
from firedoor.reading import parse
from firedoor.settings import settings
from firedoor.testing import RESPONDER, lay_out
from worker.catalogue import arrival, catalogue, forget
from worker.client import connect, deliver
from worker.server import DevServer

T = TypeVar("T")
Handle = WorkflowHandle[Any, Incident]

RUNBOOK = "compromised_instance.yaml"
ASKED = "approval: ask"
UNASKED = "approval: auto\n    because: it is measured how long this takes without people"
# An isolation waits 20 seconds for packets that make connections untracked; there are none here,
# and a worker that is killed in that time has moved the interfaces already. Idle timeouts are set
# by the operation that moves them, which would be taken for the move.
ISOLATES = "do: isolate_instance\n    on: instance\n    needs: [disks, memory]\n    with:\n"
AT_ONCE = f"{ISOLATES}      untrack: false\n      idle_timeouts: false\n"

SETTLED = 0.2  # seconds in which processes are done with what was before
LOOK = 0.1  # seconds between two looks at what is measured: a look takes the time of others
PATIENCE = 300.0


@dataclass(frozen=True)
class Made:
    """One AWS call as the emulator recorded it, when it took effect."""

    operation: str
    at: float
    status: int


@dataclass(frozen=True)
class Running:
    """A worker that takes work, and how long its process took to get there, in seconds."""

    process: subprocess.Popen[bytes]
    cold_start: float

    @property
    def resident(self) -> int:
        """Its memory, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) // 1024

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class House:
    """What a measurement needs to let things happen and to look at them."""

    lab: EmulatedAws
    scene: Scene
    instances: tuple[str, ...]
    spare: Iterator[str]
    servers: Iterator[str]
    client: Client
    directory: Path

    def fresh(self, milliseconds: float = 0) -> None:
        """Go back to the account as it was built, and let every call take this much longer."""
        self.lab.restore()
        self.lab.control("POST", "firedoor/delay", {"milliseconds": milliseconds})
        time.sleep(SETTLED)

    def event(self, instance: str, server: str) -> dict[str, Any]:
        """Return an event: an instance talks to a command and control server."""
        detail = findings.command_and_control(self.scene, on="web", server=server)
        text = json.dumps(findings.envelope(detail)).replace(self.scene.web_id, instance)
        event: dict[str, Any] = json.loads(text)
        return event

    async def handed_over(self, event: dict[str, Any]) -> Handle:
        """Deliver the finding of an event as a worker's intake does."""
        delivery = await deliver(self.client, arrival(parse(event, "bench")[0]))
        return self.client.get_workflow_handle(delivery.incident, result_type=Incident)

    def calls(self) -> list[Made]:
        """Return the calls since the account was made fresh, in the order of their effects."""
        return [
            Made(call["operation"], _unix(call["at"]), call["status"])
            for call in self.lab.control("GET", "firedoor/calls")
        ]

    def moves(self) -> list[float]:
        """Return when interfaces were moved to another group; instances here have one each."""
        return self.times("ModifyNetworkInterfaceAttribute")

    def times(self, operation: str) -> list[float]:
        """Return when an operation took effect."""
        return [c.at for c in self.calls() if c.operation == operation and c.status == 200]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(holds):
            if time.monotonic() > end:
                raise TimeoutError(f"it never came to hold; see {self.directory}")
            await asyncio.sleep(LOOK)

    async def at_rest(self, handle: Handle) -> Incident:
        """Wait until all steps of an incident have come to rest."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            incident: Incident = await handle.query("incident", result_type=Incident)
            if incident.steps and all(step.ended_at for step in incident.steps):
                return incident
            await asyncio.sleep(LOOK)
        raise TimeoutError(f"{handle.id} does not come to rest")

    @asynccontextmanager
    async def worker(self, **environment: str) -> AsyncIterator[Running]:
        """Run a worker, which takes work when this begins and is killed when it ends.

        It has a task queue to itself unless `FIREDOOR_TASK_QUEUE` says which.
        """
        own = {"FIREDOOR_TASK_QUEUE": f"bench-{uuid4().hex}"} | environment
        log = self.directory / f"worker-{uuid4().hex}.log"
        with _environment(own), log.open("wb") as stderr:
            began = time.monotonic()
            process = subprocess.Popen([sys.executable, "-m", "worker"], stderr=stderr)
            try:
                while b"worker.started" not in log.read_bytes():
                    if process.poll() is not None:
                        raise RuntimeError(f"the worker ended: {log.read_text()[-500:]}")
                    await asyncio.sleep(0.005)
                running = Running(process, time.monotonic() - began)
                yield running
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()


@asynccontextmanager
async def open_house(directory: Path, instances: int, spare: int) -> AsyncIterator[House]:
    """Build a house with instances to be attacked together, and spare ones, each for one incident.

    The runbook is Firedoor's own for compromised instances, except that nobody is asked.
    """
    with DevServer(directory / "temporal") as server, EmulatedAws() as lab:
        own = directory / "runbooks"
        own.mkdir()
        shipped = resources.files("runbooks").joinpath(RUNBOOK).read_text()
        if ASKED not in shipped or ISOLATES not in shipped:
            raise ValueError(f"{RUNBOOK} is not as this benchmark knows it")
        hasty = shipped.replace(ASKED, UNASKED).replace(ISOLATES, AT_ONCE)
        (own / RUNBOOK).write_text(hasty)
        with _environment(
            {
                **lab.environment,
                "TEMPORAL_ADDRESS": server.address,
                "FIREDOOR_HOME": str(directory),
                "FIREDOOR_RUNBOOKS": str(own),
            }
        ):
            lay_out(directory, RESPONDER)
            catalogue.cache_clear()
            forget()
            scene = build(boto3.Session())
            ids = _instances(scene, instances + spare)
            lab.save()
            yield House(
                lab=lab,
                scene=scene,
                instances=ids[:instances],
                spare=iter(ids[instances:]),
                servers=(f"198.51.100.{number}" for number in range(1, 255)),
                client=await connect(),
                directory=directory,
            )


def _instances(scene: Scene, number: int) -> tuple[str, ...]:
    """Start instances like the scene's web server: one interface, one disk, the same role."""
    disk = {"VolumeSize": 8, "VolumeType": "gp3", "DeleteOnTermination": True}
    started = boto3.client("ec2").run_instances(
        ImageId=IMAGE,
        InstanceType="t3.micro",
        MinCount=number,
        MaxCount=number,
        SubnetId=scene.public_subnet_id,
        SecurityGroupIds=[scene.web_group_id],
        IamInstanceProfile={"Name": scene.profile_name},
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": disk}],
    )
    return tuple(instance["InstanceId"] for instance in started["Instances"])


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    settings.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        settings.cache_clear()


def _unix(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
