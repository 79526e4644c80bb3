"""What is put to people, and what came of what they said."""

from datetime import timedelta

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime, digest
from firedoor.model.plan import Plan
from firedoor.model.word import Decision, Means, Ratification, Signed, Voucher


class Proposal(Model):
    """All plans of one step, as they are put to a person together."""

    step: str
    plans: tuple[Plan, ...]
    term: timedelta | None = Field(
        default=None, description="how long it holds until people are asked to open it again"
    )

    @property
    def digest(self) -> str:
        """What a decision is bound to: the step, the digests of its plans, and the term."""
        return proposal_digest(self.step, tuple(plan.digest for plan in self.plans), self.term)


class _Put(Model):
    step: str
    plans: tuple[str, ...]
    term: timedelta | None


def proposal_digest(step: str, plans: tuple[str, ...], term: timedelta | None) -> str:
    """Return what a decision on plans with these digests is bound to."""
    return digest(_Put(step=step, plans=plans, term=term))


class Ruling(Model):
    """Whether a word was accepted, and if not, why."""

    accepted: bool
    reason: str = Field(default="", description="why not; or what an accepted word replaces")
    needed: int = Field(default=0, description="how many more have to approve")
    seats: tuple[str, ...] = Field(default=(), description="seats that nobody fills yet")


class Vote(Model):
    """A decision or ratification with the ruling on it; refused ones are kept too."""

    said: Signed[Decision] | Signed[Ratification]
    ruling: Ruling
    received_at: UtcDatetime
    means: Means
    hardware: bool = Field(default=False, description="signed by a key that was touched for it")
    voucher: Voucher | None = None

    @property
    def word(self) -> Decision | Ratification:
        """What was said."""
        return self.said.word
