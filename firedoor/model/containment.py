"""A lease on one effect on one target: who holds it, why, and what was done for it."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime
from firedoor.model.plan import Plan, Proof, Receipt
from firedoor.model.warrant import Reopening, Warrant
from firedoor.model.word import Release, Signed, Voucher


class Claim(Model):
    """An incident's wish to hold an effect, with the approved plan that brings it about."""

    incident: str
    step: str
    plan: Plan
    by: str = Field(default="", description="who approved it; nobody under standing authority")
    warrant: Warrant | None = Field(default=None, description="by what right, for the worker")
    term: timedelta | None = Field(default=None, description="after it people are asked again")
    queue: str = Field(default="", description="of the workers that may act there; none: our own")
    attempt: int = Field(
        default=1, description="which try it is: a claim that was held back is another one later"
    )


class Holder(Model):
    """Who holds a containment, since when, and until when if nobody says otherwise."""

    incident: str
    step: str
    since: UtcDatetime
    by: str = ""
    term: timedelta | None = None
    until: UtcDatetime | None = Field(default=None, description="when people are asked again")
    plan: Plan
    warrant: Warrant | None = Field(default=None, description="by what right it is held")


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
    queue: str = Field(default="", description="of the workers that may act there")


class Holding(Model):
    """The input of the containment workflow: its own id, and the state that is carried on."""

    id: str
    carried: Lease | None = None


class GrantKind(StrEnum):
    """How a claim was answered."""

    GRANTED = "granted"
    STALE = "stale"
    HELD_BACK = "held back"  # paused, or above a limit; nothing was done
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
    said: Signed[Release] | None = Field(default=None, description="whose word it is")
    voucher: Voucher | None = None
    reopening: Reopening | None = Field(default=None, description="if it is the end of a term")


class Returned(Model):
    """The answer to a return: reverted if nobody else holds it."""

    lease: Lease
    receipts: tuple[Receipt, ...] = Field(
        default=(), description="of the reverts, newest plan first"
    )
    problem: str = Field(default="", description="why reverting did not end well")
    held_back: bool = Field(default=False, description="all changes are paused; it is still held")


class Notice(Model):
    """What a containment tells a holder: that its proof changed, or that its term is over."""

    lease: str
    step: str
    proof: Proof | None = None
    term_is_over: bool = False


def containment_id(plan: Plan) -> str:
    """Return the id of the containment workflow that owns the plan's effect."""
    subject = plan.target.subject
    return f"containment/{plan.action}/{subject.account}/{subject.region}/{plan.lease}"
