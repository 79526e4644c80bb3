"""The inline policies that deny, under names of our own, so that nobody else's is overwritten.

One policy a lease, however many incidents hold it: a later one moves the cut-off on, or finds all
of it so already. Two leases never share a document, since IAM has neither a version to compare nor
a read that surely sees the last write: whoever wrote last would wipe the other's statement away.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Any

from activities.aws import _identity
from activities.aws._identity import Owner
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Change, Check

OLDER_SESSIONS = "FiredoorRevokeOlderSessions"
EVERYTHING = "FiredoorDenyAll"

QUOTA = {"User": 2_048, "Role": 10_240}
"""Characters that all inline policies of one may have together, white space not counted.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

POLICY = "inline policy "
"""What the attributes of changes begin with that are about one."""

TIME = "%Y-%m-%dT%H:%M:%SZ"


class Denial(Enum):
    """How much is denied to a principal."""

    NOTHING = "nothing"
    OLDER = "older sessions"
    ALL = "everything"


def older_sessions(cutoff: datetime) -> dict[str, Any]:
    """Deny everything to sessions that began before an instant.

    `DateLessThan` without IfExists: long-lived keys carry no `aws:TokenIssueTime`, and are turned
    off for themselves.
    """
    until = {"aws:TokenIssueTime": instant(cutoff)}
    return _deny("FiredoorRevokeOlderSessions", {"DateLessThan": until})


def everything() -> dict[str, Any]:
    """Deny everything, whatever it is asked with."""
    return _deny("FiredoorDenyAll")


def one_instance(arn: str) -> dict[str, Any]:
    """Deny everything to the credentials that an instance hands out, wherever they are used."""
    return _deny("FiredoorDenyInstance", {"ArnEquals": {"ec2:SourceInstanceARN": arn}})


def one_function(arn: str) -> dict[str, Any]:
    """Deny everything to the credentials that a function was given, by its ARN without version.

    https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html
    """
    return _deny("FiredoorDenyFunction", {"ArnEquals": {"lambda:SourceFunctionArn": arn}})


def name_for_instance(instance: str) -> str:
    """Return the name of the policy that denies one instance."""
    return f"FiredoorDenyInstance-{instance}"


def name_for_function(arn: str) -> str:
    """Return the name of the policy that denies one function; roles are the same in all regions."""
    _, _, _, region, _, _, name = arn.split(":")
    return f"FiredoorDenyFunction-{region}-{name}"


def cutoff(document: Any) -> datetime | None:
    """Return the instant of a policy that `older_sessions` made; None if it is of other making."""
    try:
        condition = document["Statement"][0]["Condition"]["DateLessThan"]
        at = datetime.strptime(condition["aws:TokenIssueTime"], TIME).replace(tzinfo=UTC)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return at if document == older_sessions(at) else None


def in_force(documents: Mapping[str, Any]) -> tuple[Denial, datetime | None]:
    """Return how much policies of ours deny, and before which instant sessions must have begun."""
    if documents.get(EVERYTHING) == everything():
        return Denial.ALL, None
    before = cutoff(documents.get(OLDER_SESSIONS))
    return (Denial.OLDER, before) if before else (Denial.NOTHING, None)


def covers(existing: Any, wanted: Any) -> bool:
    """Say whether a policy that is there denies as much as the wanted one, or more."""
    there, needed = cutoff(existing), cutoff(wanted)
    return bool(existing == wanted or (there and needed and there >= needed))


def existing(
    aws: Aws, owner: Owner, name: str, wanted: Iterable[str] = ()
) -> tuple[dict[str, Any], list[Check]]:
    """Read the inline policies of one by name, and say if they are not all.

    Where they may not be listed, those are read that matter here: ours, and those `wanted`.
    """
    listed = _identity.if_allowed(partial(_identity.inline_policies, aws, owner, name))
    if listed is not None:
        return listed, []
    names = sorted({*wanted, OLDER_SESSIONS, EVERYTHING})
    reads = (partial(_identity.inline_policy, aws, owner, name, policy) for policy in names)
    documents = aws.together(*reads)
    told = "the other inline policies may not be read; IAM refuses what is too much"
    return (
        {n: document for n, document in zip(names, documents, strict=True) if document},
        [Check(name="room for the policy", ok=False, detail=told)],
    )


def changes(
    label: str, wanted: Mapping[str, Any], existing: Mapping[str, Any]
) -> tuple[Change, ...]:
    """Return what is to be put for the wanted documents that do not hold yet, by name."""
    return tuple(
        Change(
            resource=label, attribute=f"{POLICY}{name}", before=existing.get(name), after=document
        )
        for name, document in wanted.items()
        if not covers(existing.get(name), document)
    )


def refusals(
    aws: Aws,
    owner: Owner,
    changed: tuple[Change, ...],
    existing: Mapping[str, Any],
    *,
    instead: str,
) -> tuple[str, ...]:
    """Return why changes cannot be made: a policy of other making, or the quota."""
    found = [
        f"{change.attribute} of {change.resource} is not as Firedoor makes it: review it and"
        " remove it by hand"
        for change in changed
        if change.before is not None and cutoff(change.before) is None
    ]
    if why := overflow(aws, owner, changed, existing):
        found.append(f"{why}: {instead}")
    return tuple(found)


def overflow(
    aws: Aws, owner: Owner, changed: tuple[Change, ...], existing: Mapping[str, Any]
) -> str:
    """Return why there is no room for changed policies; nothing if there is."""
    after = {**existing, **{name_in(c): c.after for c in changed}}
    used, limit = sum(len(text(document)) for document in after.values()), QUOTA[owner]
    if changed and used > (limit := quota(aws, f"{owner}PolicySizeQuota", limit)):
        return (
            f"the inline policies of {changed[0].resource} would have {used} characters, {limit}"
            " are allowed"
        )
    return ""


def quota(aws: Aws, name: str, usual: int) -> int:
    """Read a quota of the account by its name in IAM's summary; the usual one if we may not."""
    read = aws.client("iam").get_account_summary
    summary = _identity.if_allowed(lambda: read()["SummaryMap"]) or {}
    return int(summary.get(name, usual))


def name_in(change: Change) -> str:
    """Return the name of the policy that a change is about."""
    return change.attribute.removeprefix(POLICY)


def text(document: Any) -> str:
    """Return a document as it is sent."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def instant(at: datetime) -> str:
    """Return an instant as policies have it: in UTC, whatever zone it is told in."""
    return at.astimezone(UTC).strftime(TIME)


def _deny(sid: str, condition: dict[str, Any] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Deny", "Action": "*", "Resource": "*"}
    if condition:
        statement["Condition"] = condition
    return {"Version": "2012-10-17", "Statement": [statement]}
