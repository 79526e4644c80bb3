"""Revocation of what a user, a role, an instance or a function can prove itself with."""

import time
from datetime import UTC, datetime
from typing import Any

from activities.aws import (
    _chain,
    _denials,
    _identity_center,
    _residual,
    _revocation,
    _revocation_plans,
    _roles,
    _usage,
    _users,
)
from activities.aws._chain import Origin
from activities.aws._identity_center import IdentityCenter
from activities.aws._reading import GONE
from activities.aws._residual import Denied
from activities.aws._revocation import ASSOCIATION, HANDED, OWNER, SESSION, Sight
from activities.aws._revocation import Params as Params
from activities.aws._trail import Actor, quiet
from activities.aws._window import Window, pending, proven
from firedoor.action import Action, Permissions, outstanding, receipt, restorable
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale
from firedoor.model.action import Nature
from firedoor.model.finding import Kind, Principal, PrincipalType, Resource
from firedoor.model.plan import Change, Check, Plan, Proof, Receipt, Residual, Target

SETTLE = (1.0, 2.0, 4.0)
"""Seconds until what does not hold is read again: IAM may show a change some seconds late."""


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Turn off all credentials of a user, or end the sessions of a role, instance or function."""
    match target.subject:
        case Principal(type=PrincipalType.USER):
            return (_revocation_plans.of_user(target, params, _name(target), aws),)
        case Principal(type=PrincipalType.ROLE):
            return (_revocation_plans.of_role(target, params, _name(target), aws),)
        case Principal(type=PrincipalType.FEDERATED):
            user = _chain.federated_by(_name(target), aws, target.at)
            if user is None:
                return (_revocation_plans.not_ours(target, params, PrincipalType.FEDERATED),)
            return (_revocation_plans.of_user(target, params, user, aws),)
        case Principal(type=PrincipalType.UNKNOWN) if user := _users.of_keys(
            params.access_keys, aws
        ):
            return (_revocation_plans.of_user(target, params, user, aws),)
        case Principal(type=other):
            return (_revocation_plans.not_ours(target, params, other),)
        case Resource(kind=Kind.FUNCTION):
            return (_revocation_plans.of_function(target, params, aws),)
        case Resource():
            return _revocation_plans.of_instance(target, params, aws)


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Put the deny policies, and turn off the credentials, that are not so yet."""
    if not plan.changes:
        return receipt(plan)
    sight = _revocation.see(plan, aws)
    _expect_as_planned(plan, sight)
    with aws.only(plan.calls) as permit:
        for change in outstanding(plan, sight.state):
            if not _is_under_way(plan, change, aws):
                for call in _revocation.calls(plan, change, change.after):
                    aws.call(call)
    return receipt(plan, permit.made)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that all is as planned and that nobody calls any more; say what still works."""
    sight = _settled(plan, aws)
    now = datetime.now(UTC)
    windows = [*_provisioning(plan, sight, aws), *_quiet(plan, sight, aws, now)]
    checks = _read_back(plan, sight, {window.check.name for window in windows})
    return proven(plan, checks, *windows, residual=_left(plan, sight, aws, now))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Take back the deny policies, and turn on the credentials, that still are as we set them."""
    if not plan.changes:
        return receipt(plan)
    sight = _revocation.see(plan, aws)
    if sight.renamed:
        told = f"{plan.before[OWNER]} is user/{sight.renamed} by now: give back its rights by hand"
        return receipt(plan, left=(told,))
    ours, left = restorable(plan, sight.state)
    kept = []
    with aws.only(plan.undo) as permit:
        for change in _revocation.provisioning_last(_with_provisioning(plan, ours)):
            calls = _revocation.calls(plan, change, change.before)
            if not calls or calls[0] not in plan.undo:
                kept.append(_stays(change))
                continue
            for call in calls:
                aws.call(_roles.with_association(call, sight.association))
    return receipt(plan, permit.made, left=(*left, *kept))


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.PRINCIPAL, Kind.INSTANCE, Kind.FUNCTION}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            *_revocation.READS,
            *(p for p in _usage.PERMISSIONS if p not in _revocation.READS),
            "iam:GetAccountSummary",
            "iam:ListAttachedGroupPolicies",
            "iam:ListAttachedRolePolicies",
            "iam:ListAttachedUserPolicies",
            "iam:ListGroupsForUser",
            "iam:ListRolePolicies",
            "iam:ListUserPolicies",
            "iam:SimulatePrincipalPolicy",
            "identitystore:ListUsers",
            "lambda:ListTags",
            "sso:ListInstances",
            "sso:ListPermissionSets",
            "sts:GetCallerIdentity",
        ),
        apply=(
            *_revocation.READS,
            "ec2:DisassociateIamInstanceProfile",
            "ec2:ReplaceIamInstanceProfileAssociation",
            "iam:DeactivateMFADevice",
            "iam:PassRole",
            "iam:PutRolePolicy",
            "iam:PutUserPolicy",
            "iam:UpdateAccessKey",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateSSHPublicKey",
            "iam:UpdateServiceSpecificCredential",
            "iam:UpdateSigningCertificate",
            "sso:ProvisionPermissionSet",
            "sso:PutInlinePolicyToPermissionSet",
        ),
        verify=_revocation.READS,
        revert=(
            *_revocation.READS,
            "ec2:AssociateIamInstanceProfile",
            "ec2:ReplaceIamInstanceProfileAssociation",
            "iam:DeleteRolePolicy",
            "iam:DeleteUserPolicy",
            "iam:PassRole",
            "iam:PutRolePolicy",
            "iam:PutUserPolicy",
            "iam:UpdateAccessKey",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateSSHPublicKey",
            "iam:UpdateServiceSpecificCredential",
            "iam:UpdateSigningCertificate",
            "sso:DeleteInlinePolicyFromPermissionSet",
            "sso:ProvisionPermissionSet",
            "sso:PutInlinePolicyToPermissionSet",
        ),
    ),
    # The agent that dumps memory acts as the role, and can do no more once that is revoked.
    evidence_first={Kind.INSTANCE: ("capture_memory",)},
    techniques=("T1078.004", "T1098.001", "T1098.005", "T1528", "T1550.001", "T1552.005"),
    countermeasures=("D3-CR", "D3-ST", "D3-UAP"),
)


