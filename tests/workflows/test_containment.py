"""The containment workflow: holders, drift, and the exact way back."""

import asyncio
import threading
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities import warden
from firedoor import testing as kit
from firedoor.errors import AccessDenied, PlanStale, Unavailable
from firedoor.model.containment import (
    Claim,
    Grant,
    GrantKind,
    Holding,
    Lease,
    LeaseState,
    Return,
    Returned,
    containment_id,
)
from firedoor.model.finding import Resource
from firedoor.model.plan import Plan, Target, Verdict
from firedoor.model.warden import Warden, warden_id
from firedoor.model.warrant import Warrant
from firedoor.model.word import Order, Release
from firedoor.settings import settings
from firedoor.testing import NOW, World, instance


@pytest.fixture
def room() -> Resource:
    return instance(f"i-{uuid4().hex[:17]}")


WARRANTS: dict[str, Warrant] = {}
RUN = "run"


def planned(world: World, room: Resource, incident: str) -> Plan:
    target = Target(subject=room, incident=incident, step="door", at=NOW)
    (plan,) = world.actions["fake.close_door"].plan(target, None, None)
    WARRANTS[plan.digest] = world.warrant(plan, RUN)
    return plan


async def acquire(client: Client, plan: Plan) -> Grant:
    lease = containment_id(plan)
    grant: Grant = await client.execute_update_with_start_workflow(
        "acquire",
        Claim(incident=plan.target.incident, step="door", plan=plan, warrant=WARRANTS[plan.digest]),
        start_workflow_operation=WithStartWorkflowOperation(
            "Containment",
            Holding(id=lease),
            id=lease,
            task_queue=settings().task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        ),
        result_type=Grant,
    )
    return grant


async def admitted(client: Client, queue: str, plan: Plan) -> None:
    """Wait until the warden has let a plan through."""
    for _ in range(200):
        with suppress(RPCError):  # the first change starts it
            handle = client.get_workflow_handle(warden_id(queue))
            known: Warden = await handle.query("warden", result_type=Warden)
            if containment_id(plan) in [one.lease for one in known.held]:
                return
        await asyncio.sleep(0.025)
    raise AssertionError("it was not let through")


async def give_back(client: Client, lease: str, incident: str) -> Returned:
    back = Return(
        lease=lease,
        incident=incident,
        step="door",
        by="alice",
        reason="over",
        said=kit.signed(kit.word_of(Release, incident, RUN)),
    )
    returned: Returned = await client.get_workflow_handle(lease).execute_update(
        "give_back", back, result_type=Returned
    )
    return returned


async def instruct(client: Client, queue: str, order: Order, reason: str, **more: object) -> None:
    said = kit.instruction(queue, order, reason, **more)
    assert (await warden.instruct(client, queue, said)).ruling.accepted


@pytest.mark.golden
async def test_rule_5_opens_only_when_the_last_holder_lets_go(
    client: Client, world: World, room: Resource
) -> None:
    first = await acquire(client, planned(world, room, "incident/one"))
    second = await acquire(client, planned(world, room, "incident/two"))

    returned = await give_back(client, first.lease.id, "incident/one")
    assert [holder.incident for holder in returned.lease.holders] == ["incident/two"]
    assert world.doors[room.id] == "closed"

    returned = await give_back(client, second.lease.id, "incident/two")
    assert returned.lease.state is LeaseState.OPEN
    assert world.doors[room.id] == "open"
    assert world.calls == [f"close {room.id}", f"open {room.id}"]


async def test_two_claims_at_once_change_once(client: Client, world: World, room: Resource) -> None:
    plans = [planned(world, room, f"incident/{n}") for n in range(4)]

    grants = await asyncio.gather(*(acquire(client, plan) for plan in plans))

    assert {grant.kind for grant in grants} == {GrantKind.GRANTED}
    assert world.calls == [f"close {room.id}"]


async def test_stale_plan_is_not_applied_and_leaves_no_lease(
    client: Client, world: World, room: Resource
) -> None:
    plan = planned(world, room, "incident/one")
    world.doors[room.id] = "ajar"

    grant = await acquire(client, plan)

    assert grant.kind is GrantKind.STALE
    assert grant.lease.holders == ()
    assert world.calls == []
    await client.get_workflow_handle(containment_id(plan)).result()


@pytest.mark.golden
async def test_what_an_unknown_outcome_did_is_taken_back(
    client: Client, world: World, room: Resource
) -> None:
    # The first attempt closes the door and its answer is lost; before the second one somebody
    # forces it half open. It is not as planned, and perhaps our doing: release must cope.
    world.trouble["apply/after"] = [AccessDenied("AccessDenied", "after the effect", "Close")]

    grant = await acquire(client, planned(world, room, "incident/one"))
    assert grant.kind is GrantKind.FAILED
    assert world.doors[room.id] == "closed"

    returned = await give_back(client, grant.lease.id, "incident/one")
    assert returned.lease.state is LeaseState.OPEN
    assert world.doors[room.id] == "open"


async def test_stale_after_an_attempt_of_unknown_outcome_is_kept_to_be_taken_back(
    client: Client, world: World, room: Resource
) -> None:
    plan = planned(world, room, "incident/one")
    world.trouble["apply"] = [Unavailable("Timeout", "no answer", "Close"), PlanStale("changed")]

    grant = await acquire(client, plan)

    assert grant.kind is GrantKind.STALE
    assert (grant.lease.state, grant.lease.applied) == (LeaseState.FAILED, (plan,))
    assert (await give_back(client, grant.lease.id, "incident/one")).lease.state is LeaseState.OPEN


