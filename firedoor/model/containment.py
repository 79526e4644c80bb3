"""A lease on one effect on one target: who holds it, why, and what was done for it."""

from enum import StrEnum

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime
from firedoor.model.plan import Plan, Proof, Receipt


class Claim(Model):
    """An incident's wish to hold an effect, with the approved plan that brings it about."""

    incident: str
    step: str
    plan: Plan


class Holder(Model):
    """Who holds a containment, and since when."""

    incident: str
    step: str
    since: UtcDatetime


class LeaseState(StrEnum):
    """Where a containment is in its life."""

    OPEN = "open"
    HELD = "held"
    FAILED = "failed"  # apply ended in an error; what took effect is taken back on release


class Lease(Model):
    """The containment as it stands."""

    id: str
    state: LeaseState
    holders: tuple[Holder, ...] = ()
    applied: tuple[Plan, ...] = Field(default=(), description="taken back in reverse order")
    receipts: tuple[Receipt, ...] = ()
    proof: Proof | None = None


class Holding(Model):
    """The input of the containment workflow: its own id, and the state that is carried on."""

    id: str
    carried: Lease | None = None


class GrantKind(StrEnum):
    """How a claim was answered."""

    GRANTED = "granted"
    STALE = "stale"
    FAILED = "failed"


class Grant(Model):
    """The answer to a claim."""

    kind: GrantKind
    lease: Lease
    reason: str = ""


class Return(Model):
    """An incident lets a containment go."""

    lease: str
    incident: str
    step: str
    by: str
    reason: str


class Returned(Model):
    """The answer to a return: reverted if nobody else holds it."""

    lease: Lease
    receipts: tuple[Receipt, ...] = Field(
        default=(), description="of the reverts, newest plan first"
    )
    problem: str = Field(default="", description="why reverting did not end well")


class Notice(Model):
    """What a containment tells its holders: that its proof changed, or that it drifted."""

    lease: str
    step: str
    proof: Proof


def containment_id(plan: Plan) -> str:
    """Return the id of the containment workflow that owns the plan's effect."""
    subject = plan.target.subject
    return f"containment/{plan.action}/{subject.account}/{subject.region}/{plan.lease}"
