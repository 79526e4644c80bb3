"""A person's yes or no to one exact plan, and what came of it."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime, digest
from firedoor.model.plan import Plan


class Proposal(Model):
    """All plans of one step, as they are put to a person together."""

    step: str
    plans: tuple[Plan, ...]
    term: timedelta | None = Field(
        default=None, description="how long it holds until people are asked to open it again"
    )

    @property
    def digest(self) -> str:
        """What a decision is bound to."""
        return digest(self)


class Answer(StrEnum):
    """Yes or no."""

    APPROVE = "approve"
    DENY = "deny"


class Decision(Model):
    """One vote on one proposal."""

    incident: str
    step: str
    plan_digest: str = Field(description="the digest of the proposal that was shown")
    answer: Answer
    responder: str
    reason: str
    at: UtcDatetime
    nonce: str = Field(description="makes the vote unique; a repeat of it is the same vote")

    @property
    def digest(self) -> str:
        """The vote's name; the id of the update that carries it."""
        return digest(self)


class Ruling(Model):
    """Whether a message from a person was accepted, and if not, why."""

    accepted: bool
    reason: str = ""


class Vote(Model):
    """A decision with the ruling on it; refused ones are kept too."""

    decision: Decision
    ruling: Ruling
    received_at: UtcDatetime
