"""Trust policies of roles: narrowed by one statement of ours, and put back byte for byte."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from pydantic import JsonValue

from activities.aws import _denials
from activities.aws._reading import or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied
from firedoor.model.plan import Call, Change

TRUST = "trust policy"
"""The attribute of changes that are about one."""

SID = "FiredoorDenyNewSessions"

QUOTA = 2_048
"""Characters that a trust policy may have, white space not counted.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

# A wildcard is refused here: a trust policy may name no actions but those of STS.
BEGIN = ["sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity"]

# What IAM shows in place of the ARN of a principal that was deleted, and does not accept itself.
DELETED = ("AIDA", "AROA", "AGPA")

_RAW = "FiredoorText"


def role(name: str, aws: Aws) -> dict[str, Any] | None:
    """Read a role, its trust policy letter for letter; None if it does not exist.

    The SDK hands out parsed documents, whose white space is gone.
    """
    iam = aws.client("iam")
    iam.meta.events.register_first("after-call.iam.GetRole", _keep_text, unique_id=_RAW)
    found = or_none(partial(iam.get_role, RoleName=name))
    return dict(found["Role"]) if found else None


def text(role: Mapping[str, Any]) -> str:
    """Return the trust policy of a role that `role` read, letter for letter."""
    return str(role[_RAW])


def change(label: str, document: str, trusted: tuple[str, ...]) -> tuple[Change, ...]:
    """Return the change that lets no new session begin, but for those of trusted principals."""
    narrowed = _narrowed(document, trusted)
    if same(document, narrowed):
        return ()
    return (Change(resource=label, attribute=TRUST, before=document, after=narrowed),)


def refusals(changed: tuple[Change, ...], aws: Aws) -> tuple[str, ...]:
    """Return why a trust policy cannot be narrowed: AWS would not store it, or not the old one."""
    return tuple(why for one in changed for why in _refusals(one, aws))


def call(role: str, value: JsonValue) -> Call:
    """Return the call that writes a trust policy."""
    return Call(
        service="iam",
        operation="UpdateAssumeRolePolicy",
        parameters={"RoleName": role, "PolicyDocument": value},
    )


def as_planned(now: str | None, planned: Change) -> JsonValue:
    """Return the planned text that is there, for AWS may order principals anew; else what is."""
    for document in (planned.after, planned.before):
        if now is not None and same(now, str(document)):
            return document
    return now


def same(one: str, other: str) -> bool:
    """Say whether two policies mean the same, in whatever order their lists are."""
    return bool(_plain(json.loads(one)) == _plain(json.loads(other)))


def is_narrowed(document: str) -> bool:
    """Say whether a trust policy has a statement of ours."""
    return any(one.get("Sid") == SID for one in _statements(json.loads(document)))


def excepted(document: str) -> str:
    """Say whom a statement of ours still lets in."""
    ours = [one for one in _statements(json.loads(document)) if one.get("Sid") == SID]
    names = [n for one in ours for n in one.get("Condition", {}).get("ArnNotLike", {}).values()]
    return ", ".join(name for some in names for name in ([some] if isinstance(some, str) else some))


def trusted(document: str) -> str:
    """Say whom a trust policy lets in."""
    found = {
        f"{kind} {name}" if kind else str(name)
        for one in _statements(json.loads(document))
        if one["Effect"] == "Allow"
        for kind, name in _principals(one)
    }
    return ", ".join(sorted(found)) or "nobody"


def _narrowed(document: str, trusted: tuple[str, ...]) -> str:
    policy = json.loads(document)
    others = [one for one in _statements(policy) if one.get("Sid") != SID]
    deny: dict[str, Any] = {"Sid": SID, "Effect": "Deny", "Principal": "*", "Action": BEGIN}
    if trusted:
        # Services have no ARN, and what is missing is not like any: they are kept out, too.
        deny["Condition"] = {"ArnNotLike": {"aws:PrincipalArn": sorted(trusted)}}
    return _denials.text({**policy, "Statement": [*others, deny]})


def _refusals(changed: Change, aws: Aws) -> list[str]:
    before, after = str(changed.before), str(changed.after)
    found = []
    deleted = [
        str(name)
        for one in _statements(json.loads(before))
        for _, name in _principals(one)
        if str(name).startswith(DELETED)
    ]
    if deleted:
        found.append(
            f"the trust policy of {changed.resource} names principals that were deleted"
            f" ({', '.join(deleted)}), which AWS does not store again: take them out by hand, or"
            " deny everything (deny_all) instead of narrowing the trust"
        )
    used, limit = len("".join(after.split())), _quota(aws)
    if used > limit:
        found.append(
            f"the trust policy of {changed.resource} would have {used} characters, {limit} are"
            " allowed: deny everything (deny_all) instead of narrowing the trust"
        )
    return found


def _quota(aws: Aws) -> int:
    try:
        summary = aws.client("iam").get_account_summary()["SummaryMap"]
    except AccessDenied:
        return QUOTA
    return int(summary.get("AssumeRolePolicySizeQuota", QUOTA))


def _statements(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    statement = policy.get("Statement", [])
    return list(statement) if isinstance(statement, list) else [statement]


def _principals(statement: Mapping[str, Any]) -> list[tuple[str, Any]]:
    principal = statement.get("Principal", {})
    if not isinstance(principal, dict):
        return [("", principal)]
    return [
        (kind, name)
        for kind, names in principal.items()
        for name in (names if isinstance(names, list) else [names])
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        inner = sorted((_plain(one) for one in value), key=_denials.text)
        return inner[0] if len(inner) == 1 else inner
    return value


def _keep_text(parsed: Any, **_: Any) -> None:
    if "Role" in parsed:
        parsed["Role"][_RAW] = unquote(parsed["Role"]["AssumeRolePolicyDocument"])
