"""What opening again comes to, as a plan that people can decide on. Pure."""

from datetime import datetime

from firedoor.model.plan import Change, Plan

OPEN_AGAIN = "containment.open_again"


def reopening(plan: Plan, step: str, at: datetime) -> Plan:
    """Return what letting go of a plan does: the same the other way round, for another step."""
    return Plan(
        action=OPEN_AGAIN,
        target=plan.target.model_copy(update={"step": step, "at": at}),
        lease=plan.lease,
        summary=f"Its term is over: open again what {plan.target.step} closed. {plan.summary}",
        changes=tuple(_reversed(change) for change in reversed(plan.changes)),
        calls=plan.undo,
        undo=plan.calls,
        lost=plan.lost,
    )


def _reversed(change: Change) -> Change:
    return change.model_copy(update={"before": change.after, "after": change.before})
