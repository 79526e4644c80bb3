"""The inline policies that deny, under names of our own, so that nobody else's is overwritten."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from activities.aws._identity import Owner
from firedoor.model.plan import Change

OLDER_SESSIONS = "FiredoorRevokeOlderSessions"
EVERYTHING = "FiredoorDenyAll"

QUOTA = {"User": 2_048, "Role": 10_240}
"""Characters that all inline policies of one may have together, white space not counted.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

POLICY = "inline policy "
"""What the attributes of changes begin with that are about one."""

TIME = "%Y-%m-%dT%H:%M:%SZ"


def older_sessions(cutoff: datetime) -> dict[str, Any]:
    """Deny everything to sessions that began before an instant.

    `DateLessThan` without IfExists: long-lived keys carry no `aws:TokenIssueTime`, and are turned
    off for themselves.
    """
    until = {"aws:TokenIssueTime": cutoff.astimezone(UTC).strftime(TIME)}
    return _deny("FiredoorRevokeOlderSessions", {"DateLessThan": until})


def everything() -> dict[str, Any]:
    """Deny everything, whatever it is asked with."""
    return _deny("FiredoorDenyAll")


def one_instance(arn: str) -> dict[str, Any]:
    """Deny everything to the credentials that an instance hands out, wherever they are used."""
    return _deny("FiredoorDenyInstance", {"ArnEquals": {"ec2:SourceInstanceARN": arn}})


def name_for_instance(instance: str) -> str:
    """Return the name of the policy that denies one instance."""
    return f"FiredoorDenyInstance-{instance}"


def cutoff(document: Any) -> datetime | None:
    """Return the instant of a policy that `older_sessions` made; None if it is of other making."""
    try:
        condition = document["Statement"][0]["Condition"]["DateLessThan"]
        instant = datetime.strptime(condition["aws:TokenIssueTime"], TIME).replace(tzinfo=UTC)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return instant if document == older_sessions(instant) else None


def covers(existing: Any, wanted: Any) -> bool:
    """Say whether a policy that is there denies as much as the wanted one, or more."""
    there, needed = cutoff(existing), cutoff(wanted)
    return bool(existing == wanted or (there and needed and there >= needed))


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
    owner: Owner, changed: tuple[Change, ...], existing: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return why changes cannot be made: a policy of other making, or the quota."""
    found = [
        f"{change.attribute} of {change.resource} is not as Firedoor makes it: review it and"
        " remove it by hand"
        for change in changed
        if change.before is not None and cutoff(change.before) is None
    ]
    after = {**existing, **{name_in(c): c.after for c in changed}}
    used, quota = size(after.values()), QUOTA[owner]
    if changed and used > quota:
        found.append(
            f"the inline policies of {changed[0].resource} would have {used} characters, {quota}"
            " are allowed: make one of them a managed policy, or attach AWSDenyAll by hand"
        )
    return tuple(found)


def name_in(change: Change) -> str:
    """Return the name of the policy that a change is about."""
    return change.attribute.removeprefix(POLICY)


def size(documents: Iterable[Any]) -> int:
    """Return how many characters of the quota the documents use, rather too many than too few."""
    return sum(len(text(document)) for document in documents)


def text(document: Any) -> str:
    """Return a document as it is sent."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _deny(sid: str, condition: dict[str, Any] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Deny", "Action": "*", "Resource": "*"}
    if condition:
        statement["Condition"] = condition
    return {"Version": "2012-10-17", "Statement": [statement]}
