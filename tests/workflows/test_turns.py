"""A message that follows a kill and a query: the history must replay all the same."""

import asyncio
import subprocess
import sys
import threading
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from firedoor.audit.replay import replay
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, Status, StepState
from firedoor.model.runbook import Approval
from firedoor.testing import World, decision, finding, instance, step
from worker.actions import activities_of
from worker.client import ask, deliver
from worker.plugin import PLATFORM, SANDBOX, workflows
from worker.run import STICKY

ELSEWHERE = """
import asyncio, sys
from datetime import timedelta
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker
from worker.plugin import PLATFORM, SANDBOX, workflows
from worker.run import STICKY

async def main(address, queue):
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    async with Worker(
        client, task_queue=queue, workflows=workflows(), workflow_runner=SANDBOX,
        sticky_queue_schedule_to_start_timeout=STICKY,
    ):
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_rule_16_vote_right_after_a_kill_and_a_query_replays(
    clocks: object, world: World, task_queue: str
) -> None:
    client: Client = clocks.client  # type: ignore[attr-defined]
    address = client.service_client.config.target_host
    world.gates["photograph"] = threading.Event()
    steps = (step("photo", "photograph"), step("door", "close_door", approval=Approval.ASK))
    doing = [*activities_of(world.actions, world.archive), *PLATFORM]
    with clocks.with_time_skipping_disabled():  # type: ignore[attr-defined]
        async with Worker(client, task_queue=task_queue, activities=doing):
            deciding = subprocess.Popen([sys.executable, "-c", ELSEWHERE, address, task_queue])
            fire = finding(subject=instance(f"i-{uuid4().hex[:17]}"))
            delivery = await deliver(client, world.arrival(fire, *steps))
            handle = client.get_workflow_handle(delivery.incident, result_type=Incident)
            incident = await handle.query("incident", result_type=Incident)
            while incident.status is not Status.AWAITING_APPROVAL:
                incident = await handle.query("incident", result_type=Incident)
            deciding.kill()
            deciding.wait()
            async with Worker(
                client,
                task_queue=task_queue,
                workflows=workflows(),
                workflow_runner=SANDBOX,
                sticky_queue_schedule_to_start_timeout=STICKY,
            ):
                asking = asyncio.create_task(handle.query("incident", result_type=Incident))
                await asyncio.sleep(0.2)
                world.gates["photograph"].set()  # its result waits for the one that is dead
                incident = await asking
                door = next(s for s in incident.steps if s.key == "door")
                vote = decision(incident, door)
                assert (await ask(handle, "decide", vote, Ruling, vote.digest)).accepted
                while not all(s.ended_at for s in incident.steps):
                    incident = await handle.query("incident", result_type=Incident)

    assert {s.state for s in incident.steps} == {StepState.PROVEN}
    assert (await replay(await handle.fetch_history(), workflows())).differences == ()
