"""What it takes for a step to be approved: by whom, by how many, by which means, and when."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from firedoor.model.base import Model
from firedoor.model.finding import Severity
from firedoor.model.length import Length
from firedoor.model.pattern import fits
from firedoor.model.responder import Text
from firedoor.model.word import Means

OWNER = "owner"
"""The seat of whoever owns the resource, as its tags say."""


class Party(StrEnum):
    """Whose voice does not count, as they have an interest of their own."""

    REQUESTER = "requester"  # who handed the finding over
    ON_CALL = "on_call"  # who was on call when the incident began


class Tier(Model):
    """Whom to ask next, and how long they have."""

    to: tuple[Text, ...] = Field(min_length=1, description="groups; their members may decide too")
    within: Length = Field(gt=timedelta(0))


class StandingAuthority(Model):
    """What may be done before anybody is asked; people ratify it afterwards."""

    severities: tuple[Severity, ...] = Field(min_length=1)
    ratify_within: Length = Field(default=timedelta(hours=24), gt=timedelta(0))


class Rule(Model):
    """What it takes for steps to be approved. The first rule that fits a step counts."""

    id: Text
    effects: tuple[Text, ...] = Field(
        default=("*",), min_length=1, description="what steps do; * stands for any characters"
    )
    runbooks: tuple[Text, ...] = Field(default=("*",), min_length=1)
    classes: tuple[Text, ...] = Field(
        default=(), description="classes of accounts; none means every account"
    )
    quorum: int = Field(default=1, ge=1, description="how many people have to approve")
    denials: int = Field(default=1, ge=1, description="how many noes end it")
    groups: tuple[Text, ...] = Field(
        default=(), description="whose members may decide; none means every responder"
    )
    seats: tuple[Text, ...] = Field(
        default=(),
        description="`owner` or a group, each to be filled by another one of those who approve",
    )
    excludes: tuple[Party, ...] = (Party.REQUESTER, Party.ON_CALL)
    accepts: tuple[Means, ...] = Field(default=(Means.SSH,), min_length=1)
    step_up: bool = Field(default=False, description="only hardware keys that were touched count")
    deadline: Length | None = Field(
        default=None, gt=timedelta(0), description="instead of the step's own"
    )
    escalation: tuple[Tier, ...] = Field(
        default=(), description="whom to ask, one after the other, when the deadline has passed"
    )
    standing: StandingAuthority | None = None

    def covers(self, effect: str, runbook: str, class_: str | None) -> bool:
        """Tell whether a step comes under this rule."""
        return (
            any(fits(pattern, effect) for pattern in self.effects)
            and any(fits(pattern, runbook) for pattern in self.runbooks)
            and (not self.classes or class_ in self.classes)
        )

    def waits(self, otherwise: timedelta) -> tuple[timedelta, ...]:
        """Return how long to wait for a decision, tier by tier; `otherwise` is the step's own."""
        return (self.deadline or otherwise, *(tier.within for tier in self.escalation))

    def electorate(self, tier: int) -> tuple[str, ...]:
        """Return the groups that may decide once so many tiers have been asked as well."""
        if not self.groups:
            return ()
        asked = (group for one in self.escalation[:tier] for group in one.to)
        seats = (seat for seat in self.seats if seat != OWNER)
        return tuple(dict.fromkeys((*self.groups, *seats, *asked)))
