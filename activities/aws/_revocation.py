"""What a revocation is made of: the call that makes each change, and the state that it is about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _denials, _identity, _identity_center, _profiles, _trust, _users
from activities.aws._reading import or_none
from activities.aws._users import Held
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Call, Change, Plan

OWNER = "owner"
ASSOCIATION = "association"
HANDED = "handed"
SESSION = "session"
"""What a plan keeps beside its changes: whose credentials these are; which association a profile
has; and, where a role is denied to one only, what that one is handed, and its session's name."""

READS = (
    "cloudtrail:LookupEvents",
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "iam:GetLoginProfile",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:GetUser",
    "iam:GetUserPolicy",
    "iam:ListAccessKeys",
    "iam:ListInstanceProfilesForRole",
    "iam:ListMFADevices",
    "iam:ListSSHPublicKeys",
    "iam:ListServiceSpecificCredentials",
    "iam:ListSigningCertificates",
    "sso:DescribePermissionSetProvisioningStatus",
    "sso:GetInlinePolicyForPermissionSet",
    "sso:ListPermissionSetProvisioningStatus",
)
"""The permissions that it takes to see what a plan is about."""


@dataclass(frozen=True)
class Sight:
    """All that was read about the changes of a plan, and about who has the credentials."""

    owner: Mapping[str, Any] | None
    state: State
    documents: Mapping[str, Any]
    held: Held | None = None
    association: dict[str, Any] | None = None


def split(label: str) -> tuple[_identity.Owner, str]:
    """Return what `user/alice` or `role/app` names, as IAM's operations spell it."""
    kind, _, name = label.partition("/")
    return ("User" if kind == "user" else "Role"), name


def owner_of(plan: Plan) -> tuple[_identity.Owner, str]:
    """Return whose credentials a plan is about."""
    return split(str(plan.before[OWNER]))


def calls(plan: Plan, change: Change, value: JsonValue) -> tuple[Call, ...]:
    """Return the call that sets what a change is about to a value; none if there is no such."""
    owner, name = owner_of(plan)
    match change.attribute:
        case attribute if attribute == _users.MFA or attribute in _users.BY_ATTRIBUTE:
            return _users.calls(name, change, value)
        case _trust.TRUST:
            return (_trust.call(name, value),)
        case _profiles.PROFILE:
            there, back = _profiles.calls(change, str(plan.before[ASSOCIATION]))
            return (there if value == change.after else back,)
        case _identity_center.POLICY | _identity_center.PROVISIONED:
            return (_identity_center.call(plan, change, value),)
        case _:
            return (_policy(owner, name, _denials.name_in(change), value),)


def see(plan: Plan, aws: Aws) -> Sight:
    """Read what the changes of a plan are about, and all that its proof tells of."""
    owner, name = owner_of(plan)
    inline = [c for c in plan.changes if c.attribute.startswith(_denials.POLICY)]
    names = list(
        dict.fromkeys(
            [*map(_denials.name_in, inline), _denials.OLDER_SESSIONS, _denials.EVERYTHING]
        )
    )
    reads: list[Callable[[], Any]] = [
        partial(_owner, owner, name, aws),
        partial(_held, owner, name, aws),
        partial(_association, plan, aws),
        partial(_identity_center.state, plan, aws),
        *(partial(_identity.inline_policy, aws, owner, name, policy) for policy in names),
    ]
    found, held, association, center, *texts = aws.together(*reads)
    documents = {n: text for n, text in zip(names, texts, strict=True) if text is not None}
    state: dict[tuple[str, str], JsonValue] = {
        (c.resource, c.attribute): documents.get(_denials.name_in(c)) for c in inline
    }
    state |= center
    state |= held.state if held else {}
    for change in plan.changes:
        if change.attribute == _trust.TRUST and found:
            now = _trust.as_planned(_trust.text(found), change)
            state[change.resource, change.attribute] = now
        if change.attribute == _profiles.PROFILE:
            state |= _profiles.state(change.resource, association, aws)
    return Sight(found, state, documents, held, association)


def _policy(owner: _identity.Owner, name: str, policy: str, value: JsonValue) -> Call:
    own: dict[str, JsonValue] = {f"{owner}Name": name, "PolicyName": policy}
    if value is None:
        return Call(service="iam", operation=f"Delete{owner}Policy", parameters=own)
    own["PolicyDocument"] = _denials.text(value)
    return Call(service="iam", operation=f"Put{owner}Policy", parameters=own)


def _owner(owner: _identity.Owner, name: str, aws: Aws) -> dict[str, Any] | None:
    if owner == "Role":
        return _trust.role(name, aws)
    found = or_none(partial(aws.client("iam").get_user, UserName=name))
    return dict(found["User"]) if found else None


def _held(owner: _identity.Owner, name: str, aws: Aws) -> Held | None:
    return or_none(partial(_users.held, name, aws)) if owner == "User" else None


def _association(plan: Plan, aws: Aws) -> dict[str, Any] | None:
    for change in plan.changes:
        if change.attribute == _profiles.PROFILE:
            return _profiles.association(change.resource, aws)
    return None
