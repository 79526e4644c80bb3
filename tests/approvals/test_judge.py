"""The ruling on a vote."""

from datetime import timedelta

from firedoor.approvals.judge import judge, may_close, may_release
from firedoor.model.action import Barrier, Nature
from firedoor.model.decision import Answer, Decision
from firedoor.model.incident import Capability, Close, Release, StepRecord, StepState
from firedoor.model.policy import Policy
from firedoor.testing import NOW, RESPONDER, instance, step

POLICY = Policy(responders=(RESPONDER,))
ASKED = StepRecord(
    key="door",
    runbook="test",
    step=step("door", "close_door"),
    capability=Capability(
        action="fake.close_door", nature=Nature.CONTAINMENT, barrier=Barrier.STARTED
    ),
    subjects=(instance(),),
    state=StepState.ASKING,
    plan_digest="a" * 64,
    deadline=NOW + timedelta(minutes=15),
)
VOTE = Decision(
    incident="incident/x",
    step="door",
    plan_digest="a" * 64,
    answer=Answer.APPROVE,
    responder=RESPONDER,
    reason="seen it",
    at=NOW,
    nonce="1",
)


def test_responder_may_decide_on_the_plan_that_is_asked_for() -> None:
    assert judge(ASKED, VOTE, POLICY, NOW).accepted


def test_vote_at_the_deadline_is_too_late() -> None:
    ruling = judge(ASKED, VOTE, POLICY, NOW + timedelta(minutes=15))

    assert not ruling.accepted
    assert "2026-01-01 12:15:00Z" in ruling.reason


def test_step_that_is_not_waiting_takes_no_votes() -> None:
    proven = ASKED.model_copy(update={"state": StepState.PROVEN})

    assert judge(proven, VOTE, POLICY, NOW).reason == (
        "step door is not waiting for a decision, it is proven"
    )


def test_policy_without_responders_lets_nobody_decide() -> None:
    assert not judge(ASKED, VOTE, Policy(), NOW).accepted


def test_release_waits_only_for_the_steps_that_it_is_about() -> None:
    held = ASKED.model_copy(update={"state": StepState.PROVEN, "leases": ("containment/a",)})
    busy = held.model_copy(update={"key": "other", "state": StepState.APPLYING})
    one = Release(by=RESPONDER, reason="over", steps=("door",))
    everything = Release(by=RESPONDER, reason="over")

    assert may_release(one, POLICY, (held, busy)).accepted
    assert may_release(everything, POLICY, (held, busy)).reason == (
        "other is being applied; release it when that is done"
    )


def test_stranger_may_neither_release_nor_close() -> None:
    assert not may_release(Release(by="mallory", reason="x"), POLICY, (ASKED,)).accepted
    assert not may_close(Close(by="mallory", reason="x"), POLICY, ()).accepted


def test_incident_that_holds_or_waits_cannot_be_closed() -> None:
    close = Close(by=RESPONDER, reason="over")
    held = ASKED.model_copy(update={"state": StepState.PROVEN, "leases": ("containment/a",)})

    assert "release them first" in may_close(close, POLICY, (held,)).reason
    assert may_close(close, POLICY, (ASKED,)).reason == "door are not finished"
