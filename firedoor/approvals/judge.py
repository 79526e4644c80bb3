"""Rulings on what people ask of an incident: pure, so that every replay rules the same."""

from datetime import datetime

from firedoor.model.decision import Decision, Ruling
from firedoor.model.incident import MOVING, Close, Release, StepRecord, StepState
from firedoor.model.policy import Policy


def judge(step: StepRecord | None, decision: Decision, policy: Policy, now: datetime) -> Ruling:
    """Accept or refuse a vote, with the reason.

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


def may_release(release: Release, policy: Policy, steps: tuple[StepRecord, ...]) -> Ruling:
    """Accept or refuse that containments are let go."""
    if release.by not in policy.responders:
        return _refused(f"{release.by} is not a responder under this incident's policy")
    if unknown := [key for key in release.steps if key not in {step.key for step in steps}]:
        return _refused(f"this incident has no step {', '.join(unknown)}")
    wanted = chosen(release, steps)
    if busy := [step.key for step in wanted if step.state is StepState.APPLYING]:
        return _refused(f"{', '.join(busy)} is being applied; release it when that is done")
    if not any(step.leases for step in wanted):
        return _refused("nothing of this is held")
    return Ruling(accepted=True)


def chosen(release: Release, steps: tuple[StepRecord, ...]) -> tuple[StepRecord, ...]:
    """Return the steps that a release is about."""
    return tuple(step for step in steps if not release.steps or step.key in release.steps)


def may_close(close: Close, policy: Policy, steps: tuple[StepRecord, ...]) -> Ruling:
    """Accept or refuse that an incident ends: only when nothing is held, and all is at rest."""
    if close.by not in policy.responders:
        return _refused(f"{close.by} is not a responder under this incident's policy")
    if held := [step.key for step in steps if step.leases]:
        return _refused(f"{', '.join(held)} still hold what they contained; release them first")
    if moving := [step.key for step in steps if step.state in MOVING]:
        return _refused(f"{', '.join(moving)} are not finished")
    return Ruling(accepted=True)


def _refused(reason: str) -> Ruling:
    return Ruling(accepted=False, reason=reason)
