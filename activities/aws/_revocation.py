"""What a revocation is made of: what may be set, the calls of each change, and the state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pydantic import AwareDatetime, Field, JsonValue

from activities.aws import _clusters, _denials, _identity, _identity_center, _roles, _users
from activities.aws._identity_center import IdentityCenter
from activities.aws._reading import or_none
from activities.aws._residual import Denied
from activities.aws._users import Held
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.model.base import Model
from firedoor.model.finding import Kind, Resource
from firedoor.model.plan import Call, Change, Check, Plan, Target

ID = "aws.revoke_credentials"

# Services whose operations go by another name in policies.
PREFIXES = {"sso-admin": "sso"}

MFA_LOST = "cannot be enrolled again by us: only who has the device can"

OWNER, ASSOCIATION = "owner", "association"
HANDED, SESSION = "handed", "session"
"""What a plan keeps beside its changes: whose credentials these are; which association a profile
has; and, where a role is denied to one only, what that one is handed, and its session's name."""

READS = (
    "cloudtrail:LookupEvents",
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    *_clusters.PERMISSIONS,
    "iam:GetAccessKeyLastUsed",
    "iam:GetInstanceProfile",
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
    "lambda:GetFunctionConfiguration",
    "sso:DescribePermissionSet",
    "sso:DescribePermissionSetProvisioningStatus",
    "sso:GetInlinePolicyForPermissionSet",
    "sso:ListAccountAssignmentsForPrincipal",
    "sso:ListPermissionSetProvisioningStatus",
)
"""The permissions that it takes to see what a plan is about."""


class Params(Model):
    """What a runbook may set."""

    deny_all: bool | None = Field(
        default=None,
        description="deny everything, new sessions and sign-ins too, not only what sessions do that"
        " began before; if it is not said, a user is denied everything and a role is not",
    )
    rotate: bool = Field(
        default=False,
        description="leave the credentials inactive on release: the user gets new ones",
    )
    margin: timedelta = Field(
        default=timedelta(0),
        ge=timedelta(0),
        le=timedelta(hours=12),
        description="end sessions too that begin up to so long after planning, while people decide",
    )
    enrolled_since: AwareDatetime | None = Field(
        default=None,
        description="deactivate the MFA devices of a user that were enrolled at this instant or"
        " later, which is that of the finding's first activity; we cannot enrol them again",
    )
    profile: str = Field(
        default="keep",
        pattern=r"^[\w+=,.@-]{1,128}$",
        description="of an instance: keep its profile, remove it, or put the one of this name in"
        " its place",
    )
    narrow_trust: bool = Field(
        default=False, description="of a role: let no new session begin, as its trust is abused"
    )
    access_keys: tuple[str, ...] = Field(
        default=(),
        description="ids of access keys that were used, by which a user is found that was renamed"
        " or is not known",
    )
    trusted: tuple[str, ...] = Field(
        default=(), description="ARNs, with wildcards, that may use a role all the same"
    )
    identity_center: IdentityCenter | None = Field(
        default=None, description="for roles of IAM Identity Center, which only it can change"
    )


@dataclass(frozen=True)
class Sight:
    """All that was read about the changes of a plan, and about who has the credentials."""

    owner: Mapping[str, Any] | None
    state: State
    documents: Mapping[str, Any]
    held: Held | None = None
    association: dict[str, Any] | None = None
    runs_as: str = ""  # the role of the one instance or function that a plan is about
    renamed: str = ""  # what a user is called by now


def made(
    target: Target,
    params: Params,
    changes: tuple[Change, ...],
    *,
    lease: str,
    summary: str,
    **members: Any,
) -> Plan:
    """Return a plan with the calls of its changes, and those that take them back."""
    plan = Plan(
        action=ID,
        target=target,
        lease=lease,
        params=params.model_dump(mode="json"),
        summary=summary if changes else "Nothing to revoke: all of it is so already.",
        changes=changes,
        **members,
    )
    stay = [c for c in changes if params.rotate and c.attribute in _users.BY_ATTRIBUTE]
    back = provisioning_last([c for c in changes[::-1] if c not in stay])
    forth = [call for c in changes for call in calls(plan, c, c.after)]
    return plan.model_copy(
        update={
            "calls": tuple(forth),
            "undo": tuple(call for c in back for call in calls(plan, c, c.before)),
            "lost": (
                *(f"{c.resource} stays inactive after release, to be rotated" for c in stay),
                *(f"{c.resource} {MFA_LOST}" for c in changes if c.attribute == _users.MFA),
                *(plan.lost),
            ),
        }
    )


def refused(target: Target, params: Params, why: str, tasks: Sequence[str] = ()) -> Plan:
    """Return the plan of what must not or cannot be done, with what people are to do instead."""
    id = target.subject.id
    plan = made(target, params, (), lease=id, summary="", tasks=tuple(tasks))
    return plan.model_copy(
        update={"summary": f"The credentials of {id} cannot be revoked.", "refusals": (why,)}
    )


def gone(target: Target, params: Params, why: str) -> Plan:
    """Return the plan for what does not exist."""
    return refused(target, params, why).model_copy(update={"gone": True})


