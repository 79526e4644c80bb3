"""The context of a subject: what AWS says of it now, and what the logs say of its past."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from activities.aws import _context, _facts, _history
from activities.aws._history import Lookup
from activities.aws._reading import counted
from firedoor import evidence
from firedoor.action import Action, Permissions, proof, receipt
from firedoor.cloud.aws import Aws
from firedoor.model.action import Nature
from firedoor.model.base import Model, UtcDatetime
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Kind
from firedoor.model.plan import Check, Plan, Proof, Receipt, Target, Verdict

EVENTS_HOURS = 90 * 24

PARTS = 50
"""Parts in which the past is captured: what is not read by then is named as missing."""


class Params(Model):
    """What a runbook may set."""

    hours: int = Field(
        default=EVENTS_HOURS,
        ge=1,
        le=EVENTS_HOURS,
        description="how far back CloudTrail events are captured; its history has 90 days",
    )
    access_keys: tuple[str, ...] = Field(
        default=(), description="ids of keys whose events are captured too; $access_keys"
    )
    flow_hours: int = Field(
        default=3, ge=1, le=72, description="how far back the flows of an instance are captured"
    )
    since: UtcDatetime | None = Field(
        default=None, description="when it began, if flows are to go back from then; $first_seen"
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:  # noqa: ARG001 - nothing is read yet
    """Keep a document of what AWS says of the subject and around it, before anything is changed."""
    return (
        Plan(
            action="aws.capture_context",
            target=target,
            lease=target.subject.id,
            params=params.model_dump(mode="json"),
            summary=(
                f"Capture what AWS says of {target.subject.kind} {target.subject.id},"
                f" with its events of the last {_said(params.hours)}."
            ),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Read everything side by side and store it, unless that was done before.

    At first only what is so now, as containment changes that, and waits for it; when called again,
    the past, part by part. A read that is denied or that AWS does not offer here is stored as such
    and stops no other.
    """
    kept = evidence.recorded(plan.digest)
    if not kept:
        return receipt(plan, evidence=evidence.record(plan.digest, _present(plan, aws)))
    past = _past(plan)
    left = _left(past)
    if left or not past:
        number = len(past)
        past += evidence.record(_place(plan, number), [_history_of(plan, aws, number, left)])
    return receipt(plan, evidence=(*kept, *past))


def verify(plan: Plan, aws: Aws) -> Proof:  # noqa: ARG001 - the store is asked, not AWS
    """Read the stored documents back, compare their hashes, and name what could not be captured."""
    present, past = evidence.recorded(plan.digest), _past(plan)
    if not present:
        missing = Check(name="context", ok=False, detail="nothing was stored")
        return proof(plan, [missing], verdict=Verdict.UNPROVEN)
    goes_on = not past or bool(_left(past))
    # All parts may be large, and are read back once.
    read = [evidence.checked(entry) for entry in (*present, *(() if goes_on else past))]
    checks = [check for _, check in read]
    proven = all(check.ok for check in checks)
    if proven:
        documents = [json.loads(read[0][0]), *(json.loads(it) for it, _ in read[len(present) :])]
        proven = bool(documents[0]["captured"])
        if not any(documents[0]["captured"].values()):
            said = f"{plan.target.subject.id} does not exist any more: only its past is captured"
            checks.append(Check(name="subject", ok=False, detail=said))
        # Gaps do not make what was captured less true, but everybody must see them.
        checks += [
            Check(name=name, ok=False, detail=f"not captured: {reason}")
            for document in documents
            for name, reason in document["not captured"].items()
        ]
        checks += [check for entry in (*present, *past) for check in _locked(entry)]
    verdict = Verdict.PROVEN if proven else Verdict.UNPROVEN
    if proven and goes_on:
        verdict = Verdict.PENDING
        detail = "earlier events come next" if past else "events and flows come next"
        checks.append(Check(name="history", ok=False, detail=detail))
    return proof(plan, checks, verdict=verdict, evidence=(*present, *past))