# Acting


def _expect_as_planned(plan: Plan, sight: Sight) -> None:
    """Raise `PlanStale` for what is there besides the changes of a plan, and was not before."""
    owner = plan.before[OWNER]
    if sight.owner is None:
        told = f"was renamed to user/{sight.renamed}" if sight.renamed else GONE
        raise PlanStale(f"{owner} {told}")
    for one in _strange(plan, sight):
        raise PlanStale(f"{one} of {owner} is Active, and was not when planned")
    if other := _other_role(plan, sight):
        raise PlanStale(f"{plan.target.subject.id} runs as {other} by now, not as {owner}")
    for change in plan.changes:
        if change.attribute != _roles.PROFILE or sight.association is None:
            continue
        is_same = sight.association["AssociationId"] == plan.before[ASSOCIATION]
        if _roles.profile(sight.association) == change.before and not is_same:
            raise PlanStale(f"{change.resource} was given its profile anew")


def _is_under_way(plan: Plan, change: Change, aws: Aws) -> bool:
    # Asked for by an earlier attempt: a permission set is provisioned bit by bit.
    return change.attribute == _identity_center.PROVISIONED and _identity_center.is_under_way(
        plan, aws
    )


def _with_provisioning(plan: Plan, ours: tuple[Change, ...]) -> list[Change]:
    """Return the changes to take back: what a permission set says, always into the accounts too."""
    taken = [change.attribute for change in ours]
    if _identity_center.POLICY not in taken:
        return list(ours)
    further = [c for c in plan.changes if c.attribute == _identity_center.PROVISIONED]
    return [*further, *(c for c in ours if c not in further)]


def _stays(change: Change) -> str:
    if change.attribute == _users.MFA:
        return f"{change.resource} stays off: it {_revocation.MFA_LOST}"
    return f"{change.resource} stays inactive, to be rotated"


# Reading back


def _settled(plan: Plan, aws: Aws) -> Sight:
    """Read back, and again after a while what does not hold, since IAM may only be late."""
    sight = _revocation.see(plan, aws)
    for pause in SETTLE:
        if sight.owner is None or all(_holds(change, sight) for change in plan.changes):
            break
        time.sleep(pause)
        sight = _revocation.see(plan, aws)
    return sight


def _holds(change: Change, sight: Sight) -> bool:
    value = sight.state.get((change.resource, change.attribute))
    if change.attribute in _users.BY_ATTRIBUTE and value is None:
        return True  # deleted since: it is off for good
    if change.attribute == _roles.PROFILE and value == GONE:
        return True  # terminated since
    # A later plan may have moved the cut-off further on, which still does what this one is for.
    return _denials.covers(value, change.after)


