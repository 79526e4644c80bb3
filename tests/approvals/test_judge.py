"""The ruling on a vote."""

from datetime import timedelta

from firedoor.approvals.judge import judge
from firedoor.model.action import Barrier, Nature
from firedoor.model.decision import Answer, Decision
from firedoor.model.incident import Capability, StepRecord, StepState
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