ACTION = Action(
    nature=Nature.EVIDENCE,
    kinds=frozenset(Kind),
    plan=plan,
    apply=apply,
    verify=verify,
    params=Params,
    permissions=Permissions(
        plan=(), apply=tuple(sorted({*_context.PERMISSIONS, *_history.PERMISSIONS}))
    ),
    techniques=("T1078.004", "T1098", "T1530", "T1552.005", "T1578"),
    countermeasures=("D3-AI", "D3-CI"),
    function="RS.AN",
)


def _said(hours: int) -> str:
    return f"{hours} h" if hours % 24 else counted(hours // 24, "day")


def _past(plan: Plan) -> tuple[Evidence, ...]:
    """Return what was preserved of the past, part by part."""
    found: tuple[Evidence, ...] = ()
    while part := evidence.recorded(_place(plan, len(found))):
        found += part
    return found


def _place(plan: Plan, number: int) -> str:
    """Return under what the evidence of a part of the past is written down."""
    return f"{plan.digest}-history-{number}"


def _left(past: Sequence[Evidence]) -> tuple[Lookup, ...]:
    """Return which events the last part of the past left to the next one."""
    if not past:
        return ()
    content, check = evidence.checked(past[-1])
    left = json.loads(content)["goes on"] if check.ok else ()
    return tuple(Lookup.model_validate(one) for one in left)


def _present(plan: Plan, aws: Aws) -> list[Evidence]:
    at = datetime.now(UTC)
    captured, missing = _context.capture(plan.target.subject, aws)
    kept = []
    if shot := captured.get(_facts.SCREENSHOT):
        kept.append(_keep(plan, "console.jpg", base64.b64decode(shot["ImageData"]), at))
        captured = {**captured, _facts.SCREENSHOT: kept[0].model_dump(mode="json")}
    document = _document(plan, captured, missing, at, aws)
    return [_keep(plan, "context.json", document, at), *kept]


def _history_of(plan: Plan, aws: Aws, number: int, left: Sequence[Lookup]) -> Evidence:
    params, at = Params.model_validate(plan.params), datetime.now(UTC)
    began = min(plan.target.at, params.since or plan.target.at)
    past = _history.Past(
        events=plan.target.at - timedelta(hours=params.hours),
        flows=began - timedelta(hours=params.flow_hours),
        until=at,
        keys=params.access_keys,
    )
    subject = plan.target.subject
    found = _history.go_on(left, aws, past) if left else _history.capture(subject, aws, past)
    goes_on = found.left if number + 1 < PARTS else ()
    missing = found.missing | ({} if goes_on else _history.cut_off(found.left))
    document = _document(plan, found.captured, missing, at, aws, goes_on)
    return _keep(plan, f"history-{number}.json" if number else "history.json", document, at)


def _document(
    plan: Plan,
    captured: Mapping[str, Any],
    missing: Mapping[str, str],
    at: datetime,
    aws: Aws,
    left: Sequence[Lookup] = (),
) -> bytes:
    return _context.canonical(
        {
            "incident": plan.target.incident,
            "step": plan.target.step,
            "plan": plan.digest,
            "subject": plan.target.subject.model_dump(mode="json"),
            "region": aws.region,
            "taken_at": at,
            "taken_by": aws.identity,
            "captured": captured,
            "not captured": missing,
            "goes on": [one.model_dump(mode="json") for one in left],
        }
    )


def _keep(plan: Plan, what: str, content: bytes, at: datetime) -> Evidence:
    subject = re.sub(r"[^A-Za-z0-9._-]+", "-", plan.target.subject.id)[-100:]
    return evidence.keep(content, f"{subject}-{what}", at)


def _locked(entry: Evidence) -> list[Check]:
    """Say whether a document in a bucket can be altered there; a directory locks nothing."""
    if not entry.uri.startswith("s3://"):
        return []
    held = evidence.lock(entry.uri)
    detail = held or "it can be altered and deleted: its bucket has no Object Lock, or we no right"
    return [Check(name=f"Object Lock of {entry.name}", ok=held is not None, detail=detail)]