def _read_back(plan: Plan, sight: Sight, elsewhere: set[str]) -> list[Check]:
    """Say what holds; what stays open by the plan's own choice is told apart, and is no drift."""
    if sight.owner is None:
        name, told = str(plan.before[OWNER]), f"was renamed since, to user/{sight.renamed}"
        detail = told if sight.renamed else "was deleted since"
        return [Check(name=name, ok=not sight.renamed, detail=detail)]
    checks = [_check(c, sight) for c in plan.changes if _title(c) not in elsewhere]
    checks += [
        Check(name=one, ok=False, detail="Active, and was not when planned")
        for one in _strange(plan, sight)
    ]
    if other := _other_role(plan, sight):
        told = f"{other} by now, which is not denied"
        checks.append(Check(name=f"{plan.target.subject.id} runs as", ok=False, detail=told))
    nothing = Check(name="credentials", ok=True, detail="nothing was to be revoked")
    return checks or ([] if elsewhere else [nothing])


def _check(change: Change, sight: Sight) -> Check:
    value, holds = sight.state.get((change.resource, change.attribute)), _holds(change, sight)
    told = "as we wrote it" if holds and isinstance(value, dict | list) else str(value)
    if change.attribute == _roles.TRUST and holds:
        told = "as we wrote it"
    return Check(name=_title(change), ok=holds, detail="is not there" if value is None else told)


def _title(change: Change) -> str:
    return f"{change.resource} {change.attribute}"


def _strange(plan: Plan, sight: Sight) -> list[str]:
    return _users.strange(sight.held, plan.changes) if sight.held else []


def _other_role(plan: Plan, sight: Sight) -> str:
    """Return the role that an instance or function was given in place of the denied one."""
    other = f"role/{sight.runs_as}"
    return other if sight.runs_as and other != plan.before[OWNER] else ""


def _provisioning(plan: Plan, sight: Sight, aws: Aws) -> list[Window]:
    """Return the window of a permission set that is still on its way into the accounts."""
    return [
        pending(_title(c), "is being provisioned", plan.target.at, datetime.now(UTC))
        for c in plan.changes
        if c.attribute == _identity_center.PROVISIONED
        and not _holds(c, sight)
        and _identity_center.is_under_way(plan, aws)
    ]


def _quiet(plan: Plan, sight: Sight, aws: Aws, now: datetime) -> list[Window]:
    """Return since when nobody uses what the plan ends."""
    if OWNER not in plan.before:
        return []
    owner, name = _revocation.owner_of(plan)
    if owner == "User":
        keys = sight.held.credentials[_users.KEY] if sight.held else None
        actor = Actor(user=name, keys=tuple(key["AccessKeyId"] for key in keys or ()))
    else:
        session = str(plan.before.get(SESSION, ""))
        actor = Actor(role=name, session=session, issued_before=_cutoff(plan))
    return [quiet(aws, actor, plan.target.at, now)]


def _cutoff(plan: Plan) -> datetime | None:
    """Return before which instant the sessions began that a plan ends; None if it ends all."""
    params = Params.model_validate(plan.params)
    ends_all = params.deny_all or HANDED in plan.before
    return None if ends_all else plan.target.at + params.margin


# What is left


def _left(plan: Plan, sight: Sight, aws: Aws, now: datetime) -> tuple[Residual, ...]:
    """Return the residual-access statement as of now."""
    if OWNER not in plan.before:
        return ()
    owner, name = _revocation.owner_of(plan)
    kind = PrincipalType.USER if owner == "User" else PrincipalType.ROLE
    origin = Origin(kind, name, str(plan.before.get(SESSION, "")))
    arn = str(sight.owner["Arn"]) if sight.owner else ""
    beyond = _residual.beyond(origin, arn, aws, now, everywhere=True)
    if sight.owner is None:
        return _residual.of_deleted(beyond.sessions, now)
    denied = Denied(*_denials.in_force(sight.documents), now)
    if sight.held:
        return _residual.of_user(sight.held, denied, beyond)
    held = all(_holds(change, sight) for change in plan.changes)
    if "center" in plan.before:
        others = _other_permission_sets(plan, aws)
        return _residual.of_permission_set(plan.lease, _cutoff(plan), held, others, beyond, now)
    if handed := plan.before.get(HANDED):
        return _residual.of_one(str(handed), held or denied.all, beyond, now)
    trust, instances = _roles.trust(sight.owner), _roles.instances_told(name, aws)
    return _residual.of_role(sight.owner, denied, beyond, trust=trust, instances=instances)


def _other_permission_sets(plan: Plan, aws: Aws) -> _identity_center.Others:
    center = IdentityCenter.model_validate(plan.before["center"])
    instance, own = str(plan.before["instance"]), str(plan.before["permission_set"])
    statement: Any = plan.before["statement"]
    return _identity_center.others(center, instance, own, statement, aws)


def _name(target: Target) -> str:
    return target.subject.id.partition("/")[2]
