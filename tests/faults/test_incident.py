"""What an incident says, and what becomes of the account, while something goes wrong in a step."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from boto3 import Session
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from firedoor.model.decision import Ruling
from firedoor.model.incident import (
    Arrival,
    Capability,
    Incident,
    Released,
    StepRecord,
    StepState,
)
from firedoor.model.runbook import Approval, Runbook
from firedoor.settings import settings
from firedoor.testing import decision, finding, ours, policy, release, step
from worker.client import ask, connect, deliver
from worker.plugin import plugin
from worker.server import DevServer

pytestmark = pytest.mark.faults

Handle = WorkflowHandle[Any, Incident]

# The state of a step when nothing went wrong: blocks are unproven where no flow logs are kept.
CONTAINED = {
    "aws.block_address acl": StepState.UNPROVEN,
    "aws.lock_bucket": StepState.PROVEN,
}
each_stage = pytest.mark.parametrize("ground", CONTAINED, indirect=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("temporal")) as running:
        yield running


@pytest_asyncio.fixture
async def client(
    server: DevServer, ground: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    """A client of a server with one worker, on the stage of a drill."""
    queue = f"test-{uuid4()}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
    monkeypatch.setenv("FIREDOOR_TASK_QUEUE", queue)
    settings.cache_clear()
    ground.begin()
    made = await connect(plugins=[plugin()])
    async with Worker(made, task_queue=queue):
        yield made
        async for running in made.list_workflows(f"TaskQueue='{queue}'"):
            if running.status is not None and running.status.name == "RUNNING":
                await made.get_workflow_handle(running.id).terminate()
    settings.cache_clear()


async def opened(client: Client, ground: Any, **members: Any) -> Handle:
    """Start an incident of one step."""
    action = ground.action
    only = step(
        "contain",
        ground.id.removeprefix("aws."),
        params=ground.params.model_dump(mode="json"),
        **members,
    )
    delivery = await deliver(
        client,
        ours(
            Arrival(
                finding=finding(f"f-{uuid4()}", subject=ground.subject),
                runbook=Runbook(id="test", title="Test", steps=(only,)),
                policy=policy(),
                capabilities={
                    "contain": Capability(
                        action=ground.id, nature=action.nature, barrier=action.barrier
                    )
                },
            ),
        ),
    )
    return client.get_workflow_handle(delivery.incident, result_type=Incident)


async def until(handle: Handle, holds: Callable[[StepRecord], bool]) -> StepRecord:
    """Wait until the step is as expected, and return it."""
    for _ in range(400):
        incident: Incident = await handle.query("incident", result_type=Incident)
        found = next(one for one in incident.steps if one.key == "contain")
        if holds(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"it stayed {found.state}: {found.reason}")


def at_rest(found: StepRecord) -> bool:
    return found.ended_at is not None


async def released(handle: Handle) -> Released:
    said = release(await handle.query("incident", result_type=Incident))
    return await ask(handle, "release", said, Released, said.digest)


async def approve(handle: Handle, asked: StepRecord) -> Ruling:
    said = decision(await handle.query("incident", result_type=Incident), asked)
    return await ask(handle, "decide", said, Ruling, said.digest)


@each_stage
@pytest.mark.parametrize("fault", ["throttled", "lost", "cut"])
async def test_step_that_fails_for_now_ends_as_if_nothing_had_happened(
    client: Client, ground: Any, fault: str, request: pytest.FixtureRequest
) -> None:
    ground.strike.arm(fault, 2)
    handle = await opened(client, ground)

    found = await until(handle, at_rest)

    assert found.state is CONTAINED[request.node.callspec.params["ground"]]
    ground.expect_done()
    assert (await released(handle)).ruling.accepted
    ground.expect_undone()


@each_stage
async def test_step_that_is_denied_fails_with_the_reason_and_leaves_nothing(
    client: Client, ground: Any
) -> None:
    ground.strike.arm("denied", 2)
    handle = await opened(client, ground)

    found = await until(handle, at_rest)

    assert found.state is StepState.FAILED
    assert "AccessDenied" in found.reason
    await released(handle)  # what other plans of the same step hold
    ground.expect_undone()


@pytest.mark.parametrize("ground", ["aws.lock_bucket"], indirect=True)
async def test_target_that_changed_while_people_decided_is_planned_and_asked_for_again(
    client: Client, ground: Any
) -> None:
    handle = await opened(client, ground, approval=Approval.ASK)
    first = await until(handle, lambda found: found.state is StepState.ASKING)
    ground.stage.change(Session(), ground.subject)
    theirs = ground.changes()

    await approve(handle, first)
    second = await until(handle, lambda found: found.plan_digest != first.plan_digest)

    incident: Incident = await handle.query("incident", result_type=Incident)
    assert second.state is StepState.ASKING
    assert "plan.stale" in [entry.event for entry in incident.timeline]
    ground.expect(theirs)


@each_stage
async def test_target_that_is_gone_ends_the_step_as_such(client: Client, ground: Any) -> None:
    ground.stage.remove(Session(), ground.subject)
    theirs = ground.changes()
    handle = await opened(client, ground)

    found = await until(handle, at_rest)

    assert found.state is StepState.GONE
    assert "exist" in found.reason
    ground.expect(theirs)


@each_stage
async def test_full_quota_refuses_the_step_and_says_what_is_full(
    client: Client, ground: Any
) -> None:
    ground.stage.fill(Session(), ground.subject)
    theirs = ground.changes()
    handle = await opened(client, ground)

    found = await until(handle, at_rest)

    assert found.state is StepState.REFUSED
    assert found.reason
    ground.expect(theirs)
