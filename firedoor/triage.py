"""Which steps a finding calls for, given the steps that were taken already."""

from collections.abc import Iterable

from firedoor.model.action import Nature
from firedoor.model.finding import GLOBAL, Finding, Kind, Principal, Resource
from firedoor.model.incident import MOVING, Arrival, Capability, StepRecord, StepState
from firedoor.model.runbook import Approval, Step, resolve

BY_HAND = "records.task"
"""What stands in for an action that the cloud of the finding lacks."""

# A step that came to rest in one of these is taken again when the activity goes on after it.
AGAIN = frozenset({StepState.DRIFTED, StepState.EXPIRED, StepState.FAILED, StepState.RELEASED})


def steps_for(arrival: Arrival, taken: tuple[StepRecord, ...]) -> tuple[StepRecord, ...]:
    """Return the new steps that an arrival calls for, in the runbook's order.

    The same effect on the same subjects with the same parameters is one step, whichever runbook
    asks for it and however often. Where this runbook waits for less evidence before it, that step
    is returned too, as one that is taken already and waits for less: harm that is done each minute
    does not wait because the first finding was milder.
    """
    finding, runbook, digest = arrival.finding, arrival.runbook, arrival.runbook.digest
    records = list(taken)
    keys: dict[str, str] = {}  # the runbook's step id to the record that stands for it
    for wanted in runbook.steps:
        capability = arrival.capabilities[wanted.id]
        step = _fitted(wanted, capability, finding)
        record = StepRecord(
            key=free_key(step.id, records),
            runbook=runbook.id,
            runbook_digest=digest,
            step=step,
            capability=capability,
            needs=tuple(keys[need] for need in step.needs),
            subjects=_subjects(step, finding),
            params=resolve(step.params, finding),
        )
        standing = next((r for r in reversed(records) if _same(r, record)), None)
        if standing is not None and not _due_again(standing, finding):
            keys[step.id] = standing.key
            records.extend(_hurried(standing, record, records))
            continue
        keys[step.id] = record.key
        records.append(record)
    return tuple(records[len(taken) :])


def _fitted(step: Step, capability: Capability, finding: Finding) -> Step:
    """Return a step, as a task for a person where its cloud has no action for it.

    Such tasks wait for nothing: who does them by hand sees what comes first.
    """
    if capability.action != BY_HAND or BY_HAND.endswith(f".{step.do}"):
        return step
    task = {
        "what": f"Do by hand what the step `{step.do}` is for",
        "how": f"Firedoor has no such action for {finding.cloud}.",
    }
    return step.model_copy(
        update={"do": "task", "params": task, "approval": Approval.ASK, "needs": ()}
    )


def _hurried(
    standing: StepRecord, wanted: StepRecord, records: Iterable[StepRecord]
) -> tuple[StepRecord, ...]:
    """Return a step that is on its way with the evidence left out that need not be waited for."""
    evidence = {r.key for r in records if r.capability.nature is Nature.EVIDENCE}
    needs = tuple(n for n in standing.needs if n not in evidence or n in wanted.needs)
    if standing.state not in MOVING or needs == standing.needs:
        return ()
    return (standing.model_copy(update={"needs": needs}),)


def _subjects(step: Step, finding: Finding) -> tuple[Resource | Principal, ...]:
    if step.on is None:
        return (finding.subject,)
    named = tuple(subject for subject in finding.subjects if subject.kind == step.on)
    if step.on is Kind.ACCOUNT and not named:
        return (_account(finding),)
    return named


def _account(finding: Finding) -> Resource:
    """Return the account of what a finding is about, which no detector names as a resource."""
    subject = finding.subject
    return Resource(
        cloud=subject.cloud,
        account=subject.account,
        region=GLOBAL,
        kind=Kind.ACCOUNT,
        id=subject.account,
    )


def _same(one: StepRecord, other: StepRecord) -> bool:
    return (one.capability.action, one.subjects, one.params) == (
        other.capability.action,
        other.subjects,
        other.params,
    )


def _due_again(record: StepRecord, finding: Finding) -> bool:
    return (
        record.state in AGAIN
        and record.ended_at is not None
        and finding.last_seen > record.ended_at
    )


def free_key(wanted: str, records: Iterable[StepRecord]) -> str:
    """Return the key that is wanted, with a number where it is taken."""
    used = {record.key for record in records}
    key, number = wanted, 2
    while key in used:
        key, number = f"{wanted}#{number}", number + 1
    return key
