"""More incidents at once than a worker has hands."""

import asyncio
from uuid import uuid4

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from firedoor.model.policy import Limits, Policy
from firedoor.testing import World, finding, instance, step
from worker.actions import activities_of
from worker.client import deliver
from worker.plugin import PLATFORM, SANDBOX, workflows
from worker.run import SLOTS

MANY = 150


@pytest.mark.slow
async def test_incidents_that_wait_for_containments_leave_hands_for_their_actions(
    clocks: WorkflowEnvironment, world: World, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = Policy(limits=Limits(containments=MANY))
    monkeypatch.setattr("worker.actions.policy", lambda: plenty)
    arrivals = [
        world.arrival(
            finding(uuid4().hex, subject=instance(f"i-{uuid4().hex[:17]}")),
            step("door", "close_door"),
        )
        for _ in range(MANY)
    ]
    with clocks.with_time_skipping_disabled():
        await asyncio.gather(*(deliver(clocks.client, arrival) for arrival in arrivals))
        async with Worker(
            clocks.client,
            task_queue=task_queue,
            workflows=workflows(),
            activities=[*activities_of(world.actions, world.archive), *PLATFORM],
            workflow_runner=SANDBOX,
            max_concurrent_activities=SLOTS,
        ):
            for _ in range(1200):
                if len(world.doors) == MANY:
                    break
                await asyncio.sleep(0.05)

    assert len(world.doors) == MANY
