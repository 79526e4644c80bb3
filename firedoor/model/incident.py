"""An incident: one subject, all findings about it, and every step that was taken."""

from enum import StrEnum

from pydantic import Field, JsonValue

from firedoor.model.action import Barrier, Nature
from firedoor.model.base import Model, UtcDatetime
from firedoor.model.decision import Proposal, Ruling, Vote
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Finding, Subject
from firedoor.model.plan import Plan, Proof, Receipt, Target, Verdict
from firedoor.model.policy import Policy
from firedoor.model.runbook import Runbook, Step
from firedoor.model.warrant import Right
from firedoor.model.word import Heard


class Capability(Model):
    """What a workflow must know of the action behind a step; pinned, for code changes later."""

    action: str = Field(description="the action's id, e.g. aws.isolate_instance")
    nature: Nature
    barrier: Barrier


class Arrival(Model):
    """A finding with all that settles the response to it: pinned, so that no edit changes it."""

    finding: Finding
    runbook: Runbook
    policy: Policy
    requester: str = Field(
        default="", description="who handed it over; nobody, if a detector did so"
    )
    capabilities: dict[str, Capability] = Field(description="by the runbook's step ids")


class Order(Model):
    """What planning is asked for."""

    target: Target
    params: dict[str, JsonValue]
    policy: Policy


class Work(Model):
    """What carrying out is asked for: a plan, and in whose name."""

    plan: Plan
    by: str = Field(default="", description="who approved it; nobody under standing authority")
    right: Right | None = Field(
        default=None, description="for applying and reverting; reading needs none"
    )
    applied: UtcDatetime | None = Field(
        default=None, description="when it was applied, for verifying: silence counts from here on"
    )


class StepState(StrEnum):
    """Where a step is: on its way; then what came about; then what did not."""

    WAITING = "waiting"  # for the steps that it needs
    PLANNING = "planning"
    ASKING = "asking"  # a responder decides
    HELD_BACK = "held back"  # everything is paused, or a limit is reached
    APPLYING = "applying"

    STARTED = "started"  # evidence under way
    PROVEN = "proven"
    UNPROVEN = "unproven"  # applied, but reading back did not show it; keeps looking
    DRIFTED = "drifted"  # was proven, and somebody changed it
    DONE = "done"  # told, signed off, or nothing to do

    DENIED = "denied"
    EXPIRED = "expired"  # nobody decided in time, which is no
    REFUSED = "refused"  # a guard rail forbids it
    FAILED = "failed"
    SKIPPED = "skipped"  # what it needs did not come about
    GONE = "target gone"  # there is nothing left to act on
    SHADOWED = "planned only"  # the policy lets this runbook only plan
    RELEASED = "released"


MOVING = frozenset(
    {
        StepState.WAITING,
        StepState.PLANNING,
        StepState.ASKING,
        StepState.HELD_BACK,
        StepState.APPLYING,
        StepState.STARTED,
    }
)
"""The states from which a step goes on by itself or by a decision."""

NOT_DONE = frozenset(
    {
        StepState.DENIED,
        StepState.EXPIRED,
        StepState.REFUSED,
        StepState.FAILED,
        StepState.SKIPPED,
    }
)
"""The states in which what was wanted did not come about."""

SUCCEEDED = frozenset({StepState.PROVEN, StepState.UNPROVEN, StepState.DRIFTED, StepState.DONE})
"""The states after which the steps that need it go on."""


