"""The context of a subject: what AWS says of it and around it, kept before anything is changed."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from activities.aws import _context, _facts
from firedoor import evidence
from firedoor.action import Action, Permissions, proof, receipt
from firedoor.cloud.aws import Aws
from firedoor.errors import FiredoorError
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Kind
from firedoor.model.plan import Check, Plan, Proof, Receipt, Target, Verdict


class Params(Model):
    """What a runbook may set."""

    hours: int = Field(
        default=24, ge=1, le=90 * 24, description="how far back CloudTrail events are captured"
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
                f" with its events of the last {params.hours} h."
            ),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Read everything side by side and store it, unless that was done before.

    A read that is denied or that AWS does not offer here is stored as such and stops no other.
    """
    at = datetime.now(UTC)
    kept = evidence.recorded(plan.digest)
    if not kept:
        since = plan.target.at - timedelta(hours=Params.model_validate(plan.params).hours)
        captured, missing = _context.capture(plan.target.subject, aws, since, at)
        kept = evidence.record(plan.digest, _keep(plan, captured, missing, at, aws))
    return receipt(plan, evidence=kept)


def verify(plan: Plan, aws: Aws) -> Proof:  # noqa: ARG001 - the store is asked, not AWS
    """Read the stored documents back, compare their hashes, and name what could not be captured."""
    kept = evidence.recorded(plan.digest)
    checks = [_stored(entry) for entry in kept] or [
        Check(name="context", ok=False, detail="nothing was stored")
    ]
    proven = all(check.ok for check in checks)
    if proven:
        document = json.loads(evidence.fetch(kept[0].uri))
        proven = bool(document["captured"])
        # Gaps do not make what was captured less true, but everybody must see them.
        checks += [
            Check(name=name, ok=False, detail=f"not captured: {reason}")
            for name, reason in document["not captured"].items()
        ]
    return proof(plan, checks, verdict=Verdict.PROVEN if proven else Verdict.UNPROVEN)


ACTION = Action(
    nature=Nature.EVIDENCE,
    kinds=frozenset(Kind),
    plan=plan,
    apply=apply,
    verify=verify,
    params=Params,
    permissions=Permissions(plan=(), apply=_context.PERMISSIONS),
    techniques=("T1078.004", "T1098", "T1530", "T1552.005", "T1578"),
    countermeasures=("D3-AI", "D3-CI"),
    function="RS.AN",
)


def _keep(
    plan: Plan,
    captured: Mapping[str, Any],
    missing: Mapping[str, str],
    at: datetime,
    aws: Aws,
) -> list[Evidence]:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plan.target.subject.id)[-100:]
    kept = []
    if shot := captured.get(_facts.SCREENSHOT):
        kept.append(evidence.keep(base64.b64decode(shot["ImageData"]), f"{name}-console.jpg", at))
        captured = {**captured, _facts.SCREENSHOT: kept[0].model_dump(mode="json")}
    document = {
        "incident": plan.target.incident,
        "step": plan.target.step,
        "plan": plan.digest,
        "subject": plan.target.subject.model_dump(mode="json"),
        "region": aws.region,
        "taken_at": at,
        "taken_by": aws.identity,
        "captured": captured,
        "not captured": missing,
    }
    return [evidence.keep(_context.canonical(document), f"{name}-context.json", at), *kept]


def _stored(entry: Evidence) -> Check:
    try:
        content = evidence.fetch(entry.uri)
    except FiredoorError as error:
        return Check(name=entry.name, ok=False, detail=str(error))
    same = hashlib.sha256(content).hexdigest() == entry.sha256
    return Check(name=entry.name, ok=same, detail=entry.uri if same else f"{entry.uri} was altered")
