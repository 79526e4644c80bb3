"""The ruling on one vote: may this person decide this plan, now?"""

from datetime import datetime

from firedoor.model.decision import Decision, Ruling
from firedoor.model.incident import StepRecord, StepState
from firedoor.model.policy import Policy


def judge(step: StepRecord | None, decision: Decision, policy: Policy, now: datetime) -> Ruling:
    """Accept or refuse a vote, with the reason; pure, so that every replay rules the same.

    This is the one place where a vote is weighed: signatures, quorum and seats belong here.
    """
    if step is None:
        return _refused(f"this incident has no step {decision.step}")
    if step.state is not StepState.ASKING:
        return _refused(f"step {step.key} is not waiting for a decision, it is {step.state}")
    if decision.responder not in policy.responders:
        return _refused(f"{decision.responder} is not a responder under this incident's policy")
    if decision.plan_digest != step.plan_digest:
        return _refused(
            f"the plan has changed: it is {step.plan_digest} now; read it and decide again"
        )
    if step.deadline is not None and now >= step.deadline:
        return _refused(f"the deadline was {step.deadline:%Y-%m-%d %H:%M:%SZ}")
    if not decision.reason.strip():
        return _refused("a decision needs a reason")
    return Ruling(accepted=True)


def _refused(reason: str) -> Ruling:
    return Ruling(accepted=False, reason=reason)