class StepRecord(Model):
    """One step of one incident, with all that happened in it."""

    runbook_digest: str = Field(default="", description="of the runbook as it is pinned")
    key: str = Field(description="the runbook's step id, with #2 … where it was taken again")
    runbook: str
    requester: str = Field(default="", description="who handed the finding over that calls for it")
    step: Step
    capability: Capability
    needs: tuple[str, ...] = Field(default=(), description="keys of other steps")
    subjects: tuple[Subject, ...]
    params: dict[str, JsonValue] = Field(default_factory=dict, description="references resolved")
    state: StepState = StepState.WAITING
    reason: str = ""
    proposal: Proposal | None = None
    plan_digest: str = Field(default="", description="what a decision on it must name")
    deadline: UtcDatetime | None = None
    tier: int = Field(default=0, description="how many tiers of the escalation were asked as well")
    votes: tuple[Vote, ...] = ()
    standing: bool = Field(
        default=False, description="whether it was done under standing authority, to be ratified"
    )
    ratify_by: UtcDatetime | None = None
    ratified: bool | None = Field(default=None, description="what people said of it afterwards")
    receipts: tuple[Receipt, ...] = ()
    proofs: tuple[Proof, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    leases: tuple[str, ...] = Field(default=(), description="ids of the containments it holds")
    ended_at: UtcDatetime | None = Field(default=None, description="when it came to rest")


class Status(StrEnum):
    """An incident as a whole."""

    RESPONDING = "responding"
    AWAITING_APPROVAL = "awaiting approval"
    CONTAINED = "contained"
    UNPROVEN = "contained, unproven"
    RECORDED = "recorded"  # no containment was called for
    INCOMPLETE = "incomplete"  # a step was denied, refused or failed
    HELD_BACK = "held back"  # everything is paused, or a limit is reached
    SHADOWED = "planned only"  # the policy lets its runbooks only plan
    RELEASED = "released"
    SAMPLE = "sample"  # a try-out; nothing was done
    CLOSED = "closed"


class Entry(Model):
    """One line of the timeline."""

    at: UtcDatetime
    event: str = Field(description="a short constant, e.g. step.planned")
    step: str = ""
    detail: str = ""


def assess(steps: tuple[StepRecord, ...]) -> Status:
    """Say how an open incident stands, from its steps: first what somebody has to act on."""
    states = {step.state for step in steps}
    containments = {s.state for s in steps if s.capability.nature is Nature.CONTAINMENT}
    tasks = {s.state for s in steps if s.capability.nature is Nature.TASK}
    if StepState.ASKING in states:
        return Status.AWAITING_APPROVAL
    if StepState.HELD_BACK in states:
        return Status.HELD_BACK
    if containments & MOVING:
        return Status.RESPONDING
    if (containments | tasks) & NOT_DONE:
        return Status.INCOMPLETE
    if containments & {StepState.UNPROVEN, StepState.DRIFTED}:
        return Status.UNPROVEN
    if StepState.PROVEN in containments:
        return Status.CONTAINED
    if StepState.RELEASED in containments:
        return Status.RELEASED
    if states & MOVING:
        return Status.RESPONDING
    return Status.SHADOWED if StepState.SHADOWED in states else Status.RECORDED


def state_of(proofs: tuple[Proof, ...]) -> StepState:
    """Return the state that the worst of the proofs puts a step in."""
    verdicts = {proof.verdict for proof in proofs}
    if Verdict.DRIFTED in verdicts:
        return StepState.DRIFTED
    return StepState.PROVEN if verdicts == {Verdict.PROVEN} else StepState.UNPROVEN


def doubts(proofs: tuple[Proof, ...]) -> str:
    """Return what reading back did not confirm."""
    if state_of(proofs) is StepState.PROVEN:
        return ""
    failed = [check for proof in proofs for check in proof.checks if not check.ok]
    return "; ".join(f"{check.name}: {check.detail}" for check in failed)


class Incident(Model):
    """All that is known of an incident: what queries answer and what the workflow returns."""

    id: str
    run: str = Field(description="its first run id, which every word about it names")
    status: Status
    subject: Subject
    requester: str = ""
    opened_at: UtcDatetime
    closed_at: UtcDatetime | None = None
    findings: tuple[Finding, ...]
    runbooks: tuple[str, ...]
    policy: Policy
    steps: tuple[StepRecord, ...] = ()
    timeline: tuple[Entry, ...] = ()
    stopped: tuple[str, ...] = Field(
        default=(), description="keys of steps that a cancellation found on their way"
    )
    refused: int = Field(default=0, description="words that were refused, those not on record too")
    spent: tuple[Heard, ...] = Field(default=(), description="words that no repeat may bring again")


class Opening(Model):
    """The input of the incident workflow: the first arrival, or the state that is carried on."""

    arrival: Arrival
    carried: Incident | None = None


class Released(Model):
    """What came of a release, step by step."""

    ruling: Ruling
    steps: tuple[StepRecord, ...] = ()
    still_held: tuple[str, ...] = Field(default=(), description="held by other incidents")


def incident_id(finding: Finding) -> str:
    """Return the id of the incident workflow that a finding belongs to."""
    return f"incident/{finding.subject.path}"
