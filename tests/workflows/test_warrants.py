"""What workers refuse that somebody sends who can write to the namespace, and nothing else."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from firedoor import testing as kit
from firedoor.model.containment import (
    Claim,
    Grant,
    GrantKind,
    Holding,
    Return,
    Returned,
    containment_id,
)
from firedoor.model.decision import Ruling, Vote, proposal_digest
from firedoor.model.finding import Resource, Severity
from firedoor.model.plan import Plan, Target
from firedoor.model.runbook import Approval, Runbook
from firedoor.model.warrant import Warrant
from firedoor.model.word import Answer, Decision, Means, Release
from firedoor.settings import settings
from firedoor.testing import NOW, World, finding, instance, policy, step

RUN = "run"


@pytest.fixture
def room() -> Resource:
    return instance(f"i-{uuid4().hex[:17]}")


@pytest.fixture
def plan(world: World, room: Resource) -> Plan:
    target = Target(subject=room, incident="incident/one", step="door", at=NOW)
    (plan,) = world.actions["fake.close_door"].plan(target, None, None)
    return plan


async def acquire(client: Client, plan: Plan, warrant: Warrant | None) -> Grant:
    lease = containment_id(plan)
    claim = Claim(incident=plan.target.incident, step="door", plan=plan, warrant=warrant)
    grant: Grant = await client.execute_update_with_start_workflow(
        "acquire",
        claim,
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


async def give_back(client: Client, plan: Plan, **members: Any) -> Returned:
    values = {"incident": "incident/one", "step": "door", "by": "alice", "reason": "over"}
    back = Return(lease=containment_id(plan), **values | members)
    returned: Returned = await client.get_workflow_handle(back.lease).execute_update(
        "give_back", back, result_type=Returned
    )
    return returned


def asking(world: World) -> tuple[str, str]:
    """Return the digests of a policy and a runbook that ask before a door is closed."""
    arrival = world.arrival(finding(), step("door", "close_door", approval=Approval.ASK))
    return arrival.policy.digest, arrival.runbook.digest


def bare(plan: Plan, policy: str, runbook: str, **members: object) -> Warrant:
    return Warrant(
        run=RUN, policy=policy, runbook=runbook, severity=Severity.CRITICAL, plans=(plan.digest,)
    ).model_copy(update=members)


def without(world: World, plan: Plan) -> None:
    return None


def without_votes(world: World, plan: Plan) -> Warrant:
    return bare(plan, *asking(world))


def under_their_own_policy(world: World, plan: Plan) -> Warrant:
    mine = policy("mallory", autonomy=({"at_most": "auto"},))
    auto = world.arrival(finding(), step("door", "close_door"))
    return bare(plan, mine.digest, auto.runbook.digest)


def by_their_own_runbook(world: World, plan: Plan) -> Warrant:
    theirs = Runbook(id="mine", title="Mine", steps=(step("door", "close_door"),))
    return bare(plan, asking(world)[0], theirs.digest)


def for_another_plan(world: World, plan: Plan) -> Warrant:
    return world.warrant(plan.model_copy(update={"summary": "Close another door"}), RUN)


def signed_by_a_stranger(world: World, plan: Plan) -> Warrant:
    given = {
        "step": "door",
        "plan_digest": proposal_digest("door", (plan.digest,), None),
        "answer": Answer.APPROVE,
    }
    said = kit.signed(kit.word_of(Decision, "incident/one", RUN, **given), "mallory")
    ruled = Ruling(accepted=True)
    vote = Vote(said=said, ruling=ruled, received_at=said.word.at, means=Means.SSH)
    return bare(plan, *asking(world), votes=(vote,))


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (without, "nobody has said that it may be done"),
        (without_votes, "nobody has approved it, and test has to ask"),
        (under_their_own_policy, "is none of this installation"),
        (by_their_own_runbook, "its runbook is none of this installation"),
        (for_another_plan, "this plan is not among those that were put to people"),
        (signed_by_a_stranger, "1 more people have to approve it"),
    ],
)
async def test_claim_that_nobody_approved_closes_nothing(
    client: Client,
    world: World,
    plan: Plan,
    forge: Callable[[World, Plan], Warrant | None],
    why: str,
) -> None:
    grant = await acquire(client, plan, forge(world, plan))

    assert grant.kind is GrantKind.FAILED
    assert why in grant.reason
    assert (world.doors, grant.lease.holders, grant.lease.applied) == ({}, (), ())


async def test_what_nobody_released_stays_closed(
    client: Client, world: World, plan: Plan, room: Resource
) -> None:
    assert (await acquire(client, plan, world.warrant(plan, RUN))).kind is GrantKind.GRANTED
    elsewhere = kit.signed(kit.word_of(Release, "incident/two", RUN))
    of_mallory = kit.signed(kit.word_of(Release, "incident/one", RUN), "mallory")
    of_windows = kit.signed(kit.word_of(Release, "incident/one", RUN, steps=("window",)))

    answers = [
        await give_back(client, plan, said=said)
        for said in (None, elsewhere, of_mallory, of_windows)
    ]

    assert [answer.problem.startswith("no warrant: ") for answer in answers] == [True] * 4
    assert [len(answer.lease.holders) for answer in answers] == [1] * 4
    assert world.doors[room.id] == "closed"
    over = kit.signed(kit.word_of(Release, "incident/one", RUN))
    assert (await give_back(client, plan, said=over)).problem == ""
    assert world.doors[room.id] == "open"


async def test_release_from_before_opens_nothing(
    client: Client, world: World, room: Resource
) -> None:
    old = kit.signed(kit.word_of(Release, "incident/one", RUN))
    later = old.word.at.replace(year=old.word.at.year + 1)
    target = Target(subject=room, incident="incident/one", step="door", at=later)
    (plan,) = world.actions["fake.close_door"].plan(target, None, None)
    await acquire(client, plan, world.warrant(plan, RUN))

    answer = await give_back(client, plan, said=old)

    assert "before there was anything to undo" in answer.problem
    assert world.doors[room.id] == "closed"
