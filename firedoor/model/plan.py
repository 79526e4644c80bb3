"""What an action will do, what it did, and what was read back afterwards."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field, IPvAnyNetwork, JsonValue

from firedoor.model.base import Model, UtcDatetime, digest
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Subject

LATER = "<known after an earlier call>"
"""Stands in a planned parameter for what only an earlier call of the same plan can tell."""


class Target(Model):
    """What one step is about: the subject, in the name of which incident and step, and when."""

    subject: Subject
    incident: str
    step: str
    at: UtcDatetime = Field(description="when planning was asked for; the only clock a plan has")
    spared: tuple[str, ...] = Field(
        default=(), description="ARNs, with *, of principals that no deny may hit: break-glass"
    )


class Call(Model):
    """One API call with exactly the parameters that are sent."""

    service: str = Field(description="the SDK's service name, e.g. ec2")
    operation: str = Field(description="the API's operation name, e.g. CreateNetworkAclEntry")
    parameters: dict[str, JsonValue]
    account: str = Field(default="", description="if it is not made in the target's own account")
    region: str = Field(default="", description="if it is not made in the target's own region")


class Change(Model):
    """One attribute of one resource, before and after."""

    resource: str
    attribute: str
    before: JsonValue
    after: JsonValue


class Check(Model):
    """One question that was put to the cloud, and its answer."""

    name: str
    ok: bool
    detail: str = ""


class Touched(Model):
    """What a plan lays hands on, for the guard rails to look at."""

    resources: Mapping[str, Mapping[str, str]] = Field(
        default_factory=dict, description="resource id to its tags"
    )
    networks: tuple[IPvAnyNetwork, ...] = Field(default=(), description="networks that are blocked")
    principals: tuple[str, ...] = Field(default=(), description="ARNs that lose rights")
    fleets: Mapping[str, int] = Field(
        default_factory=dict,
        description="what it is one of, e.g. autoscaling/web, to how many there are of it",
    )


class Residual(Model):
    """What one kind of credential of a principal can still do."""

    credential: str = Field(description="the kind, and which: access key AKIA…, console password")
    state: str = Field(description="inactive, denied, none, or what leaves it open")
    until: UtcDatetime | None = Field(
        default=None, description="the latest instant at which it can still work, if there is one"
    )
    open: bool = Field(description="whether it works now")


class Plan(Model):
    """Everything that one action will do to one target; people approve its digest."""

    action: str = Field(description="the action's id, e.g. aws.isolate_instance")
    target: Target
    lease: str = Field(description="what is held, unique for the action in account and region")
    params: dict[str, JsonValue] = Field(default_factory=dict)
    summary: str = Field(description="one sentence that a responder reads at 03:00")
    before: dict[str, JsonValue] = Field(
        default_factory=dict, description="further state that apply or revert needs"
    )
    changes: tuple[Change, ...] = ()
    calls: tuple[Call, ...] = Field(
        default=(), description="every changing call of apply, in order"
    )
    undo: tuple[Call, ...] = Field(
        default=(), description="every changing call of revert, in order"
    )
    blast_radius: tuple[str, ...] = Field(default=(), description="who and what else will feel it")
    preflight: tuple[Check, ...] = ()
    held_before: int = Field(
        default=0, description="how often the same was held before, and let go again"
    )
    lost: tuple[str, ...] = Field(default=(), description="what undo cannot bring back")
    touched: Touched = Touched()
    refusals: tuple[str, ...] = Field(default=(), description="why this must not be done")
    gone: bool = Field(default=False, description="the target does not exist; the refusals say so")
    tasks: tuple[str, ...] = Field(
        default=(), description="what no call of ours can do: each is a person's, with sign-off"
    )

    @property
    def digest(self) -> str:
        """The name by which a decision refers to this plan."""
        return digest(self)


class Outcome(StrEnum):
    """How one call ended."""

    OK = "ok"
    ERROR = "error"  # refused, so it changed nothing
    UNKNOWN = "unknown"  # no answer, or a server error: reading back tells


class CallRecord(Model):
    """One changing call that was really made."""

    service: str
    operation: str
    parameters: dict[str, JsonValue]
    account: str = ""
    region: str = ""
    at: UtcDatetime
    request_id: str
    outcome: Outcome
    detail: str = ""


class Receipt(Model):
    """What `apply` or `revert` did."""

    plan_digest: str
    at: UtcDatetime
    calls: tuple[CallRecord, ...] = ()
    created: dict[str, JsonValue] = Field(
        default_factory=dict, description="ids that the cloud gave to what was made"
    )
    evidence: tuple[Evidence, ...] = ()
    left: tuple[str, ...] = Field(default=(), description="what revert left alone, and why")


class Failure(Model):
    """What goes with the error of a failed attempt: which one it was, and what it did before."""

    attempt: int
    made: tuple[CallRecord, ...] = ()

    @property
    def changed_nothing(self) -> bool:
        """Whether it is certain that neither this attempt nor an earlier one changed anything."""
        return self.attempt == 1 and all(call.outcome is Outcome.ERROR for call in self.made)


class Verdict(StrEnum):
    """What reading back said."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    PENDING = "pending"
    DRIFTED = "drifted"


class Proof(Model):
    """What `verify` read back; pending means that nothing is wrong and it is not finished yet."""

    plan_digest: str
    at: UtcDatetime
    verdict: Verdict
    checks: tuple[Check, ...]
    evidence: tuple[Evidence, ...] = ()
    since: UtcDatetime | None = Field(
        default=None, description="since when the logs show nothing that should not pass"
    )
    residual: tuple[Residual, ...] = Field(
        default=(), description="what a principal's credentials can still do, kind by kind"
    )
