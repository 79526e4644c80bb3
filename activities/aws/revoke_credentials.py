"""Revocation of what an IAM user, a role, or the role of one instance can prove itself with."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import Field, JsonValue

from activities.aws import _denials, _identity, _reading, _roles, _users
from activities.aws._reading import GONE, counted, or_none, tags, terminated
from firedoor.action import (
    Action,
    Permissions,
    State,
    outstanding,
    proof,
    receipt,
    restorable,
)
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind, Principal, PrincipalType, Resource
from firedoor.model.plan import Call, Change, Check, Plan, Proof, Receipt, Target, Touched, Verdict

STATUS = "status"

OTHERWISE = {
    PrincipalType.ROOT: (
        "no IAM policy binds the root user: change its password, delete its access keys and check"
        " its MFA devices; for a member account from the management account (sts:AssumeRoot),"
        " or deny by a service control policy"
    ),
    PrincipalType.FEDERATED: (
        "a federated session has the rights of the IAM user or role that it came from: revoke that"
        " one, and block the person at the identity provider"
    ),
    PrincipalType.SERVICE: "a service of AWS acted: contain the resource or role that it acted for",
    PrincipalType.ACCOUNT: (
        "another account acted: take it out of the trust policies and resource policies that let"
        " it in"
    ),
    PrincipalType.UNKNOWN: (
        "it is not known whose credentials these are: look the key up (sts:GetAccessKeyInfo,"
        " CloudTrail), and revoke that user or role"
    ),
}
"""What a person must do where no call of ours can help."""


class Params(Model):
    """What a runbook may set."""

    deny_all: bool = Field(
        default=False, description="deny the user or role everything, new sessions and sign-ins too"
    )
    rotate: bool = Field(
        default=False, description="leave the keys inactive on release: the user gets new ones"
    )
    margin: timedelta = Field(
        default=timedelta(0),
        ge=timedelta(0),
        le=timedelta(hours=12),
        description="end sessions too that begin up to so long after planning, while people decide",
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Turn off all keys of a user, or end the sessions of a role or of one instance's role."""
    match target.subject:
        case Principal(type=PrincipalType.USER):
            return (_plan_user(target, params, aws),)
        case Principal(type=PrincipalType.ROLE):
            return (_plan_role(target, params, aws),)
        case Principal(type=other):
            return (_refused(target, params, OTHERWISE[other]),)
        case Resource():
            return _plan_instance(target, params, aws)


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Put the deny policies, and turn off the keys, that are not so yet."""
    now = _now(plan, aws) if plan.calls else {}
    for key in _strange_keys(plan, now):
        raise PlanStale(f"{key} of {plan.target.subject.id} is Active, and was not when planned")
    with aws.only(plan.calls) as permit:
        for change in outstanding(plan, now):
            aws.call(_call(plan, change, change.after))
    return receipt(plan, permit.made)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that every key is off and every deny is word for word ours; say what stays open."""
    now = _now(plan, aws)
    checks = [_read_back(change, now) for change in plan.changes]
    checks += [
        Check(name=f"{key} {STATUS}", ok=False, detail="Active, and was not when planned")
        for key in _strange_keys(plan, now)
    ]
    if not checks:
        checks = [Check(name="credentials", ok=True, detail="nothing was to be revoked")]
    proven = all(check.ok for check in checks)
    checks += _left_open(plan.target, Params.model_validate(plan.params), aws)
    # What stays open was left so by the plan: it is told, and is no drift.
    return proof(plan, checks, verdict=Verdict.PROVEN if proven else Verdict.DRIFTED)


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Take back the deny policies, and turn on the keys, that still are as we set them."""
    ours, left = restorable(plan, _now(plan, aws))
    calls = [(change.resource, _call(plan, change, change.before)) for change in ours]
    with aws.only(plan.undo) as permit:
        for _, call in calls:
            if call in plan.undo:
                aws.call(call)
    kept = (f"{key} stays inactive, to be rotated" for key, call in calls if call not in plan.undo)
    return receipt(plan, permit.made, left=(*left, *kept))


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.PRINCIPAL, Kind.INSTANCE}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "ec2:DescribeIamInstanceProfileAssociations",
            "ec2:DescribeInstances",
            "iam:GetAccessKeyLastUsed",
            "iam:GetInstanceProfile",
            "iam:GetLoginProfile",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:GetUser",
            "iam:GetUserPolicy",
            "iam:ListAccessKeys",
            "iam:ListAttachedUserPolicies",
            "iam:ListInstanceProfilesForRole",
            "iam:ListMFADevices",
            "iam:ListRolePolicies",
            "iam:ListSSHPublicKeys",
            "iam:ListServiceSpecificCredentials",
            "iam:ListSigningCertificates",
            "iam:ListUserPolicies",
            "iam:SimulatePrincipalPolicy",
            "sts:GetCallerIdentity",
        ),
        apply=(
            "iam:GetRolePolicy",
            "iam:GetUserPolicy",
            "iam:ListAccessKeys",
            "iam:PutRolePolicy",
            "iam:PutUserPolicy",
            "iam:UpdateAccessKey",
        ),
        verify=(
            "iam:GetLoginProfile",
            "iam:GetRolePolicy",
            "iam:GetUserPolicy",
            "iam:ListAccessKeys",
            "iam:ListMFADevices",
            "iam:ListSSHPublicKeys",
            "iam:ListServiceSpecificCredentials",
            "iam:ListSigningCertificates",
        ),
        revert=(
            "iam:DeleteRolePolicy",
            "iam:DeleteUserPolicy",
            "iam:GetRolePolicy",
            "iam:GetUserPolicy",
            "iam:ListAccessKeys",
            "iam:PutRolePolicy",
            "iam:PutUserPolicy",
            "iam:UpdateAccessKey",
        ),
    ),
    techniques=("T1078.004", "T1098.001", "T1528", "T1550.001", "T1552.005"),
    countermeasures=("D3-CR", "D3-ST", "D3-UAP"),
)


# A user


def _plan_user(target: Target, params: Params, aws: Aws) -> Plan:
    label, name = target.subject.id, _name(target)
    user = or_none(lambda: aws.client("iam").get_user(UserName=name)["User"])
    if user is None:
        return _refused(target, params, f"{label} does not exist")
    reads: list[Callable[[], Any]] = [
        partial(_users.keys, name, aws),
        partial(_identity.inline_policies, aws, "User", name),
        partial(_identity.attached_policies, aws, "User", name),
        partial(_left_open, target, params, aws),
        partial(_identity.may, aws, ["iam:PutUserPolicy", "iam:UpdateAccessKey"], user["Arn"]),
    ]
    keys, policies, attached, left_open, may = aws.together(*reads)
    denied = _denials.changes(label, _wanted(target, params), policies)
    active = [key["AccessKeyId"] for key in keys if key["Status"] == "Active"]
    turned_off = (
        Change(resource=key, attribute=STATUS, before="Active", after="Inactive") for key in active
    )
    used = aws.together(*(partial(_users.key_told, key, aws) for key in keys))
    return _made(
        target,
        params,
        # The policies first: they also end what the keys were exchanged for, and deny_all stops
        # the making of new keys.
        (*denied, *turned_off),
        lease=label,
        summary=(
            f"Turn off {counted(len(active), 'access key')} of {label}; {_ended(target, params)}."
        ),
        blast_radius=(
            *used,
            f"{label}: {_ended(target, params)}",
            f"roles that {label} has assumed stay in use until those sessions end: revoke them too",
            *_users.quarantine_told(attached),
        ),
        preflight=(may, *left_open),
        touched=Touched(resources={label: tags(user)}, principals=(user["Arn"],)),
        refusals=_denials.refusals("User", denied, policies),
    )


# A role


def _plan_role(target: Target, params: Params, aws: Aws) -> Plan:
    label, name = target.subject.id, _name(target)
    role = or_none(lambda: aws.client("iam").get_role(RoleName=name)["Role"])
    if role is None:
        return _refused(target, params, f"{label} does not exist")
    if why := _roles.not_editable(role):
        return _refused(target, params, why)
    reads: list[Callable[[], Any]] = [
        partial(_identity.inline_policies, aws, "Role", name),
        partial(_roles.instances_told, name, aws),
        partial(_identity.may, aws, ["iam:PutRolePolicy"], role["Arn"]),
    ]
    policies, instances, may = aws.together(*reads)
    changes = _denials.changes(label, _wanted(target, params), policies)
    return _made(
        target,
        params,
        changes,
        lease=label,
        summary=f"Revoke {label} for all who use it: {_ended(target, params)}.",
        blast_radius=(
            f"whoever uses {label} is denied until they begin a new session",
            _roles.last_use_told(role),
            instances,
        ),
        preflight=(may, *_left_open(target, params, aws)),
        touched=Touched(resources={label: tags(role)}, principals=(role["Arn"],)),
        refusals=_denials.refusals("Role", changes, policies),
    )


# The role of one instance


def _plan_instance(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    id = target.subject.id
    instance = _reading.instance(aws, id)
    role = _roles.of_instance(instance, aws) if instance else None
    if instance is None or (terminated(instance) and role is None):
        why = f"{GONE}: what it was handed lives for up to 6 h, so revoke the role it had"
        return (_refused(target, params, f"{id} {why}"),)
    if role is None:
        return ()
    if why := _roles.not_editable(role):
        return (_refused(target, params, why),)
    return (_plan_instance_role(target, params, instance, role, aws),)


def _plan_instance_role(
    target: Target, params: Params, instance: dict[str, Any], role: dict[str, Any], aws: Aws
) -> Plan:
    id = target.subject.id
    label, name = f"role/{role['RoleName']}", role["RoleName"]
    reads: list[Callable[[], Any]] = [
        partial(_identity.inline_policies, aws, "Role", name),
        partial(_identity.may, aws, ["iam:PutRolePolicy"], role["Arn"]),
    ]
    policies, may = aws.together(*reads)
    arn = f"arn:{aws.partition}:ec2:{aws.region}:{aws.account}:instance/{id}"
    wanted = {_denials.name_for_instance(id): _denials.one_instance(arn)}
    changes = _denials.changes(label, wanted, policies)
    return _made(
        target,
        params,
        changes,
        lease=f"{label}/{id}",
        summary=f"Deny everything to what {id} was handed as {label}, wherever it is used.",
        blast_radius=(
            f"all on {id} that calls AWS is denied, its Systems Manager agent too: what needs that"
            " agent, as memory capture, goes first",
            f"credentials that {id} gets later are denied too",
            f"other users of {label} feel nothing",
        ),
        preflight=(may,),
        touched=Touched(
            resources={id: tags(instance), label: tags(role)}, principals=(role["Arn"],)
        ),
        refusals=_denials.refusals("Role", changes, policies),
    )


# What all have in common


def _made(
    target: Target,
    params: Params,
    changes: tuple[Change, ...],
    *,
    lease: str,
    summary: str,
    **members: Any,
) -> Plan:
    plan = Plan(
        action="aws.revoke_credentials",
        target=target,
        lease=lease,
        params=params.model_dump(mode="json"),
        summary=summary if changes else "Nothing to revoke: all of it is so already.",
        changes=changes,
        **members,
    )
    backwards = [c for c in reversed(changes) if not (params.rotate and c.attribute == STATUS)]
    stay = [c.resource for c in changes if params.rotate and c.attribute == STATUS]
    return plan.model_copy(
        update={
            "calls": tuple(_call(plan, change, change.after) for change in changes),
            "undo": tuple(_call(plan, change, change.before) for change in backwards),
            "lost": tuple(f"{key} stays inactive after release, to be rotated" for key in stay),
        }
    )


def _refused(target: Target, params: Params, why: str) -> Plan:
    id = target.subject.id
    plan = _made(target, params, (), lease=id, summary="")
    return plan.model_copy(
        update={"summary": f"The credentials of {id} cannot be revoked.", "refusals": (why,)}
    )


def _call(plan: Plan, change: Change, value: JsonValue) -> Call:
    """Return the call that sets what a change is about to a value."""
    if change.attribute == STATUS:
        own = {"UserName": _name(plan.target), "AccessKeyId": change.resource}
        return Call(service="iam", operation="UpdateAccessKey", parameters={**own, "Status": value})
    owner, name = _owner(change.resource)
    policy = {f"{owner}Name": name, "PolicyName": _denials.name_in(change)}
    if value is None:
        return Call(service="iam", operation=f"Delete{owner}Policy", parameters={**policy})
    document = {"PolicyDocument": _denials.text(value)}
    return Call(service="iam", operation=f"Put{owner}Policy", parameters={**policy, **document})


def _now(plan: Plan, aws: Aws) -> State:
    """Read what the changes of a plan are about, and the status of every key of a user."""
    policies = [change for change in plan.changes if change.attribute != STATUS]
    reads = (
        partial(_identity.inline_policy, aws, *_owner(c.resource), _denials.name_in(c))
        for c in policies
    )
    documents = aws.together(*reads)
    now = {(c.resource, c.attribute): d for c, d in zip(policies, documents, strict=True)}
    if _is_user(plan.target):
        for key in or_none(partial(_users.keys, _name(plan.target), aws)) or ():
            now[key["AccessKeyId"], STATUS] = key["Status"]
    return now


def _strange_keys(plan: Plan, now: State) -> list[str]:
    """Return the active keys of which the plan knows nothing: made, or turned on, since."""
    known = {change.resource for change in plan.changes}
    active = (
        key for (key, attribute), is_ in now.items() if (attribute, is_) == (STATUS, "Active")
    )
    return [key for key in active if key not in known]


def _read_back(change: Change, now: State) -> Check:
    value = now.get((change.resource, change.attribute))
    # A later plan may have moved the cut-off further on, which still does what this one is for.
    holds = _denials.covers(value, change.after)
    told = "as we wrote it" if holds and isinstance(value, dict) else str(value or "is not there")
    return Check(name=f"{change.resource} {change.attribute}", ok=holds, detail=told)


def _left_open(target: Target, params: Params, aws: Aws) -> list[Check]:
    """Say which ways in stay open though all of the plan is done."""
    if _is_user(target):
        return _users.left_open(_name(target), params.deny_all, aws)
    if isinstance(target.subject, Principal):
        detail = "denied everything" if params.deny_all else "begin as the trust policy allows"
        return [Check(name="new sessions", ok=params.deny_all, detail=detail)]
    return []


def _wanted(target: Target, params: Params) -> dict[str, Any]:
    wanted = {_denials.OLDER_SESSIONS: _denials.older_sessions(target.at + params.margin)}
    return wanted | ({_denials.EVERYTHING: _denials.everything()} if params.deny_all else {})


def _ended(target: Target, params: Params) -> str:
    if params.deny_all:
        return "everything is denied, in old and new sessions"
    cutoff = (target.at + params.margin).strftime(_denials.TIME)
    return f"sessions begun before {cutoff} end, and later ones do not"


def _owner(label: str) -> tuple[_identity.Owner, str]:
    kind, _, name = label.partition("/")
    return ("User" if kind == "user" else "Role"), name


def _is_user(target: Target) -> bool:
    subject = target.subject
    return isinstance(subject, Principal) and subject.type is PrincipalType.USER


def _name(target: Target) -> str:
    return target.subject.id.partition("/")[2]