def provisioning_last(changes: Sequence[Change]) -> list[Change]:
    """Return changes with the provisioning last: it carries out what a permission set says then."""
    last = _identity_center.PROVISIONED
    return sorted(changes, key=lambda change: change.attribute == last)


def with_may(plan: Plan, aws: Aws, **arns: str) -> Plan:
    """Return a plan with the answer to whether we may make its calls, by service and resource."""
    wanted = {
        service: sorted({_permission(c) for c in (*plan.calls, *plan.undo) if c.service == service})
        for service in arns
    }
    if arns.get("ec2") and wanted["ec2"]:
        wanted["iam"] = sorted({*wanted["iam"], "iam:PassRole"})  # to put the old profile back
    asked = [(actions, arns[service]) for service, actions in wanted.items() if actions]
    checks: list[Check] = aws.together(*(partial(_identity.may, aws, *one) for one in asked))
    return plan.model_copy(update={"preflight": (*checks, *plan.preflight)})


def wanted(target: Target, params: Params, denies_all: bool) -> dict[str, Any]:
    """Return the policies that are to be there, by name."""
    if denies_all:
        return {_denials.EVERYTHING: _denials.everything()}
    return {_denials.OLDER_SESSIONS: _denials.older_sessions(target.at + params.margin)}


def denied(existing: Mapping[str, Any], changes: Iterable[Change], now: datetime) -> Denied:
    """Return what will be denied once the changes of policies are made."""
    after = {
        _denials.name_in(c): c.after for c in changes if c.attribute.startswith(_denials.POLICY)
    }
    return Denied(*_denials.in_force({**existing, **after}), now)


def ended(target: Target, params: Params, denies_all: bool) -> str:
    """Say what ends."""
    if denies_all:
        return "everything is denied, in old and new sessions"
    cutoff = _denials.instant(target.at + params.margin)
    return f"sessions begun before {cutoff} end, and later ones do not"


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
        case _roles.TRUST:
            return (_roles.trust_call(name, value),)
        case _roles.PROFILE:
            there, back = _roles.profile_calls(change, str(plan.before[ASSOCIATION]))
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
        partial(_runs_as, plan, aws),
        *(partial(_identity.inline_policy, aws, owner, name, policy) for policy in names),
    ]
    found, held, association, center, runs_as, *texts = aws.together(*reads)
    documents = {n: text for n, text in zip(names, texts, strict=True) if text is not None}
    state: dict[tuple[str, str], JsonValue] = {
        (c.resource, c.attribute): documents.get(_denials.name_in(c)) for c in inline
    }
    state |= center
    state |= held.state if held else {}
    for change in plan.changes:
        if change.attribute == _roles.TRUST and found:
            now = _roles.trust_as_planned(_roles.trust(found), change)
            state[change.resource, change.attribute] = now
        if change.attribute == _roles.PROFILE:
            state |= _roles.profile_state(change.resource, association, aws)
    renamed = _renamed(plan, aws) if owner == "User" and found is None else ""
    return Sight(found, state, documents, held, association, runs_as, renamed)


def _permission(call: Call) -> str:
    return f"{PREFIXES.get(call.service, call.service)}:{call.operation}"


def _policy(owner: _identity.Owner, name: str, policy: str, value: JsonValue) -> Call:
    own: dict[str, JsonValue] = {f"{owner}Name": name, "PolicyName": policy}
    if value is None:
        return Call(service="iam", operation=f"Delete{owner}Policy", parameters=own)
    own["PolicyDocument"] = _denials.text(value)
    return Call(service="iam", operation=f"Put{owner}Policy", parameters=own)


def _owner(owner: _identity.Owner, name: str, aws: Aws) -> dict[str, Any] | None:
    if owner == "Role":
        return _roles.role(name, aws)
    found = or_none(partial(aws.client("iam").get_user, UserName=name))
    return dict(found["User"]) if found else None


def _renamed(plan: Plan, aws: Aws) -> str:
    """Return what a user is called by now, by the keys that a plan knows; nothing if it is gone."""
    turned = [c.resource for c in plan.changes if c.attribute == _users.KEY.attribute]
    asked = Params.model_validate(plan.params).access_keys
    return _users.of_keys(dict.fromkeys((*turned, *asked)), aws) or ""


def _held(owner: _identity.Owner, name: str, aws: Aws) -> Held | None:
    return or_none(partial(_users.held, name, aws)) if owner == "User" else None


def _runs_as(plan: Plan, aws: Aws) -> str:
    """Return the role that the one has now which a plan is about; nothing if it has none by now.

    A plan that takes its profile off, or exchanges it, shows that for itself.
    """
    if HANDED not in plan.before or ASSOCIATION in plan.before:
        return ""
    of_function = isinstance(one := plan.target.subject, Resource) and one.kind is Kind.FUNCTION
    read = _roles.name_for_function if of_function else _roles.name_for_instance
    return _identity.if_allowed(partial(read, str(plan.before[SESSION]), aws)) or ""


def _association(plan: Plan, aws: Aws) -> dict[str, Any] | None:
    for change in plan.changes:
        if change.attribute == _roles.PROFILE:
            return _roles.association(change.resource, aws)
    return None
