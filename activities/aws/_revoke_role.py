"""The plans that end the sessions of a role: its own, or through IAM Identity Center."""

from collections.abc import Callable
from functools import partial
from typing import Any

from activities.aws import (
    _denials,
    _identity,
    _identity_center,
    _residual,
    _revoking,
    _roles,
    _sessions,
    _tasks,
    _trust,
    _usage,
)
from activities.aws._reading import tags
from activities.aws._revocation import OWNER
from activities.aws._revoking import Params
from activities.aws._sessions import Origin
from firedoor.cloud.aws import Aws
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Plan, Target, Touched


def plan(target: Target, params: Params, name: str, aws: Aws) -> Plan:
    """Plan to deny a role to its sessions, by the policy that whoever owns the role can change."""
    role = _trust.role(name, aws)
    if role is None:
        return _revoking.gone(target, params, f"role/{name} does not exist")
    if permission_set := _identity_center.permission_set_of(role):
        return _plan_permission_set(target, params, role, permission_set, aws)
    if why := _roles.not_editable(role):
        return _revoking.refused(target, params, why)
    return _plan_role(target, params, role, aws)


def _plan_role(target: Target, params: Params, role: dict[str, Any], aws: Aws) -> Plan:
    name = role["RoleName"]
    label, document = f"role/{name}", _trust.text(role)
    reads: list[Callable[[], Any]] = [
        partial(_identity.inline_policies, aws, "Role", name),
        partial(_identity.attached_policies, aws, "Role", name),
        partial(_roles.instances_told, name, aws),
        partial(_sessions.begun_by, Origin(PrincipalType.ROLE, name), aws, target.at),
        partial(_usage.used, aws, target.at, roles=[name]),
    ]
    policies, attached, instances, sessions, used = aws.together(*reads)
    denies_all = bool(params.deny_all)
    denied = _denials.changes(label, _revoking.wanted(target, params, denies_all), policies)
    narrowed = _trust.change(label, document, params.trusted) if params.narrow_trust else ()
    left = _residual.of_role(
        role,
        _revoking.denied(policies, denied, target.at),
        sessions,
        trust=str(narrowed[0].after) if narrowed else document,
        instances=instances,
    )
    made = _revoking.made(
        target,
        params,
        # The trust first: a session that began before is one that the deny must still catch.
        (*narrowed, *denied),
        before={OWNER: label},
        lease=label,
        summary=(
            f"Revoke {label} for all who use it: {_revoking.ended(target, params, denies_all)}"
            f"{'; no new ones begin' if narrowed else ''}."
        ),
        blast_radius=(
            f"whoever uses {label} is denied until they begin a new session",
            *([_kept_out(document, params)] if narrowed else []),
            *used,
            instances,
        ),
        preflight=(*_identity.powers(role, attached), *_residual.checks(left)),
        touched=Touched(resources={label: tags(role)}, principals=(role["Arn"],)),
        refusals=(
            *_denials.refusals(
                aws, "Role", denied, policies, instead="make one of them a managed policy"
            ),
            *_trust.refusals(narrowed, aws),
        ),
    )
    return _revoking.with_may(made, aws, iam=role["Arn"])


def _kept_out(document: str, params: Params) -> str:
    but = f", but {', '.join(params.trusted)}" if params.trusted else ""
    return (
        f"nobody can begin a session any more{but}, services of AWS neither (now let in:"
        f" {_trust.trusted(document)})"
    )


# A role of IAM Identity Center


def _plan_permission_set(
    target: Target, params: Params, role: dict[str, Any], name: str, aws: Aws
) -> Plan:
    label, center = f"role/{role['RoleName']}", params.identity_center
    cutoff = None if params.deny_all else target.at + params.margin
    whom = (center and center.user) or f"whoever acted as {label}"
    tasks = _tasks.identity_center(whom, aws.account, name)
    found = _identity_center.find(center, name, aws) if center else ""
    if center is None or isinstance(found, str):
        deny = _denials.text(_identity_center.statement(cutoff, "USER-ID"))
        why = "; ".join(filter(None, [_roles.not_editable(role), str(found)]))
        todo = (_tasks.permission_set(name, aws.account, deny), *tasks)
        return _revoking.refused(target, params, why, todo)
    deny_all_of = _identity_center.statement(cutoff, found.user_id)
    changes, too_long = _identity_center.changes(label, found, deny_all_of)
    return _revoking.made(
        target,
        params,
        changes,
        before={OWNER: label, **_identity_center.before(center, found, deny_all_of)},
        lease=found.label,
        summary=(
            f"Deny everything to {center.user or 'everybody'} in {found.label}:"
            f" {_revoking.ended(target, params, bool(params.deny_all))}."
        ),
        blast_radius=(
            f"{center.user or 'everybody'} is denied in every account that has {found.label}",
            f"provisioning {found.label} also carries out other changes of it that are waiting",
        ),
        preflight=_residual.checks(
            _residual.of_permission_set(found.label, cutoff, True, target.at)
        ),
        touched=Touched(resources={label: tags(role), found.label: {}}, principals=(role["Arn"],)),
        refusals=(too_long,) if too_long else (),
        tasks=tasks,
    )
