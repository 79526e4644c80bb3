"""What must never be touched, how much may happen, who decides and how; pinned into incidents."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, IPvAnyNetwork, StringConstraints

from firedoor.model.approval import Rule
from firedoor.model.base import Model, digest
from firedoor.model.length import Length
from firedoor.model.message import Route
from firedoor.model.pattern import fits
from firedoor.model.responder import Roster, Text

TAGS: Mapping[str, str] = {"firedoor:protected": "*"}
"""Protects whatever carries it, under every policy."""


def _an_id(pattern: str) -> str:
    # An ARN would never match, and so protect nothing: plans name resources by their ids.
    if pattern.startswith("arn:"):
        raise ValueError("expected the id alone, as in i-0123456789abcdef0 or prod-*, not an ARN")
    return pattern


def _an_arn(pattern: str) -> str:
    # A bare name would never match either.
    if not pattern.startswith(("arn:", "*")):
        raise ValueError(
            "expected an ARN, as in arn:aws:iam::123456789012:role/break-glass or *:root"
        )
    return pattern


ACCOUNT = r"^[0-9a-z-]+(/[a-z0-9-]+)?$"

DEFAULT_RULE = Rule(id="default")
"""What holds for steps that no rule of the policy is about."""

OWNER_TAGS = ("owner",)


class Protected(Model):
    """What no plan may lay hands on. Upper and lower case are not told apart."""

    tags: dict[Text, Text] = Field(
        default={**TAGS}, description="tag to value; * stands for any characters"
    )
    resources: tuple[Annotated[Text, AfterValidator(_an_id)], ...] = Field(
        default=(),
        description="ids, those of Firedoor's own hosts too; * stands for any characters",
    )
    principals: tuple[Annotated[Text, AfterValidator(_an_arn)], ...] = Field(
        default=(), description="ARNs, for one of the break-glass role; * stands for any characters"
    )
    accounts: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-z-]+$")], ...] = ()
    networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="never blocked, beside private, reserved and catch-all networks"
    )


class Autonomy(StrEnum):
    """How far a runbook may go by itself."""

    SHADOW = "shadow"  # plans, and changes nothing
    ASK = "ask"  # whatever changes something waits for a person, whatever the runbook says
    AUTO = "auto"  # as the runbook says, which may give standing authority


class Latitude(Model):
    """How far runbooks may go in a class of accounts."""

    runbooks: tuple[Text, ...] = Field(
        default=("*",), min_length=1, description="ids; * stands for any characters"
    )
    classes: tuple[Text, ...] = Field(
        default=(), description="classes of accounts; none means every account"
    )
    at_most: Autonomy


class Account(Model):
    """What is so of one account, or of one region of it, only."""

    class_: Text | None = Field(
        default=None, alias="class", description="for autonomy, e.g. production"
    )
    role: Text | None = Field(default=None, description="name of the role to assume there")
    external_id: Text | None = None
    task_queue: Text | None = Field(
        default=None, description="of the workers that have credentials there, if only some have"
    )

    model_config = {**Model.model_config, "validate_by_name": True, "validate_by_alias": True}


class Limits(Model):
    """How much may be contained at once; what is above waits."""

    containments: int = Field(default=20, ge=1, description="new ones within the window")
    window: Length = Field(default=timedelta(hours=1), gt=timedelta(0))
    fleet_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="of an Auto Scaling group, a target group …; one member may always go",
    )


class Policy(Model):
    """The guard rails, the responders and the rules of one day."""

    roster: Roster = Field(
        default=Roster(), description="from `responders.yaml` and `allowed_signers`"
    )
    approvals: tuple[Rule, ...] = Field(
        default=(), description="what it takes to approve; the first that fits a step counts"
    )
    owner_tags: tuple[Text, ...] = Field(
        default=OWNER_TAGS, min_length=1, description="tags that name a resource's owner"
    )
    channels: dict[Text, Route] = Field(
        default_factory=dict, description="by which people are told, and of what"
    )
    protected: Protected = Protected()
    limits: Limits = Limits()
    autonomy: tuple[Latitude, ...] = Field(
        default=(), description="the first that fits counts; without one, as the runbook says"
    )
    accounts: dict[Annotated[Text, StringConstraints(pattern=ACCOUNT)], Account] = Field(
        default_factory=dict, description="by account, or by account/region"
    )

    @property
    def digest(self) -> str:
        """The name by which a history refers to this exact policy."""
        return digest(self)

    def account(self, account: str, region: str) -> Account:
        """Return what is said of an account, with what is said of one of its regions on top."""
        broad = self.accounts.get(account, Account())
        exact = self.accounts.get(f"{account}/{region}", Account())
        return broad.model_copy(update=exact.model_dump(exclude_none=True))

    def rule(self, effect: str, runbook: str, account: str, region: str) -> Rule:
        """Return what it takes to approve a step."""
        class_ = self.account(account, region).class_
        return next(
            (rule for rule in self.approvals if rule.covers(effect, runbook, class_)), DEFAULT_RULE
        )

    def autonomy_of(self, runbook: str, account: str, region: str) -> Autonomy:
        """Return how far a runbook may go by itself in an account."""
        class_ = self.account(account, region).class_
        for latitude in self.autonomy:
            named = any(fits(pattern, runbook) for pattern in latitude.runbooks)
            if named and (not latitude.classes or class_ in latitude.classes):
                return latitude.at_most
        return Autonomy.AUTO
