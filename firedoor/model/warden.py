"""The guard rails that count: how much was contained lately, and whether all changes are paused."""

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime
from firedoor.model.decision import Ruling
from firedoor.model.policy import Limits
from firedoor.model.word import Heard, Instruction


class Change(Model):
    """A change that asks to be made: of one lease, or of nothing that is held."""

    incident: str
    digest: str = Field(description="of the plan: a repeat of it is the same change")
    lease: str = Field(default="", description="the containment; none: it takes nothing away")
    gives_back: bool = Field(default=False, description="whether it opens again what was closed")
    withdraws: bool = Field(default=False, description="whether it was not made after all")
    fleets: dict[str, int] = Field(
        default_factory=dict, description="what the target is one of, and how many there are"
    )
    limits: Limits


class Changes(Model):
    """What one worker asks at once."""

    changes: tuple[Change, ...]


class Rulings(Model):
    """The answers, in the order of the changes."""

    rulings: tuple[Ruling, ...]


class Held(Model):
    """A containment that was admitted and not given back since."""

    lease: str
    since: UtcDatetime
    fleets: tuple[str, ...] = ()


class Warden(Model):
    """How the guard rails that count stand."""

    paused: Instruction | None = None
    since: UtcDatetime | None = Field(default=None, description="when it was paused")
    held: tuple[Held, ...] = ()
    admitted: tuple[UtcDatetime, ...] = Field(
        default=(), description="when containments were admitted, within the longest window asked"
    )
    beyond: int = Field(default=0, description="containments that may still go above the limits")
    waiting: tuple[str, ...] = Field(default=(), description="incidents that were held back")
    spent: tuple[Heard, ...] = Field(default=(), description="words that no repeat may bring again")


class Instructed(Model):
    """The answer to an instruction."""

    ruling: Ruling
    warden: Warden


class Admission(Model):
    """The input of the warden: the state that is carried on."""

    carried: Warden = Warden()


def warden_id(queue: str) -> str:
    """Return the id of the one workflow that every change of an installation asks first."""
    return f"warden/{queue}"
