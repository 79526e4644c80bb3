"""Approval by rules, on a real server whose clocks are wound forward over days."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from firedoor import testing as kit
from firedoor.errors import Refused, Unreachable
from firedoor.model.decision import Ruling
from firedoor.model.finding import Finding
from firedoor.model.incident import Incident, Released, Status, StepRecord, StepState
from firedoor.model.runbook import Approval
from firedoor.model.word import Answer, Signed
from firedoor.testing import Board, World, finding, instance, responder, roster, step
from worker.client import ask, deliver

Handle = WorkflowHandle[object, Incident]

ASK = {"approval": Approval.ASK}
DOOR = step("door", "close_door", **ASK)
TEAM = roster(
    ann=responder("ann", "responders"),
    bob=responder("bob", "responders"),
    cleo=responder("cleo", "leads"),
    dora=responder("dora", "managers"),
)


def rule(**members: object) -> dict[str, object]:
    """Return a policy with one rule."""
    values: dict[str, object] = {"id": "two", "groups": ("responders",), **members}
    return {"roster": TEAM, "approvals": (values,)}


@pytest.fixture
def fire() -> Finding:
    return finding(subject=instance(f"i-{uuid4().hex[:17]}"))


@pytest.fixture
def board(world: World) -> Board:
    return world.board


async def started(
    client: Client, world: World, fire: Finding, *steps: Any, **policy: Any
) -> Handle:
    arrival = world.arrival(fire, *(steps or (DOOR,)), **policy)
    delivery = await deliver(client, arrival)
    return client.get_workflow_handle(delivery.incident, result_type=Incident)


async def now(handle: Handle) -> Incident:
    incident: Incident = await handle.query("incident", result_type=Incident)
    return incident


async def until(handle: Handle, holds: Callable[[Incident], bool]) -> Incident:
    for _ in range(800):
        if holds(incident := await now(handle)):
            return incident
        await asyncio.sleep(0.025)
    raise AssertionError(f"it stayed {incident.status}: {incident.timeline[-5:]}")


def asking(incident: Incident) -> bool:
    return incident.status is Status.AWAITING_APPROVAL


def at_rest(incident: Incident) -> bool:
    return all(s.ended_at is not None for s in incident.steps)


async def vote(
    handle: Handle, by: str, answer: Answer = Answer.APPROVE, **members: object
) -> Ruling:
    incident = await until(handle, asking)
    said = kit.decision(incident, door(incident), answer, by=by, **members)
    return await bring(handle, "decide", said)


async def bring(handle: Handle, update: str, said: Signed[Any]) -> Ruling:
    return await ask(handle, update, said, Ruling, said.digest)


def door(incident: Incident) -> StepRecord:
    return next(s for s in incident.steps if s.key == "door")


def told(incident: Incident, event: str) -> list[str]:
    return [entry.detail for entry in incident.timeline if entry.event == event]


@pytest.mark.golden
async def test_two_people_have_to_approve(client: Client, world: World, fire: Finding) -> None:
    handle = await started(client, world, fire, **rule(quorum=2))

    first = await vote(handle, "ann")
    again = await vote(handle, "ann")
    assert (first.accepted, first.needed) == (True, 1)
    assert again.reason == "ann has voted so already"
    assert world.doors == {}
    second = await vote(handle, "bob")

    assert (second.accepted, second.needed) == (True, 0)
    contained = await until(handle, at_rest)
    assert world.doors[fire.subject.id] == "closed"
    assert [v.ruling.accepted for v in door(contained).votes] == [True, False, True]
    assert [holder["by"] for holder in await holders(client, contained)] == ["ann+bob"]


async def holders(client: Client, incident: Incident) -> Any:
    (lease,) = door(incident).leases
    return (await client.get_workflow_handle(lease).query("lease"))["holders"]


@pytest.mark.golden
async def test_mind_can_be_changed_before_the_quorum(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, **rule(quorum=2, denials=2))
    await vote(handle, "ann")

    changed = await vote(handle, "ann", Answer.DENY)
    assert (changed.reason, changed.needed) == ("replaces approve", 2)
    assert (await vote(handle, "bob")).needed == 1
    assert (await vote(handle, "ann")).needed == 0

    contained = await until(handle, at_rest)
    assert [v.word.answer for v in door(contained).votes] == [
        "approve",
        "deny",
        "approve",
        "approve",
    ]


async def test_one_no_is_enough_unless_the_rule_says_otherwise(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, **rule(quorum=2))
    await vote(handle, "ann")
    await vote(handle, "bob", Answer.DENY, reason="our own scanner")

    ended = await until(handle, at_rest)
    assert (door(ended).state, door(ended).reason) == (StepState.DENIED, "bob: our own scanner")


async def test_who_is_not_asked_yet_is_refused_and_on_record(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, **rule())

    refused = await vote(handle, "dora")

    assert refused.reason == "dora is in none of the groups that decide on this: responders"
    assert [v.ruling.accepted for v in door(await now(handle)).votes] == [False]


async def test_requester_does_not_decide_on_what_they_asked_for(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, requester="ann", **rule())

    assert "ann has asked for this" in (await vote(handle, "ann")).reason
    assert (await vote(handle, "bob")).accepted


@pytest.mark.golden
async def test_silence_escalates_tier_by_tier_and_is_no_in_the_end(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding, board: Board
) -> None:
    tiers = (
        {"to": ("leads",), "within": timedelta(days=1)},
        {"to": ("managers",), "within": timedelta(days=2)},
    )
    policy = rule(deadline=timedelta(hours=1), escalation=tiers) | {"channels": {"board": {}}}
    handle = await started(client, world, fire, **policy)
    await until(handle, asking)

    await clocks.fast_forward(handle, timedelta(hours=2))
    second = await until(handle, lambda i: door(i).tier == 1)
    assert told(second, "approval.escalated") == ["to leads, within 1 day, 0:00:00"]
    await clocks.fast_forward(handle, timedelta(days=1))
    third = await until(handle, lambda i: door(i).tier == 2)
    assert door(third).state is StepState.ASKING
    await clocks.fast_forward(handle, timedelta(days=2))
    ended = await until(handle, at_rest)

    assert door(ended).state is StepState.EXPIRED
    assert door(ended).reason == "nobody decided within 3 days, 1:00:00"
    assert world.doors == {}
    await until(handle, lambda _: len(board.messages) == 4)
    assert board.told() == ["asked", "escalated", "escalated", "expired"]
    assert [[a.name for a in m.to] for m in board.messages[:3]] == [
        ["ann", "bob"],
        ["cleo"],
        ["dora"],
    ]


async def test_who_is_asked_later_may_decide_then(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding
) -> None:
    tiers = ({"to": ("leads",), "within": timedelta(days=1)},)
    handle = await started(client, world, fire, **rule(escalation=tiers))
    assert not (await vote(handle, "cleo")).accepted

    await clocks.fast_forward(handle, timedelta(minutes=20))
    await until(handle, lambda i: door(i).tier == 1)

    assert (await vote(handle, "cleo")).accepted
    await until(handle, at_rest)
    assert world.doors[fire.subject.id] == "closed"


async def test_votes_before_an_escalation_still_count_after_it(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding
) -> None:
    tiers = ({"to": ("leads",), "within": timedelta(days=1)},)
    handle = await started(client, world, fire, **rule(quorum=2, escalation=tiers))
    await vote(handle, "ann")
    await clocks.fast_forward(handle, timedelta(minutes=20))
    await until(handle, lambda i: door(i).tier == 1)

    assert (await vote(handle, "cleo")).needed == 0
    await until(handle, at_rest)


@pytest.mark.golden
async def test_grave_finding_is_answered_first_and_ratified_afterwards(
    client: Client, world: World, fire: Finding, board: Board
) -> None:
    grave = fire.model_copy(update={"severity": 9.1})
    policy = rule(standing={"severities": ("critical",)}) | {"channels": {"board": {}}}
    handle = await started(client, world, grave, **policy)

    contained = await until(handle, at_rest)
    assert (door(contained).standing, door(contained).votes) == (True, ())
    assert world.doors[fire.subject.id] == "closed"
    released = kit.release(contained, by="ann")
    await ask(handle, "release", released, Released, released.digest)
    refused = await bring(handle, "close", kit.close(await now(handle), by="ann"))
    assert "done under standing authority" in refused.reason
    await until(handle, lambda _: bool(board.messages))
    assert board.told() == ["ratify"]
    assert board.messages[0].how == f"firedoor ratify {handle.id} door"

    ratified = kit.ratification(contained, door(contained), by="bob")
    assert (await bring(handle, "ratify", ratified)).accepted
    assert door(await now(handle)).ratified is True
    assert (await bring(handle, "close", kit.close(await now(handle), by="ann"))).accepted


async def test_milder_finding_is_asked_about_under_the_same_rule(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, **rule(standing={"severities": ("critical",)}))

    assert not door(await until(handle, asking)).standing
    assert world.doors == {}


async def test_what_was_done_is_asked_about_again_until_somebody_speaks(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding, board: Board
) -> None:
    grave = fire.model_copy(update={"severity": 9.1})
    standing = {"severities": ("critical",), "ratify_within": timedelta(hours=6)}
    policy = rule(standing=standing) | {"channels": {"board": {}}}
    handle = await started(client, world, grave, **policy)
    await until(handle, at_rest)

    await clocks.fast_forward(handle, timedelta(hours=7))
    await until(handle, lambda i: len(told(i, "ratification.requested")) == 2)
    await until(handle, lambda _: len(board.messages) == 2)
    assert board.messages[1].text == "This is overdue."

    late = await now(handle)
    in_time = {"expires_at": late.timeline[-1].at + timedelta(hours=3)}
    said = {"by": "ann", "reason": "our scanner", **in_time}
    no = kit.ratification(late, door(late), Answer.DENY, **said)
    assert (await bring(handle, "ratify", no)).accepted
    disowned = await now(handle)
    assert (door(disowned).ratified, told(disowned, "step.disowned")) == (False, ["our scanner"])


async def test_what_nobody_asked_about_can_be_ratified_only_where_it_was_done(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, **rule())
    incident = await until(handle, asking)

    early = kit.ratification(incident, door(incident), by="ann")

    assert (await bring(handle, "ratify", early)).reason == "step door has nothing to ratify"


@pytest.mark.parametrize("trouble", [Refused("channel_not_found"), Unreachable("HTTP 503")])
async def test_message_that_does_not_arrive_blocks_nothing(
    client: Client, world: World, fire: Finding, board: Board, trouble: Exception
) -> None:
    board.trouble = trouble
    handle = await started(client, world, fire, **rule() | {"channels": {"board": {}}})

    assert (await vote(handle, "ann")).accepted
    await until(handle, at_rest)

    assert world.doors[fire.subject.id] == "closed"
    if isinstance(trouble, Refused):
        failed = await until(handle, lambda i: bool(told(i, "message.failed")))
        assert told(failed, "message.failed") == ["board: channel_not_found"]


async def test_channel_carries_only_what_its_route_says(
    client: Client, world: World, fire: Finding, board: Board
) -> None:
    only_alarms = {"channels": {"board": {"occasions": ("alarm",)}}}
    handle = await started(client, world, fire, **rule() | only_alarms)
    await vote(handle, "ann")

    ended = await until(handle, at_rest)

    assert told(ended, "message.delivered") == []


async def test_message_tells_what_would_be_done_and_how_to_decide(
    client: Client, world: World, fire: Finding, board: Board
) -> None:
    handle = await started(client, world, fire, **rule() | {"channels": {"board": {}}})
    asked = door(await until(handle, asking))
    await until(handle, lambda _: bool(board.messages))

    (message,) = board.messages
    assert message.plans == (f"Close the door of {fire.subject.id}",)
    assert (message.plan_digest, message.deadline) == (asked.plan_digest, asked.deadline)
    assert message.how == f"firedoor approve {handle.id} door"
    assert (message.chat, [one.name for one in message.to]) == (False, ["ann", "bob"])


async def test_graver_finding_hurries_a_step_that_waits_for_evidence(
    client: Client, world: World, fire: Finding
) -> None:
    world.photographs_ready = False
    film, shut = step("film", "film"), step("door", "close_door", "film")
    handle = await started(client, world, fire, film, shut)
    await until(handle, lambda i: door(i).state is StepState.APPLYING)

    harm = fire.model_copy(update={"id": "f-2"})
    await deliver(client, world.arrival(harm, step("shut", "close_door")))

    hurried = await until(handle, lambda i: door(i).state is StepState.PROVEN)
    assert told(hurried, "step.hurried") == ["it waits for nothing"]
