"""The plans that deny a role to one of those who run with it: an instance, or a function."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import (
    _denials,
    _identity,
    _profiles,
    _reading,
    _residual,
    _revoking,
    _roles,
    _sessions,
)
from activities.aws._reading import GONE, or_none, tags, terminated
from activities.aws._revocation import ASSOCIATION, HANDED, OWNER, SESSION
from activities.aws._revoking import Params
from activities.aws._sessions import Origin
from firedoor.cloud.aws import Aws
from firedoor.errors import Refused
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Change, Plan, Target, Touched


def plan_instance(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Plan to deny what an instance hands out, by its ARN; nothing if it has no role."""
    id = target.subject.id
    instance = _reading.instance(aws, id)
    role = _roles.of_instance(instance, aws) if instance else None
    if instance is None or (terminated(instance) and role is None):
        why = f"{id} {GONE}: what it was handed lives for up to 6 h, so revoke the role it had"
        return (_revoking.gone(target, params, why),)
    if role is None:
        return ()
    if why := _roles.not_editable(role):
        return (_revoking.refused(target, params, why),)
    arn = f"arn:{aws.partition}:ec2:{aws.region}:{aws.account}:instance/{id}"
    try:
        profile, before = _profile(id, params, aws)
    except Refused as refused:
        return (_revoking.refused(target, params, str(refused)),)
    made = _made(
        target,
        params,
        role,
        {_denials.name_for_instance(id): _denials.one_instance(arn)},
        aws,
        session=id,
        profile=profile,
        before=before,
        blast_radius=(
            f"all on {id} that calls AWS is denied, its Systems Manager agent too: what needs that"
            " agent, as memory capture, goes first",
            f"credentials that {id} gets later are denied too",
        ),
        resources={id: tags(instance)},
    )
    return (_revoking.with_may(made, aws, iam=role["Arn"], ec2=arn),)


def plan_function(target: Target, params: Params, aws: Aws) -> Plan:
    """Plan to deny what a function was given, by its ARN."""
    id, client = target.subject.id, aws.client("lambda")
    found = or_none(lambda: dict(client.get_function_configuration(FunctionName=id)))
    role = _roles.of_function(found, aws) if found else None
    if found is None or role is None:
        why = f"{id} {GONE}: what it was given lives for up to 12 h, so revoke the role it had"
        return _revoking.gone(target, params, why)
    if why := _roles.not_editable(role):
        return _revoking.refused(target, params, why)
    # In its credentials a function goes by its ARN without version or alias.
    arn = ":".join(found["FunctionArn"].split(":")[:7])
    made = _made(
        target,
        params,
        role,
        {_denials.name_for_function(arn): _denials.one_function(arn)},
        aws,
        session=found["FunctionName"],
        blast_radius=(
            f"all that the code of {id} asks of AWS is denied, to write its log too",
            f"what Lambda itself does for {id} with the role goes on: to read event sources, to"
            " make network interfaces, to decrypt environment variables",
        ),
        resources={id: client.list_tags(Resource=arn).get("Tags") or {}},
    )
    return _revoking.with_may(made, aws, iam=role["Arn"])


def _made(
    target: Target,
    params: Params,
    role: dict[str, Any],
    wanted: dict[str, Any],
    aws: Aws,
    *,
    session: str,
    blast_radius: tuple[str, ...],
    resources: dict[str, dict[str, str]],
    profile: tuple[Change, ...] = (),
    before: dict[str, JsonValue] | None = None,
) -> Plan:
    id, name = target.subject.id, role["RoleName"]
    label = f"role/{name}"
    reads: list[Callable[[], Any]] = [
        partial(_identity.inline_policies, aws, "Role", name),
        partial(_identity.attached_policies, aws, "Role", name),
        partial(_sessions.begun_by, Origin(PrincipalType.ROLE, name, session), aws, target.at),
    ]
    policies, attached, sessions = aws.together(*reads)
    denied = _denials.changes(label, wanted, policies)
    handed = f"what {id} is handed as {label}"
    left = _residual.of_one(handed, True, sessions, target.at)
    return _revoking.made(
        target,
        params,
        (*denied, *profile),
        before={OWNER: label, HANDED: handed, SESSION: session, **(before or {})},
        lease=f"{label}/{id}",
        summary=f"Deny everything to what {id} was handed as {label}, wherever it is used.",
        blast_radius=(
            *blast_radius,
            *(f"{id} runs without its profile {c.before} (then: {c.after})" for c in profile),
            f"other users of {label} feel nothing",
        ),
        lost=tuple(f"the association of {c.before} gets a new id" for c in profile),
        preflight=(*_identity.powers(role, attached), *_residual.checks(left)),
        touched=Touched(resources={**resources, label: tags(role)}, principals=(role["Arn"],)),
        refusals=_denials.refusals(
            aws,
            "Role",
            denied,
            policies,
            instead=f"revoke {label} as a whole, which takes one statement for all who use it",
        ),
    )


def _profile(id: str, params: Params, aws: Aws) -> tuple[tuple[Change, ...], dict[str, JsonValue]]:
    """Return the change of an instance's profile, if one is wanted, and its association's id."""
    if params.profile == "keep":
        return (), {}
    association = _profiles.association(id, aws)
    if association is None:
        return (), {}
    old, new = _profiles.arn(association), None
    if params.profile != "remove":
        name, iam = params.profile, aws.client("iam")
        found = or_none(lambda: iam.get_instance_profile(InstanceProfileName=name))
        if found is None:
            raise Refused(f"there is no instance profile {name}: make it, or remove the profile")
        new = found["InstanceProfile"]["Arn"]
    if old == new:
        return (), {}
    change = Change(resource=id, attribute=_profiles.PROFILE, before=old, after=new)
    return (change,), {ASSOCIATION: association["AssociationId"]}