@pytest.mark.golden
async def test_claim_after_drift_brings_the_effect_about_again(
    client: Client, world: World, room: Resource
) -> None:
    first = await acquire(client, planned(world, room, "incident/one"))
    world.doors[room.id] = "open"  # somebody opened it, and nobody looked yet

    second = await acquire(client, planned(world, room, "incident/two"))

    assert (first.kind, second.kind) == (GrantKind.GRANTED, GrantKind.GRANTED)
    assert world.doors[room.id] == "closed"
    assert second.lease.proof is not None
    assert second.lease.proof.verdict is Verdict.PROVEN
    assert len(second.lease.applied) == 1


@pytest.mark.golden
async def test_cancelled_containment_goes_on_holding(
    client: Client, world: World, room: Resource
) -> None:
    grant = await acquire(client, planned(world, room, "incident/one"))
    handle = client.get_workflow_handle(grant.lease.id)

    await handle.cancel(reason="wrong button")
    returned = await give_back(client, grant.lease.id, "incident/one")

    assert returned.lease.state is LeaseState.OPEN
    assert world.doors[room.id] == "open"
    await handle.result()


async def test_who_joins_while_paused_waits_and_takes_nothing_from_who_holds(
    client: Client, world: World, room: Resource, task_queue: str
) -> None:
    first = await acquire(client, planned(world, room, "incident/one"))
    world.doors[room.id] = "ajar"
    plan = planned(world, room, "incident/two")
    await instruct(client, task_queue, Order.PAUSE, "a storm")

    grant = await acquire(client, plan)

    assert (grant.kind, grant.lease.state) == (GrantKind.HELD_BACK, LeaseState.HELD)
    assert (grant.lease.holders, grant.lease.applied) == (first.lease.holders, first.lease.applied)


async def test_pause_after_an_attempt_of_unknown_outcome_leaves_it_ours_to_take_back(
    client: Client, world: World, room: Resource, task_queue: str
) -> None:
    plan = planned(world, room, "incident/one")
    world.gates["apply"] = threading.Event()
    world.trouble["apply/after"] = [Unavailable("Timeout", "no answer", "Close")]
    claiming = asyncio.create_task(acquire(client, plan))
    await admitted(client, task_queue, plan)
    await instruct(client, task_queue, Order.PAUSE, "a storm")
    world.gates["apply"].set()

    grant = await claiming

    assert world.doors[room.id] == "closed"
    assert (grant.kind, grant.lease.applied) == (GrantKind.HELD_BACK, (plan,))
    assert [holder.incident for holder in grant.lease.holders] == ["incident/one"]
    await instruct(client, task_queue, Order.RESUME, "over")
    await give_back(client, grant.lease.id, "incident/one")
    assert world.doors[room.id] == "open"


async def test_same_claim_twice_is_one_holder(client: Client, world: World, room: Resource) -> None:
    plan = planned(world, room, "incident/one")

    grants = [await acquire(client, plan) for _ in range(2)]

    assert len(grants[1].lease.holders) == 1
    assert world.calls == [f"close {room.id}"]


async def test_claim_after_a_failed_one_is_applied(
    client: Client, world: World, room: Resource
) -> None:
    world.trouble["apply"] = [AccessDenied("AccessDenied", "before the effect", "Close")]
    plans = [planned(world, room, f"incident/{n}") for n in (1, 2)]

    first, second = [await acquire(client, plan) for plan in plans]

    assert (first.kind, second.kind) == (GrantKind.FAILED, GrantKind.GRANTED)
    assert world.doors[room.id] == "closed"
    await give_back(client, first.lease.id, "incident/1")
    assert world.doors[room.id] == "closed"
    await give_back(client, first.lease.id, "incident/2")
    assert world.doors[room.id] == "open"


@pytest.mark.golden
async def test_failed_revert_is_told_and_can_be_tried_again(
    client: Client, world: World, room: Resource
) -> None:
    grant = await acquire(client, planned(world, room, "incident/one"))
    world.trouble["revert"] = [AccessDenied("AccessDenied", "not now", "Open")]

    first = await give_back(client, grant.lease.id, "incident/one")
    second = await give_back(client, grant.lease.id, "incident/one")

    assert "not now" in first.problem
    assert second.problem == ""
    assert world.doors[room.id] == "open"


async def test_revert_leaves_alone_what_somebody_changed(
    client: Client, world: World, room: Resource
) -> None:
    grant = await acquire(client, planned(world, room, "incident/one"))
    world.doors[room.id] = "bricked up"

    returned = await give_back(client, grant.lease.id, "incident/one")

    assert world.doors[room.id] == "bricked up"
    assert "bricked up" in returned.receipts[0].left[0]


@pytest.mark.golden
async def test_rule_6_drift_is_noticed(
    clocks: WorkflowEnvironment, client: Client, world: World, room: Resource
) -> None:
    grant = await acquire(client, planned(world, room, "incident/nobody"))
    assert grant.lease.proof is not None
    assert grant.lease.proof.verdict is Verdict.PROVEN
    world.doors[room.id] = "open"

    handle = client.get_workflow_handle(grant.lease.id)
    await clocks.fast_forward(handle, timedelta(minutes=16))

    for _ in range(200):
        lease: Lease = await handle.query("lease", result_type=Lease)
        if lease.proof is not None and lease.proof.verdict is Verdict.DRIFTED:
            break
        await asyncio.sleep(0.025)
    assert lease.proof is not None
    assert lease.proof.verdict is Verdict.DRIFTED


async def test_outage_while_applying_is_waited_out(
    client: Client, world: World, room: Resource
) -> None:
    world.trouble["apply"] = [Unavailable("503", "later", "Close")] * 3

    grant = await acquire(client, planned(world, room, "incident/one"))

    assert grant.kind is GrantKind.GRANTED
    assert world.calls == [f"close {room.id}"]
