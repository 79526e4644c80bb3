"""The incident workflow, on a real server whose clocks are wound forward."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities import warden
from firedoor import testing as kit
from firedoor.approvals.judge import unratified
from firedoor.errors import AccessDenied, NotFound, Unavailable
from firedoor.model.containment import Notice
from firedoor.model.decision import Ruling
from firedoor.model.finding import Finding, Resource
from firedoor.model.incident import (
    Arrival,
    Incident,
    Released,
    Status,
    StepRecord,
    StepState,
)
from firedoor.model.plan import Verdict
from firedoor.model.policy import Limits, Policy
from firedoor.model.runbook import Approval
from firedoor.model.word import Answer, Order, Signed
from firedoor.testing import NOW, RESPONDER, World, decision, finding, instance, step
from worker.actions import activities_of
from worker.client import Handover, ask, deliver

Handle = WorkflowHandle[object, Incident]


@pytest.fixture
def room() -> Resource:
    return instance(f"i-{uuid4().hex[:17]}")


@pytest.fixture
def fire(room: Resource) -> Finding:
    return finding(subject=room)


async def started(client: Client, arrival: Arrival) -> Handle:
    delivery = await deliver(client, arrival)
    return client.get_workflow_handle(delivery.incident, result_type=Incident)


async def until(handle: Handle, holds: Callable[[Incident], bool]) -> Incident:
    """Wait until an incident is as expected, and return it."""
    for _ in range(400):
        incident: Incident = await handle.query("incident", result_type=Incident)
        if holds(incident):
            return incident
        await asyncio.sleep(0.025)
    raise AssertionError(
        f"it stayed {incident.status}: {[(s.key, s.state, s.reason) for s in incident.steps]}"
    )


def at_rest(incident: Incident) -> bool:
    return all(s.ended_at is not None for s in incident.steps)


def asking(incident: Incident) -> bool:
    return incident.status is Status.AWAITING_APPROVAL


def one(incident: Incident, key: str) -> StepRecord:
    return next(s for s in incident.steps if s.key == key)


def states(incident: Incident) -> dict[str, StepState]:
    return {s.key: s.state for s in incident.steps}


async def decide(
    handle: Handle, asked: StepRecord, answer: Answer = Answer.APPROVE, **members: object
) -> Ruling:
    return await bring(handle, "decide", decision(await now(handle), asked, answer, **members))


async def bring(handle: Handle, update: str, said: Signed[Any]) -> Ruling:
    return await ask(handle, update, said, Ruling, said.digest)


async def release(handle: Handle, *steps: str) -> Released:
    said = kit.release(await now(handle), *steps)
    return await ask(handle, "release", said, Released, said.digest)


async def close(handle: Handle) -> Ruling:
    incident = await now(handle)
    for record in filter(unratified, incident.steps):
        assert (await bring(handle, "ratify", kit.ratification(incident, record))).accepted
    return await bring(handle, "close", kit.close(incident))


async def now(handle: Handle) -> Incident:
    incident: Incident = await handle.query("incident", result_type=Incident)
    return incident


def door(client: Client, incident: Incident) -> WorkflowHandle[object, object]:
    """Return the containment that the step `door` holds."""
    (lease,) = one(incident, "door").leases
    return client.get_workflow_handle(lease)


ASK = {"approval": Approval.ASK}


async def instruct(client: Client, queue: str, order: Order, reason: str, **more: object) -> None:
    said = kit.instruction(queue, order, reason, **more)
    assert (await warden.instruct(client, queue, said)).ruling.accepted


@pytest.mark.golden
async def test_whole_way_from_finding_to_closed_incident(
    client: Client, world: World, fire: Finding
) -> None:
    steps = (
        step("photo", "photograph"),
        step("door", "close_door", "photo", **ASK),
        step("tell", "tell", "door"),
    )
    handle = await started(client, world.arrival(fire, *steps))

    asked = one(await until(handle, asking), "door")
    assert world.doors == {}
    assert (await decide(handle, asked)).accepted
    contained = await until(handle, at_rest)
    assert states(contained) == {
        "photo": StepState.PROVEN, "door": StepState.PROVEN, "tell": StepState.DONE
    }  # fmt: skip
    assert contained.status is Status.CONTAINED
    room = fire.subject.id
    assert world.doors[room] == "closed"

    assert not (await close(handle)).accepted  # the door is still held
    released = await release(handle)
    assert released.ruling.accepted
    assert world.doors[room] == "open"
    assert (await close(handle)).accepted
    ended = await handle.result()
    assert ended.status is Status.CLOSED
    assert world.calls == [
        f"photograph {room}", f"close {room}", f"photograph {room}", f"open {room}"
    ]  # fmt: skip


@pytest.mark.golden
async def test_denied_step_ends_the_steps_that_need_it(
    client: Client, world: World, fire: Finding
) -> None:
    steps = (
        step("door", "close_door", **ASK),
        step("tell", "tell", "door"),
        step("photo", "photograph"),
    )
    handle = await started(client, world.arrival(fire, *steps))
    asked = one(await until(handle, asking), "door")

    await decide(handle, asked, Answer.DENY)

    assert states(await until(handle, at_rest)) == {
        "door": StepState.DENIED, "tell": StepState.SKIPPED, "photo": StepState.PROVEN
    }  # fmt: skip
    assert world.doors == {}


@pytest.mark.golden
async def test_rule_10_silence_is_no(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    await until(handle, asking)

    await clocks.fast_forward(handle, timedelta(minutes=16))

    assert one(await until(handle, at_rest), "door").state is StepState.EXPIRED
    assert world.calls == []


async def test_rule_2_decision_for_another_plan_is_refused(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    asked = one(await until(handle, asking), "door")

    ruling = await decide(handle, asked, plan_digest="0" * 64)

    assert not ruling.accepted
    assert asked.plan_digest in ruling.reason
    assert world.calls == []


@pytest.mark.golden
async def test_rule_2_changed_target_voids_the_vote_and_is_asked_again(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    first = one(await until(handle, asking), "door")
    world.doors[fire.subject.id] = "ajar"  # somebody was here between plan and approval

    assert (await decide(handle, first)).accepted
    second = one(
        await until(
            handle, lambda i: asking(i) and one(i, "door").plan_digest != first.plan_digest
        ),
        "door",
    )

    assert world.calls == []
    assert second.proposal is not None
    assert second.proposal.plans[0].changes[0].before == "ajar"
    assert not (await decide(handle, first)).accepted
    assert (await decide(handle, second)).accepted
    await until(handle, at_rest)
    assert world.doors[fire.subject.id] == "closed"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"by": "mallory"}, "not a responder"),
        ({"step": "window"}, "no step window"),
        ({"reason": " "}, "needs a reason"),
        ({"plan_digest": "f" * 64}, "the plan has changed"),
    ],
)
async def test_rule_11_refused_votes_are_on_record(
    client: Client, world: World, fire: Finding, members: dict[str, object], why: str
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    asked = one(await until(handle, asking), "door")
    before = len((await handle.fetch_history()).events)

    ruling = await decide(handle, asked, **members)

    assert not ruling.accepted
    assert why in ruling.reason
    events = (await handle.fetch_history()).events[before:]
    assert any(e.HasField("workflow_execution_update_accepted_event_attributes") for e in events)
    after = await until(handle, asking)
    assert [(e.event, why in e.detail) for e in after.timeline if e.event.startswith("vote")] == [
        ("vote.refused", True)
    ]


async def test_the_same_vote_twice_is_one_vote(client: Client, world: World, fire: Finding) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    incident = await until(handle, asking)
    vote = decision(incident, one(incident, "door"))

    first, second = await bring(handle, "decide", vote), await bring(handle, "decide", vote)
    await handle.signal("vote", vote)

    assert first == second == Ruling(accepted=True)
    assert len(one(await until(handle, at_rest), "door").votes) == 1


async def test_chat_can_bring_a_vote_by_signal(client: Client, world: World, fire: Finding) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    incident = await until(handle, asking)

    await handle.signal("vote", decision(incident, one(incident, "door")))

    assert one(await until(handle, at_rest), "door").state is StepState.PROVEN


@pytest.mark.golden
async def test_rule_8_containment_does_not_wait_for_evidence_to_succeed(
    client: Client, world: World, fire: Finding
) -> None:
    world.trouble["photograph"] = [AccessDenied("AccessDenied", "no camera", "Photograph")]
    steps = (step("photo", "photograph"), step("door", "close_door", "photo"))

    handle = await started(client, world.arrival(fire, *steps))

    ended = await until(handle, at_rest)
    assert states(ended) == {"photo": StepState.FAILED, "door": StepState.PROVEN}
    assert "no camera" in one(ended, "photo").reason


async def test_containment_does_not_wait_for_evidence_to_be_complete(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding
) -> None:
    world.photographs_ready = False
    steps = (step("photo", "photograph"), step("door", "close_door", "photo"))
    handle = await started(client, world.arrival(fire, *steps))

    contained = await until(handle, lambda i: one(i, "door").state is StepState.PROVEN)
    assert one(contained, "photo").state is StepState.STARTED

    world.photographs_ready = True
    await clocks.fast_forward(handle, timedelta(minutes=5))
    assert one(await until(handle, at_rest), "photo").state is StepState.PROVEN


async def test_rule_9_failed_step_never_undoes_another(
    client: Client, world: World, fire: Finding
) -> None:
    other = instance(f"i-{uuid4().hex[:17]}")
    both = fire.model_copy(update={"related": (other,)})
    world.doors[other.id] = "protected"
    steps = (step("door", "close_door"), step("doors", "close_door", "door", on="instance"))

    handle = await started(client, world.arrival(both, *steps))

    ended = await until(handle, at_rest)
    assert one(ended, "door").state is StepState.PROVEN
    assert world.doors == {fire.subject.id: "closed", other.id: "protected"}


@pytest.mark.golden
async def test_rule_14_sample_finding_never_acts(
    client: Client, world: World, fire: Finding
) -> None:
    sample = fire.model_copy(update={"sample": True})

    handle = await started(
        client, world.arrival(sample, step("door", "close_door"), step("photo", "photograph"))
    )

    ended = await handle.result()
    assert ended.status is Status.SAMPLE
    assert ended.steps == ()
    assert world.calls == []


async def test_rule_14_repeated_finding_starts_nothing_new(
    client: Client, world: World, fire: Finding
) -> None:
    arrival = world.arrival(fire, step("door", "close_door"))

    outcomes = [(await deliver(client, arrival)).outcome for _ in range(3)]
    handle = await started(client, arrival)
    await until(handle, at_rest)
    await release(handle)
    await close(handle)
    await handle.result()
    after_the_end = await deliver(client, arrival)

    assert outcomes == [Handover.STARTED, Handover.JOINED, Handover.JOINED]
    assert after_the_end.outcome is Handover.REPEATED
    assert world.calls == [f"close {fire.subject.id}", f"open {fire.subject.id}"]


async def test_new_activity_after_the_end_starts_a_new_incident(
    client: Client, world: World, fire: Finding
) -> None:
    first = await started(client, world.arrival(fire, step("photo", "photograph")))
    await until(first, at_rest)
    await close(first)
    await first.result()
    later = fire.model_copy(
        update={"updated_at": NOW + timedelta(days=1), "last_seen": NOW + timedelta(days=1)}
    )

    delivery = await deliver(client, world.arrival(later, step("photo", "photograph")))

    assert delivery.outcome is Handover.STARTED


async def test_terminated_incident_has_answered_nothing(
    client: Client, world: World, fire: Finding
) -> None:
    arrival = world.arrival(fire, step("photo", "photograph"))
    first = await started(client, arrival)
    await first.terminate()

    assert (await deliver(client, arrival)).outcome is Handover.STARTED


@pytest.mark.golden
async def test_second_runbook_joins_the_same_incident(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("photo", "photograph")))
    await until(handle, at_rest)
    worse = fire.model_copy(update={"id": "f-2", "severity": 9.0})

    await deliver(
        client,
        world.arrival(worse, step("photo", "photograph"), step("door", "close_door", "photo")),
    )

    ended = await until(handle, lambda i: len(i.steps) == 2 and at_rest(i))
    assert states(ended) == {"photo": StepState.PROVEN, "door": StepState.PROVEN}
    assert world.calls == [f"photograph {fire.subject.id}", f"close {fire.subject.id}"]


@pytest.mark.golden
async def test_many_deliveries_at_once_are_one_incident(
    client: Client, world: World, room: Resource
) -> None:
    arrivals = [
        world.arrival(finding(f"f-{n}", subject=room), step("door", "close_door"))
        for n in range(30)
    ]

    await asyncio.gather(*(deliver(client, arrival) for arrival in arrivals))

    handle = client.get_workflow_handle(f"incident/{room.path}", result_type=Incident)
    ended = await until(handle, lambda i: len(i.findings) == 30 and at_rest(i))
    assert len(ended.steps) == 1
    assert world.calls == [f"close {room.id}"]


async def test_finding_that_arrives_while_closing_is_not_lost(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("photo", "photograph")))
    await until(handle, at_rest)
    worse = fire.model_copy(update={"id": "f-2"})

    await asyncio.gather(
        close(handle), deliver(client, world.arrival(worse, step("door", "close_door")))
    )

    latest = client.get_workflow_handle(handle.id, result_type=Incident)
    ended = await until(latest, lambda i: any(f.id == "f-2" for f in i.findings) and at_rest(i))
    assert one(ended, "door").state is StepState.PROVEN


async def test_rule_7_nothing_is_applied_before_its_evidence_has_started(
    client: Client, world: World, fire: Finding
) -> None:
    world.gates["photograph"] = threading.Event()
    handle = await started(
        client,
        world.arrival(fire, step("photo", "photograph"), step("door", "close_door", "photo")),
    )
    await until(handle, lambda i: one(i, "door").state is StepState.APPLYING)
    assert world.calls == []

    world.gates["photograph"].set()

    await until(handle, at_rest)
    assert world.calls == [f"photograph {fire.subject.id}", f"close {fire.subject.id}"]


@pytest.mark.parametrize("phase", ["plan", "apply/after"])
async def test_bug_in_an_action_fails_its_step_at_once(
    client: Client, world: World, fire: Finding, phase: str
) -> None:
    world.trouble[phase] = [KeyError("GroupId")]

    handle = await started(client, world.arrival(fire, step("door", "close_door")))

    ended = one(await until(handle, at_rest), "door")
    assert (ended.state, ended.reason) == (StepState.FAILED, "KeyError: 'GroupId'")
    if ended.leases:
        await release(handle)
    assert world.doors.get(fire.subject.id, "open") == "open"


@pytest.mark.golden
async def test_rule_5_two_incidents_on_one_instance_share_one_containment(
    client: Client, world: World, fire: Finding
) -> None:
    # An attack on another instance that names this one, too.
    other = finding("f-2", subject=instance(f"i-{uuid4().hex[:17]}"), related=(fire.subject,))
    one_room = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(one_room, at_rest)
    both = await started(client, world.arrival(other, step("doors", "close_door", on="instance")))
    await until(both, at_rest)
    room = fire.subject.id
    assert world.calls.count(f"close {room}") == 1

    first = await release(both)
    assert first.still_held == (one_room.id,)
    assert world.doors == {room: "closed", other.subject.id: "open"}

    await release(one_room)
    assert world.doors == {room: "open", other.subject.id: "open"}


@pytest.mark.golden
async def test_rule_6_drift_is_told_to_the_incident(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    contained = await until(handle, at_rest)
    lease = client.get_workflow_handle(one(contained, "door").leases[0])
    world.doors[fire.subject.id] = "open"  # somebody opens it by hand

    await clocks.fast_forward(lease, timedelta(minutes=16))
    drifted = await until(handle, lambda i: one(i, "door").state is StepState.DRIFTED)
    assert drifted.status is Status.UNPROVEN
    assert f"{fire.subject.id} is open" in one(drifted, "door").reason

    world.doors[fire.subject.id] = "closed"
    await clocks.fast_forward(lease, timedelta(minutes=16))
    await until(handle, lambda i: i.status is Status.CONTAINED)


async def test_message_that_is_no_decision_is_refused_and_wedges_nothing(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))
    asked = one(await until(handle, asking), "door")

    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("decide", {"verdict": "yes"})
    await handle.signal("vote", {"verdict": "yes"})
    await handle.signal("arrive", "nonsense")

    assert (await decide(handle, asked)).accepted
    assert one(await until(handle, at_rest), "door").state is StepState.PROVEN


async def test_guard_rail_ends_a_step_before_it_is_asked(
    client: Client, world: World, fire: Finding
) -> None:
    world.doors[fire.subject.id] = "protected"

    handle = await started(client, world.arrival(fire, step("door", "close_door", **ASK)))

    ended = one(await until(handle, at_rest), "door")
    assert ended.state is StepState.REFUSED
    assert "protected" in ended.reason


async def test_permanent_error_fails_the_step_and_says_why(
    client: Client, world: World, fire: Finding
) -> None:
    world.trouble["apply"] = [AccessDenied("AccessDenied", "not yours", "Close")]

    handle = await started(client, world.arrival(fire, step("door", "close_door")))

    ended = await until(handle, at_rest)
    assert one(ended, "door").state is StepState.FAILED
    assert "not yours" in one(ended, "door").reason
    assert ended.status is Status.INCOMPLETE


async def test_rule_4_lost_answer_is_read_back_and_done_once(
    client: Client, world: World, fire: Finding
) -> None:
    world.trouble["apply/after"] = [Unavailable("Timeout", "no answer", "Close")]
    world.trouble["revert/after"] = [Unavailable("Timeout", "no answer", "Open")]

    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(handle, at_rest)
    await release(handle)

    assert world.calls == [f"close {fire.subject.id}", f"open {fire.subject.id}"]


@pytest.mark.golden
async def test_cancelled_incident_applies_nothing_more_and_holds_what_it_holds(
    client: Client, world: World, fire: Finding
) -> None:
    other = instance(f"i-{uuid4().hex[:17]}")
    steps = (step("door", "close_door"), step("doors", "close_door", "door", on="instance", **ASK))
    both = fire.model_copy(update={"related": (other,)})
    handle = await started(client, world.arrival(both, *steps))
    asked = one(await until(handle, asking), "doors")

    await handle.cancel(reason="wrong button")
    await until(handle, lambda i: any(e.event == "incident.cancelled" for e in i.timeline))
    await decide(handle, asked)

    still = await until(handle, at_rest)
    assert states(still) == {"door": StepState.PROVEN, "doors": StepState.SKIPPED}
    assert world.doors == {fire.subject.id: "closed"}
    await release(handle)
    await close(handle)
    assert (await handle.result()).status is Status.CLOSED


async def test_rule_3_lease_is_on_record_before_it_is_claimed(
    client: Client, world: World, fire: Finding
) -> None:
    world.gates["apply"] = threading.Event()
    handle = await started(client, world.arrival(fire, step("door", "close_door")))

    claiming = one(await until(handle, lambda i: bool(one(i, "door").leases)), "door")
    assert claiming.state is StepState.APPLYING

    world.gates["apply"].set()
    assert one(await until(handle, at_rest), "door").leases == claiming.leases


async def test_rule_7_evidence_that_has_to_end_is_waited_for_to_its_end(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding
) -> None:
    world.photographs_ready = False
    steps = (step("film", "film"), step("door", "close_door", "film"))
    handle = await started(client, world.arrival(fire, *steps))
    await until(handle, lambda i: states(i) == {"film": "started", "door": "applying"})
    assert world.doors == {}

    world.photographs_ready = True
    await clocks.fast_forward(handle, timedelta(minutes=5))

    await until(handle, at_rest)
    assert world.doors == {fire.subject.id: "closed"}


async def test_evidence_is_what_was_taken_and_what_reading_back_found(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("photo", "photograph")))

    kept = one(await until(handle, at_rest), "photo").evidence
    room = fire.subject.id
    assert [item.name for item in kept] == [f"{room}.jpg", f"{room} on paper"]


async def test_release_of_what_was_terminated_is_no_success(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    lease = one(await until(handle, at_rest), "door").leases[0]
    await client.get_workflow_handle(lease).terminate()

    (door,) = (await release(handle)).steps

    assert door.state is StepState.FAILED
    assert "terminated from outside, and what it changed is still there" in door.reason
    assert door.leases == (lease,)


async def test_finding_that_any_ended_incident_answered_starts_nothing(
    client: Client, world: World, fire: Finding
) -> None:
    first = world.arrival(fire, step("photo", "photograph"))
    later = fire.model_copy(update={"id": "f-2"})
    for arrival in (first, world.arrival(later, step("photo", "photograph"))):
        handle = await started(client, arrival)
        await until(handle, at_rest)
        await close(handle)
        await handle.result()
    await listed(client, handle.id, 2)

    assert (await deliver(client, first)).outcome is Handover.REPEATED


async def listed(client: Client, incident: str, runs: int) -> None:
    """Wait until the server lists as many ended runs: that comes a moment later."""
    ended = f"WorkflowId = '{incident}' AND ExecutionStatus = 'Completed'"
    for _ in range(100):
        if (await client.count_workflows(ended)).count == runs:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the server does not list them")


async def test_second_release_with_the_same_words_is_another_one(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(handle, at_rest)
    world.trouble["revert"] = [AccessDenied("AccessDenied", "not now", "Open")]

    first = await release(handle)
    assert first.steps[0].state is StepState.FAILED
    second = await release(handle)

    assert second.steps[0].state is StepState.RELEASED
    assert world.doors[fire.subject.id] == "open"


async def test_news_of_a_containment_that_is_not_held_changes_nothing(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    proven = one(await until(handle, at_rest), "door")
    drifted = proven.proofs[0].model_copy(update={"verdict": Verdict.DRIFTED})

    await handle.signal("notice", Notice(lease="containment/of/others", step="door", proof=drifted))

    await deliver(client, world.arrival(fire.model_copy(update={"id": "f-2"}), step("t", "tell")))
    assert one(await until(handle, lambda i: len(i.steps) == 2), "door").state is StepState.PROVEN


async def test_rule_3_plan_is_in_history_before_the_first_change(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    contained = one(await until(handle, at_rest), "door")

    lease = client.get_workflow_handle(contained.leases[0])
    names = [
        e.activity_task_scheduled_event_attributes.activity_type.name
        or e.workflow_execution_update_accepted_event_attributes.accepted_request.input.name
        for e in (await lease.fetch_history()).events
    ]
    incident_names = [
        e.activity_task_scheduled_event_attributes.activity_type.name
        for e in (await handle.fetch_history()).events
        if e.HasField("activity_task_scheduled_event_attributes")
    ]
    assert [n for n in names if n] == ["acquire", "fake.close_door.apply", "fake.close_door.verify"]
    assert incident_names == ["fake.close_door.plan", "containment.claim"]


# What the policy lets happen


@pytest.mark.golden
async def test_runbook_in_the_shadow_only_plans(
    client: Client, world: World, fire: Finding
) -> None:
    shadow = [{"classes": ["production"], "at_most": "shadow"}]
    accounts = {fire.account: {"class": "production"}}
    steps = (step("door", "close_door"), step("tell", "tell"))
    arrival = world.arrival(fire, *steps, autonomy=shadow, accounts=accounts)
    incident = await until(await started(client, arrival), at_rest)

    assert states(incident) == {"door": StepState.SHADOWED, "tell": StepState.DONE}
    assert incident.status is Status.SHADOWED
    proposal = one(incident, "door").proposal
    assert proposal is not None
    assert [plan.summary for plan in proposal.plans] == [f"Close the door of {fire.subject.id}"]
    assert world.doors == {}


async def test_standing_authority_ends_where_the_policy_wants_to_be_asked(
    client: Client, world: World, fire: Finding
) -> None:
    arrival = world.arrival(fire, step("door", "close_door"), autonomy=[{"at_most": "ask"}])
    incident = await until(await started(client, arrival), asking)

    assert states(incident) == {"door": StepState.ASKING}


async def test_account_with_workers_of_its_own_is_acted_on_by_them(
    client: Client, world: World, fire: Finding, task_queue: str
) -> None:
    theirs = f"{task_queue}-theirs"
    accounts = {f"{fire.account}/{fire.region}": {"task_queue": theirs}}
    arrival = world.arrival(fire, step("door", "close_door"), accounts=accounts)
    async with Worker(
        client, task_queue=theirs, activities=activities_of(world.actions, world.archive)
    ):
        handle = await started(client, arrival)
        await until(handle, at_rest)
        (lease,) = one(await until(handle, at_rest), "door").leases
        histories = [
            await client.get_workflow_handle(id).fetch_history() for id in (handle.id, lease)
        ]

    queues = {
        event.activity_task_scheduled_event_attributes.activity_type.name:
        event.activity_task_scheduled_event_attributes.task_queue.name
        for history in histories
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    }  # fmt: skip
    assert queues == {
        "fake.close_door.plan": theirs,
        "containment.claim": task_queue,
        "fake.close_door.apply": theirs,
        "fake.close_door.verify": theirs,
    }


# What stands before every change


@pytest.mark.golden
async def test_rule_13_nothing_changes_while_paused(
    client: Client, world: World, fire: Finding, task_queue: str
) -> None:
    await instruct(client, task_queue, Order.PAUSE, "a false alarm storm")
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    held_back = await until(handle, lambda i: i.status is Status.HELD_BACK)
    assert one(held_back, "door").reason == (
        f"all changes are paused by {RESPONDER}: a false alarm storm"
    )
    assert world.doors == {}

    await instruct(client, task_queue, Order.RESUME, "over")
    contained = await until(handle, at_rest)
    assert states(contained) == {"door": StepState.PROVEN}

    await instruct(client, task_queue, Order.PAUSE, "a false alarm storm")
    released = await release(handle)
    assert [s.reason for s in released.steps] == [
        f"not released: all changes are paused by {RESPONDER}: a false alarm storm"
    ]
    assert world.doors[fire.subject.id] == "closed"
    await instruct(client, task_queue, Order.RESUME, "over")
    await release(handle)
    assert world.doors[fire.subject.id] == "open"


async def test_rule_13_what_is_above_the_limit_waits_until_let_through(
    client: Client, world: World, fire: Finding, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Policy(limits=Limits(containments=1))
    monkeypatch.setattr("worker.actions.policy", lambda: few)
    first = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(first, at_rest)
    other = finding("f-2", subject=instance(f"i-{uuid4().hex[:17]}"))
    second = await started(client, world.arrival(other, step("door", "close_door")))
    waiting = await until(second, lambda i: i.status is Status.HELD_BACK)
    assert one(waiting, "door").reason.startswith("1 containments within 1:00:00")

    await instruct(client, task_queue, Order.RESUME, "it is real", beyond=1)
    assert states(await until(second, at_rest)) == {"door": StepState.PROVEN}


async def test_what_waits_while_the_incident_is_cancelled_is_never_done(
    client: Client, world: World, fire: Finding, task_queue: str
) -> None:
    await instruct(client, task_queue, Order.PAUSE, "a storm")
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(handle, lambda i: i.status is Status.HELD_BACK)

    await handle.cancel(reason="wrong button")
    left = await until(handle, at_rest)
    assert (states(left), one(left, "door").leases) == ({"door": StepState.SKIPPED}, ())

    await instruct(client, task_queue, Order.RESUME, "over")
    assert (await close(handle)).accepted
    assert (await handle.result()).status is Status.CLOSED
    assert world.doors == {}


async def test_same_fleet_of_another_account_is_another_fleet(
    client: Client, world: World, fire: Finding
) -> None:
    world.fleets = {"autoscaling/web": 3}
    first = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(first, at_rest)

    there = fire.subject.model_copy(update={"account": "222222222222"})
    other = finding("f-2", subject=there, account="222222222222")
    elsewhere = await started(client, world.arrival(other, step("door", "close_door")))
    assert states(await until(elsewhere, at_rest)) == {"door": StepState.PROVEN}

    neighbour = finding("f-3", subject=instance(f"i-{uuid4().hex[:17]}"))
    second = await started(client, world.arrival(neighbour, step("door", "close_door")))
    waiting = await until(second, lambda i: i.status is Status.HELD_BACK)
    assert one(waiting, "door").reason.startswith(
        f"1 of {fire.account}/us-east-1/autoscaling/web are contained already"
    )


async def test_what_was_gone_before_it_was_contained_counts_for_no_limit(
    client: Client, world: World, fire: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Policy(limits=Limits(containments=1))
    monkeypatch.setattr("worker.actions.policy", lambda: few)
    world.fleets = {"autoscaling/web": 3}
    world.trouble["apply"] = [NotFound("NoSuchDoor", "no such door", "Close")]
    world.gates["apply"] = threading.Event()
    gone = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(gone, lambda i: one(i, "door").state is StepState.APPLYING)
    world.doors[fire.subject.id] = "gone"
    world.gates["apply"].set()
    assert states(await until(gone, at_rest)) == {"door": StepState.GONE}

    neighbour = finding("f-2", subject=instance(f"i-{uuid4().hex[:17]}"))
    second = await started(client, world.arrival(neighbour, step("door", "close_door")))
    assert states(await until(second, at_rest)) == {"door": StepState.PROVEN}


# What people are asked beside approvals


@pytest.mark.golden
async def test_what_no_call_can_do_becomes_a_task_that_is_signed_off(
    client: Client, world: World, fire: Finding
) -> None:
    world.tasks = ("Ring the landlord.",)
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    asked = await until(handle, asking)
    assert states(asked)["door.task"] is StepState.ASKING
    proposal = one(asked, "door.task").proposal
    assert proposal is not None
    assert [plan.summary for plan in proposal.plans] == ["Ring the landlord."]

    await decide(handle, one(asked, "door.task"), reason="rang, he knows")
    done = await until(handle, at_rest)
    assert states(done) == {"door": StepState.PROVEN, "door.task": StepState.DONE}
    assert one(done, "door.task").reason == f"signed off by {RESPONDER}: rang, he knows"


async def test_task_that_nobody_does_leaves_the_incident_incomplete(
    client: Client, world: World, fire: Finding
) -> None:
    world.tasks = ("Ring the landlord.",)
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    asked = await until(handle, asking)
    await decide(handle, one(asked, "door.task"), Answer.DENY, reason="no number")

    assert (await until(handle, at_rest)).status is Status.INCOMPLETE


async def test_target_that_is_gone_ends_its_step_and_not_the_incident(
    client: Client, world: World, fire: Finding
) -> None:
    world.doors[fire.subject.id] = "gone"
    steps = (step("door", "close_door"), step("tell", "tell"))
    incident = await until(await started(client, world.arrival(fire, *steps)), at_rest)

    assert states(incident) == {"door": StepState.GONE, "tell": StepState.DONE}


async def test_target_that_goes_before_apply_ends_its_step(
    client: Client, world: World, fire: Finding
) -> None:
    world.trouble["apply"] = [NotFound("NoSuchDoor", "no such door", "Close")]
    world.gates["apply"] = threading.Event()
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(handle, lambda i: one(i, "door").state is StepState.APPLYING)
    world.doors[fire.subject.id] = "gone"
    world.gates["apply"].set()

    assert states(await until(handle, at_rest)) == {"door": StepState.GONE}


@pytest.mark.golden
async def test_at_the_end_of_its_term_people_are_asked_to_open_again(
    client: Client, clocks: WorkflowEnvironment, world: World, fire: Finding
) -> None:
    term = {"term": timedelta(hours=12)}
    handle = await started(client, world.arrival(fire, step("door", "close_door", **term)))
    held = await until(handle, at_rest)
    assert one(held, "door").proposal.term == timedelta(hours=12)  # type: ignore[union-attr]

    await clocks.fast_forward(door(client, held), timedelta(hours=12, minutes=1))
    told = await until(handle, lambda i: asking(i) and "say" in " ".join(world.calls))
    assert world.calls[-1] == (
        "say TERM OVER: door is held until somebody decides to open it again"
    )
    asked = one(told, "door.open")
    (plan,) = asked.proposal.plans  # type: ignore[union-attr]
    assert [call.operation for call in plan.calls] == ["Open"]
    assert world.doors[fire.subject.id] == "closed"  # it never opens by itself

    assert (await decide(handle, asked)).accepted
    opened = await until(handle, at_rest)
    assert states(opened) == {
        "door": StepState.RELEASED,
        "door.open": StepState.DONE,
        "door.term": StepState.DONE,
    }
    assert world.doors[fire.subject.id] == "open"


async def test_who_only_joined_is_asked_at_the_end_of_its_own_term(
    client: Client, clocks: WorkflowEnvironment, world: World, fire: Finding
) -> None:
    room = fire.subject.id
    first = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(first, at_rest)
    # Another incident whose plan finds everything closed, so that it has no call of its own.
    other = finding("f-2", subject=instance(f"i-{uuid4().hex[:17]}"), related=(fire.subject,))
    world.doors[other.subject.id] = "closed"
    joined = step("door", "close_door", on="instance", term=timedelta(hours=1))
    second = await started(client, world.arrival(other, joined))
    held = await until(second, at_rest)
    lease = next(lease for lease in one(held, "door").leases if room in lease)

    await clocks.fast_forward(client.get_workflow_handle(lease), timedelta(minutes=61))
    asked = one(await until(second, asking), "door.open")
    assert (await decide(second, asked)).accepted

    opened = await until(second, at_rest)
    assert one(opened, "door").state is StepState.RELEASED
    assert world.doors[room] == "closed"  # the first one still holds it
    await release(first)
    assert world.doors[room] == "open"


async def test_what_is_to_be_opened_while_paused_is_opened_when_changes_go_on(
    client: Client, clocks: WorkflowEnvironment, world: World, fire: Finding, task_queue: str
) -> None:
    term = {"term": timedelta(hours=1)}
    handle = await started(client, world.arrival(fire, step("door", "close_door", **term)))
    held = await until(handle, at_rest)
    await clocks.fast_forward(door(client, held), timedelta(minutes=61))
    asked = one(await until(handle, asking), "door.open")
    await instruct(client, task_queue, Order.PAUSE, "a storm")

    await decide(handle, asked)
    await until(handle, lambda i: one(i, "door.open").state is StepState.HELD_BACK)
    assert world.doors[fire.subject.id] == "closed"

    await instruct(client, task_queue, Order.RESUME, "over")
    opened = await until(handle, at_rest)
    assert one(opened, "door").state is StepState.RELEASED
    assert world.doors[fire.subject.id] == "open"


async def test_silence_at_the_end_of_a_term_holds_on_and_is_asked_again(
    client: Client, clocks: WorkflowEnvironment, world: World, fire: Finding
) -> None:
    term = {"term": timedelta(hours=1)}
    handle = await started(client, world.arrival(fire, step("door", "close_door", **term)))
    held = await until(handle, at_rest)
    await clocks.fast_forward(door(client, held), timedelta(minutes=61))
    await until(handle, asking)
    await clocks.fast_forward(handle, timedelta(minutes=16))
    await until(handle, at_rest)
    await clocks.fast_forward(door(client, held), timedelta(minutes=61))

    again = await until(handle, lambda i: "door.open#2" in states(i))
    assert states(again)["door.open"] is StepState.EXPIRED
    assert world.doors[fire.subject.id] == "closed"


async def test_term_doubles_for_what_was_held_before(
    client: Client, world: World, fire: Finding
) -> None:
    def again(number: int) -> Finding:
        later = NOW + timedelta(days=number)
        return finding(f"f-{number}", subject=fire.subject, updated_at=later, last_seen=later)

    for number in range(2):
        door = step("door", "close_door", term=timedelta(hours=1))
        handle = await started(client, world.arrival(again(number), door))
        held = await until(handle, lambda i: at_rest(i) and i.status is Status.CONTAINED)
        await release(handle)
        assert (await close(handle)).accepted
        await handle.result()

    assert one(held, "door").proposal.term == timedelta(hours=2)  # type: ignore[union-attr]


async def test_term_does_not_grow_by_what_only_waited(
    client: Client, world: World, fire: Finding, task_queue: str
) -> None:
    await instruct(client, task_queue, Order.PAUSE, "a storm")
    steps = (step("door", "close_door", term=timedelta(hours=1)),)
    handle = await started(client, world.arrival(fire, *steps))
    await until(handle, lambda i: i.status is Status.HELD_BACK)
    await instruct(client, task_queue, Order.RESUME, "over")
    await until(handle, lambda i: i.status is Status.CONTAINED)
    await release(handle)
    assert (await close(handle)).accepted
    await handle.result()

    later = NOW + timedelta(days=1)
    again = finding("f-2", subject=fire.subject, updated_at=later, last_seen=later)
    handle = await started(client, world.arrival(again, *steps))
    held = await until(handle, at_rest)
    assert one(held, "door").proposal.term == timedelta(hours=2)  # type: ignore[union-attr]


@pytest.mark.golden
async def test_rule_6_drift_raises_an_alarm(
    client: Client, clocks: WorkflowEnvironment, world: World, fire: Finding
) -> None:
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    held = await until(handle, at_rest)
    world.doors[fire.subject.id] = "ajar"
    await clocks.fast_forward(door(client, held), timedelta(minutes=16))

    told = await until(handle, lambda i: "door.alarm" in states(i) and at_rest(i))
    assert states(told) == {"door": StepState.DRIFTED, "door.alarm": StepState.DONE}
    (words,) = [call for call in world.calls if call.startswith("say")]
    assert words.startswith("say DRIFT: door was proven and is undone by somebody")
    assert fire.subject.id in words


async def test_rule_6_what_is_undone_before_it_is_read_back_raises_an_alarm(
    client: Client, world: World, fire: Finding
) -> None:
    world.gates["verify"] = threading.Event()
    handle = await started(client, world.arrival(fire, step("door", "close_door")))
    await until(handle, lambda _: world.doors.get(fire.subject.id) == "closed")
    world.doors[fire.subject.id] = "ajar"
    world.gates["verify"].set()

    told = await until(handle, lambda i: "door.alarm" in states(i) and at_rest(i))
    assert states(told) == {"door": StepState.DRIFTED, "door.alarm": StepState.DONE}
    (words,) = [call for call in world.calls if call.startswith("say")]
    assert words.startswith("say DRIFT: door was done and is undone by somebody")
