"""What Firedoor and Temporal take by themselves: the doors that are closed here belong to no cloud.

Each figure stands beside the least that Temporal needs for the like on this machine and this
server: a workflow of one activity and one update. Both take turns.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities import containment
from bench.floor import Floor
from firedoor.model.containment import Claim, Grant
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, StepRecord, StepState
from firedoor.model.runbook import Approval
from firedoor.settings import settings
from firedoor.testing import World, decision, finding, instance, step
from worker.actions import activities_of
from worker.client import ask, deliver
from worker.plugin import SANDBOX, workflows

WARM_UP = 5
PATIENCE = 30  # seconds, for what takes milliseconds

Samples = dict[str, list[float]]
Handle = WorkflowHandle[Any, Incident]


class Stopwatch:
    """Seconds from a start to when something is reached, whichever thread reaches it."""

    def __init__(self) -> None:
        self._start = 0.0
        self._reached: asyncio.Future[float] | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to count."""
        self._reached = self._loop.create_future()
        self._start = time.perf_counter()

    def reach(self) -> None:
        """Stop at the first call; further ones do not count."""
        seconds = time.perf_counter() - self._start
        self._loop.call_soon_threadsafe(self._stop, seconds)

    async def seconds(self) -> float:
        """Wait until it is reached."""
        assert self._reached is not None  # noqa: S101
        return await asyncio.wait_for(self._reached, PATIENCE)

    def _stop(self, seconds: float) -> None:
        if self._reached is not None and not self._reached.done():
            self._reached.set_result(seconds)


async def measure(client: Client, rounds: int) -> Samples:
    """Return the seconds of every round, by what was measured."""
    planned, claimed, applied, touched = (Stopwatch() for _ in range(4))
    world = _timed(World(), planned, applied)

    @activity.defn(name="containment.claim")
    async def claim(claim: Claim) -> Grant:
        claimed.reach()
        return await containment.claim(claim)

    @activity.defn(name="touch")
    async def touch() -> None:
        touched.reach()

    async with Worker(
        client,
        task_queue=settings().task_queue,
        workflows=[*workflows(), Floor],
        activities=[
            *activities_of(world.actions, world.archive),
            claim,
            containment.give_back,
            touch,
        ],
        workflow_runner=SANDBOX,
    ):
        samples: Samples = {}
        for number in range(WARM_UP + rounds):
            found = await _floor(client, touched)
            found |= await _asked(client, world, (planned, claimed, applied))
            found |= await _unasked(client, world, applied)
            if number >= WARM_UP:
                for name, seconds in found.items():
                    samples.setdefault(name, []).append(seconds)
        return samples


async def _floor(client: Client, touched: Stopwatch) -> dict[str, float]:
    touched.start()
    handle = await client.start_workflow(
        Floor.run, id=f"floor/{uuid4()}", task_queue=settings().task_queue
    )
    started = await touched.seconds()
    await asyncio.sleep(0.05)  # the server is done with the first activity
    touched.start()
    await handle.execute_update(Floor.tell)
    told = await touched.seconds()
    await handle.result()
    return {"start to activity": started, "update to activity": told}


async def _asked(
    client: Client, world: World, watches: tuple[Stopwatch, Stopwatch, Stopwatch]
) -> dict[str, float]:
    """Let a person approve."""
    planned, claimed, applied = watches
    planned.start()
    handle = await _delivered(client, world, Approval.ASK)
    to_plan = await planned.seconds()
    record = await _until(handle, lambda record: record.state is StepState.ASKING)
    vote = decision(await handle.query("incident", result_type=Incident), record)
    claimed.start()
    applied.start()
    await ask(handle, "decide", vote, Ruling, vote.digest)
    to_claim, to_apply = await claimed.seconds(), await applied.seconds()
    await _until(handle, lambda record: record.ended_at is not None)
    return {"finding to plan": to_plan, "yes to claim": to_claim, "yes to apply": to_apply}


async def _unasked(client: Client, world: World, applied: Stopwatch) -> dict[str, float]:
    """Let the runbook's standing authority do."""
    applied.start()
    handle = await _delivered(client, world, Approval.AUTO)
    to_apply = await applied.seconds()
    await _until(handle, lambda record: record.ended_at is not None)
    return {"finding to apply": to_apply}


async def _delivered(client: Client, world: World, approval: Approval) -> Handle:
    fire = finding(uuid4().hex, subject=instance(f"i-{uuid4().hex[:17]}"))
    arrival = world.arrival(fire, step("door", "close_door", approval=approval))
    delivery = await deliver(client, arrival)
    return client.get_workflow_handle(delivery.incident, result_type=Incident)


async def _until(handle: Handle, holds: Callable[[StepRecord], bool]) -> StepRecord:
    while True:
        incident: Incident = await handle.query("incident", result_type=Incident)
        if incident.steps and holds(incident.steps[0]):
            return incident.steps[0]
        await asyncio.sleep(0.01)


def _timed(world: World, planned: Stopwatch, applied: Stopwatch) -> World:
    door = world.actions["fake.close_door"]
    world.actions["fake.close_door"] = dataclasses.replace(
        door, plan=_noticed(door.plan, planned), apply=_noticed(door.apply, applied)
    )
    return world


def _noticed(function: Callable[..., Any], watch: Stopwatch) -> Callable[..., Any]:
    def noticed(*args: Any) -> Any:
        watch.reach()
        return function(*args)

    return noticed
