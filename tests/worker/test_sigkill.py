"""A worker that is killed anywhere between finding and release: nothing is lost or done twice."""

import asyncio
from typing import Any

import boto3
import pytest
from temporalio.client import WorkflowHandle

from firedoor.action import Action
from firedoor.discovery import find
from firedoor.model.decision import Ruling
from firedoor.model.incident import (
    Arrival,
    Capability,
    Incident,
    Released,
    Status,
    StepState,
)
from firedoor.model.runbook import Approval, Runbook
from firedoor.testing import decision, finding, instance, ours, policy, release, step
from worker.client import ask, deliver

pytestmark = pytest.mark.slow

Handle = WorkflowHandle[Any, Incident]

# Without what surrounds the swap of groups.
SWAP = {"untrack": False, "idle_timeouts": False}

# There are no flow logs here that could prove it: reading back the groups does.
CONTAINED = {StepState.PROVEN, StepState.UNPROVEN}

# Each changing call that the incident makes, and how often it must have happened in the end.
CHANGES = {
    "CreateSnapshots": 1,
    "CreateSecurityGroup": 1,
    "ModifyNetworkInterfaceAttribute": 2,  # the `app` server has two interfaces
}


async def opened(house: Any) -> Handle:
    """Start an incident that preserves the disks of the `app` server, asks, and isolates it."""
    steps = (
        step("preserve", "snapshot_volumes"),
        step("isolate", "isolate_instance", "preserve", approval=Approval.ASK, params=SWAP),
    )
    delivery = await deliver(
        house.client,
        ours(
            Arrival(
                finding=finding(subject=instance(house.scene.app_id)),
                runbook=Runbook(id="test", title="Test", steps=steps),
                policy=policy(),
                capabilities={s.id: _capability(f"aws.{s.do}") for s in steps},
            ),
        ),
    )
    return house.client.get_workflow_handle(delivery.incident, result_type=Incident)


def _capability(action: str) -> Capability:
    found = find("activities", Action)[action]
    return Capability(action=action, nature=found.nature, barrier=found.barrier)


async def approved(house: Any, handle: Handle) -> asyncio.Task[Ruling]:
    """Approve the isolation once it is asked for; the answer comes when a worker is there."""
    asked = await house.until(handle, lambda i: i.status is Status.AWAITING_APPROVAL)
    said = decision(asked, asked.steps[1])
    return asyncio.create_task(ask(handle, "decide", said, Ruling, said.digest))


def released(handle: Handle, incident: Incident) -> asyncio.Task[Released]:
    said = release(incident)
    return asyncio.create_task(ask(handle, "release", said, Released, said.digest))


def groups(house: Any) -> list[list[str]]:
    found = boto3.client("ec2").describe_network_interfaces(
        NetworkInterfaceIds=list(house.scene.app_interface_ids)
    )
    return [[g["GroupName"] for g in i["Groups"]] for i in found["NetworkInterfaces"]]


async def kill_while_planning(house: Any, handle: Handle) -> None:
    house.hold("DescribeInstances")
    house.start_worker()
    await house.until_called("DescribeInstances")
    house.kill_worker()
    house.start_worker()
    await (await approved(house, handle))


async def kill_while_preserving(house: Any, handle: Handle) -> None:
    house.hold("CreateSnapshots")
    house.start_worker()
    await house.until_called("CreateSnapshots")
    house.kill_worker()
    house.start_worker()
    await (await approved(house, handle))


async def kill_while_asking(house: Any, handle: Handle) -> None:
    house.start_worker()
    await house.until(handle, lambda i: i.status is Status.AWAITING_APPROVAL)
    decision = await approved(house, handle)
    await decision
    house.kill_worker()
    house.start_worker()


async def kill_before_the_answer(house: Any, handle: Handle) -> None:
    house.start_worker()
    asked = asyncio.create_task(approved(house, handle))
    decision = await asked
    house.kill_worker()  # the decision is on its way to nobody
    house.start_worker()
    await decision


async def kill_after_the_group_is_made(house: Any, handle: Handle) -> None:
    house.hold("CreateSecurityGroup")
    house.start_worker()
    await (await approved(house, handle))
    await house.until_called("CreateSecurityGroup")
    house.kill_worker()
    house.start_worker()


async def kill_after_the_effect(house: Any, handle: Handle) -> None:
    house.hold("ModifyNetworkInterfaceAttribute")
    house.start_worker()
    await (await approved(house, handle))
    await house.until_called("ModifyNetworkInterfaceAttribute")
    house.kill_worker()
    house.start_worker()


async def kill_while_verifying(house: Any, handle: Handle) -> None:
    house.hold("ModifyNetworkInterfaceAttribute", 2)  # time to get the next hold into place
    house.start_worker()
    await (await approved(house, handle))
    await house.until_called("ModifyNetworkInterfaceAttribute")
    reads = house.calls("DescribeNetworkInterfaces")
    house.hold("DescribeNetworkInterfaces")
    await house.until_called("DescribeNetworkInterfaces", reads + 1)
    house.kill_worker()
    house.start_worker()


KILLS = [
    kill_while_planning,
    kill_while_preserving,
    kill_while_asking,
    kill_before_the_answer,
    kill_after_the_group_is_made,
    kill_after_the_effect,
    kill_while_verifying,
]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.__name__)
async def test_rule_3_and_4_killed_worker_loses_and_repeats_nothing(house: Any, kill: Any) -> None:
    before = groups(house)
    handle = await opened(house)

    await kill(house, handle)

    contained = await house.until(handle, lambda i: i.steps[1].state in CONTAINED)
    assert contained.steps[0].state in {StepState.PROVEN, StepState.STARTED}
    assert groups(house) == [["firedoor-quarantine"]] * 2
    assert {operation: house.calls(operation) for operation in CHANGES} == CHANGES

    assert (await released(handle, contained)).ruling.accepted
    assert groups(house) == before
    assert house.calls("ModifyNetworkInterfaceAttribute") == 4


async def test_rule_4_killed_while_reverting_the_undo_is_exact(house: Any) -> None:
    before = groups(house)
    handle = await opened(house)
    house.start_worker()
    await (await approved(house, handle))
    held = await house.until(handle, lambda i: i.steps[1].state in CONTAINED)
    made = house.calls("ModifyNetworkInterfaceAttribute")

    house.hold("ModifyNetworkInterfaceAttribute")
    release = released(handle, held)
    await house.until_called("ModifyNetworkInterfaceAttribute", made + 1)
    house.kill_worker()
    house.start_worker()

    assert (await release).steps[0].state is StepState.RELEASED
    assert groups(house) == before
    assert house.calls("ModifyNetworkInterfaceAttribute") == made + 2


async def test_release_that_nobody_was_there_for_is_carried_out_later(house: Any) -> None:
    before = groups(house)
    handle = await opened(house)
    house.start_worker()
    await (await approved(house, handle))
    held = await house.until(handle, lambda i: i.steps[1].state in CONTAINED)
    house.kill_worker()

    release = released(handle, held)
    await asyncio.sleep(1)
    house.start_worker()

    assert (await release).ruling.accepted
    assert groups(house) == before


async def test_killed_server_comes_back_with_every_incident(house: Any) -> None:
    handle = await opened(house)
    house.start_worker()
    await house.until(handle, lambda i: i.status is Status.AWAITING_APPROVAL)

    house.server.kill()
    house.server.start()

    await (await approved(house, handle))
    await house.until(handle, lambda i: i.steps[1].state in CONTAINED)
    assert groups(house) == [["firedoor-quarantine"]] * 2
