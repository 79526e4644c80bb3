"""Workflows that live long: a new run begins, and everything is carried over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest_asyncio
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities import warden
from firedoor import testing as kit
from firedoor.model.containment import Lease
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, Released, Status, StepState
from firedoor.model.policy import Limits
from firedoor.model.warden import Change, Warden, warden_id
from firedoor.model.word import Order
from firedoor.testing import RESPONDER, World, finding, instance, step
from worker.actions import activities_of
from worker.client import ask, deliver
from worker.plugin import PLATFORM, SANDBOX, workflows
from worker.server import program
from workflows import visibility

LIMITS = Limits()
SOON = "limit.historyCount.suggestContinueAsNew=60"


@pytest_asyncio.fixture(scope="module")
async def short_lived() -> AsyncIterator[WorkflowEnvironment]:
    """A server that wants a new run after a few dozen events instead of some thousands."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(program()),
        data_converter=pydantic_data_converter,
        search_attributes=visibility.ALL,
        dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", SOON],
    ) as env:
        yield env


async def runs(client: Client, workflow: str) -> int:
    for _ in range(100):  # what the server lists comes a moment later
        count = (await client.count_workflows(f"WorkflowId='{workflow}'")).count
        if count > 1:
            return count
        await asyncio.sleep(0.1)
    return count


async def instruct(client: Client, queue: str, order: Order, reason: str, **more: object) -> None:
    said = kit.instruction(queue, order, reason, **more)
    assert (await warden.instruct(client, queue, said)).ruling.accepted


async def test_long_lived_incident_and_containment_carry_everything_over(
    short_lived: WorkflowEnvironment, world: World, task_queue: str
) -> None:
    client, room = short_lived.client, instance(f"i-{uuid4().hex[:17]}")
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=workflows(),
        activities=[*activities_of(world.actions, world.archive), *PLATFORM],
        workflow_runner=SANDBOX,
    ):
        for number in range(40):
            another = finding(f"f-{number}", subject=room)
            delivery = await deliver(client, world.arrival(another, step("door", "close_door")))
        handle = client.get_workflow_handle(delivery.incident, result_type=Incident)
        assert await runs(client, handle.id) > 1

        incident = await handle.query("incident", result_type=Incident)
        assert len(incident.findings) == 40
        assert [(s.key, s.state) for s in incident.steps] == [("door", StepState.PROVEN)]
        assert incident.timeline[0].event == "finding.arrived"

        lease_id = incident.steps[0].leases[0]
        for _ in range(12):  # each holder that comes and goes leaves a handful of events
            other = finding(uuid4().hex, subject=instance(uuid4().hex[:17]), related=(room,))
            passing = await deliver(
                client, world.arrival(other, step("doors", "close_door", on="instance"))
            )
            guest = client.get_workflow_handle(passing.incident, result_type=Incident)
            await rested(guest)
            await release(guest)
        assert await runs(client, lease_id) > 1
        lease = await client.get_workflow_handle(lease_id).query("lease", result_type=Lease)
        assert [holder.incident for holder in lease.holders] == [handle.id]

        await release(handle)
        assert world.doors[room.id] == "open"
        assert world.calls.count(f"close {room.id}") == 1
        incident = await handle.query("incident", result_type=Incident)
        ratified = kit.ratification(incident, incident.steps[0])
        assert (await ask(handle, "ratify", ratified, Ruling, ratified.digest)).accepted
        over = kit.close(incident)
        assert (await ask(handle, "close", over, Ruling, over.digest)).accepted
        assert (await handle.result()).status is Status.CLOSED


async def test_pause_outlives_the_run_in_which_it_was_said(
    short_lived: WorkflowEnvironment, world: World, task_queue: str
) -> None:
    client = short_lived.client
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=workflows(),
        activities=PLATFORM,
        workflow_runner=SANDBOX,
    ):
        wanted = [Change(incident="i", digest=str(n), lease=f"l-{n}", limits=LIMITS) for n in "ab"]
        assert (await warden.admit(client, task_queue, wanted[0])).accepted
        await instruct(client, task_queue, Order.PAUSE, "a storm")
        for _ in range(30):
            ruling = await warden.admit(client, task_queue, wanted[1])
            assert ruling.reason == f"all changes are paused by {RESPONDER}: a storm"
        assert await runs(client, warden_id(task_queue)) > 1

        handle = client.get_workflow_handle(warden_id(task_queue))
        known = await handle.query("warden", result_type=Warden)
        assert [held.lease for held in known.held] == ["l-a"]
        assert (known.waiting, len(known.admitted)) == (("i",), 1)
        await instruct(client, task_queue, Order.RESUME, "over")
        assert (await warden.admit(client, task_queue, wanted[1])).accepted


async def rested(handle: WorkflowHandle[Any, Incident]) -> None:
    for _ in range(200):
        incident = await handle.query("incident", result_type=Incident)
        if incident.steps and all(s.ended_at is not None for s in incident.steps):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to rest")


async def release(handle: WorkflowHandle[Any, Incident]) -> Released:
    said = kit.release(await handle.query("incident", result_type=Incident))
    return await ask(handle, "release", said, Released, said.digest)
