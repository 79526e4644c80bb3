"""The plans that revoke, by whose credentials they are, and what they leave to people."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import (
    _denials,
    _function,
    _identity,
    _identity_center,
    _reading,
    _residual,
    _revocation,
    _roles,
    _usage,
    _users,
)
from activities.aws._chain import Origin
from activities.aws._denials import instant
from activities.aws._reading import GONE, counted, or_none, tags, terminated
from activities.aws._revocation import ASSOCIATION, HANDED, OWNER, SESSION, Params
from activities.aws._users import Held
from firedoor.cloud.aws import Aws
from firedoor.errors import Refused
from firedoor.model.finding import Principal, PrincipalType
from firedoor.model.plan import Change, Check, Plan, Target, Touched

WHY = {
    PrincipalType.ROOT: (
        "no IAM policy binds the root user: it is contained by its own password, keys and MFA, or"
        " from the organisation's management account"
    ),
    PrincipalType.FEDERATED: (
        "a federated session has the rights of the IAM user or role that it came from, and"
        " CloudTrail does not say which: revoke that one, and block the person at the identity"
        " provider"
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
"""Why no call of ours can help, and what does instead."""


def of_user(target: Target, params: Params, name: str, aws: Aws) -> Plan:
    """Plan to turn off the credentials of a user, and to deny what was got with them."""
    user = _user(name, aws)
    if user is None and (renamed := _users.of_keys(params.access_keys, aws)):
        name, user = renamed, _user(renamed, aws)
    label = f"user/{name}"
    if user is None:
        return _revocation.gone(target, params, f"{label} does not exist")
    reads: list[Callable[[], Any]] = [
        partial(_users.held, name, aws),
        partial(_denials.existing, aws, "User", name),
        partial(_identity.if_allowed, partial(_users.attached, name, aws)),
        partial(_residual.beyond, Origin(PrincipalType.USER, name), user["Arn"], aws, target.at),
    ]
    held, (policies, unlisted), attached, beyond = aws.together(*reads)
    denies_all = params.deny_all is not False
    denied = _denials.changes(label, _revocation.wanted(target, params, denies_all), policies)
    off, mfa = _users.turned_off(held), _users.unenrolled(held, params.enrolled_since)
    # What there is no room to deny is for people; the keys must not wait for that.
    full = _denials.overflow(aws, "User", denied, policies) if (*off, *mfa) else ""
    denied = () if full else denied
    left = _residual.of_user(
        held.after((*off, *mfa)), _revocation.denied(policies, denied, target.at), beyond
    )
    ended = "nothing is denied" if full else _revocation.ended(target, params, denies_all)
    made = _revocation.made(
        target,
        params,
        # The policy first: it also ends what the keys were exchanged for, and keeps new ones from
        # being made.
        (*denied, *off, *mfa),
        before={OWNER: label},
        lease=label,
        summary=f"{_turn_off(off, label)}{_from(target, label)}; {ended}.",
        blast_radius=(
            *_use(held, target, aws),
            f"role sessions that {label} began go on until they end: revoke those roles too",
            *_given_back(params, off, held),
            *_users.quarantine_told(attached or []),
        ),
        preflight=(
            *([Check(name="room for the policy", ok=False, detail=full)] if full else []),
            *_users.unread(held),
            *unlisted,
            *_identity.powers(user, attached),
            *_residual.checks(left),
        ),
        touched=Touched(resources={label: tags(user)}, principals=(user["Arn"],)),
        refusals=_denials.refusals(
            aws, "User", denied, policies, instead="attach AWSDenyAll by hand (AttachUserPolicy)"
        ),
        tasks=(_attach_task(label, full),) if full else (),
    )
    return _revocation.with_may(made, aws, iam=user["Arn"])


def of_role(target: Target, params: Params, name: str, aws: Aws) -> Plan:
    """Plan to deny a role to its sessions, by the policy that whoever owns the role can change."""
    role = _roles.role(name, aws)
    if role is None:
        return _revocation.gone(target, params, f"role/{name} does not exist")
    if permission_set := _identity_center.permission_set_of(role):
        return _plan_permission_set(target, params, role, permission_set, aws)
    if why := _roles.not_editable(role):
        return _revocation.refused(target, params, why)
    return _plan_role(target, params, role, aws)


def of_instance(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Plan to deny what an instance hands out, by its ARN; nothing if it has no role."""
    id = target.subject.id
    instance = _reading.instance(aws, id)
    role = _roles.of_instance(instance, aws) if instance else None
    if instance is None or (terminated(instance) and role is None):
        why = f"{id} {GONE}: what it was handed lives for up to 6 h, so revoke the role it had"
        return (_revocation.gone(target, params, why),)
    if role is None:
        return ()
    if why := _roles.not_editable(role):
        return (_revocation.refused(target, params, why),)
    arn = f"arn:{aws.partition}:ec2:{aws.region}:{aws.account}:instance/{id}"
    try:
        profile, before = _profile(id, params, aws)
    except Refused as refused:
        return (_revocation.refused(target, params, str(refused)),)
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
            f"other credentials on {id} are not: those of its containers' roles, keys in files",
        ),
        resources={id: tags(instance)},
    )
    return (_revocation.with_may(made, aws, iam=role["Arn"], ec2=arn),)


def of_function(target: Target, params: Params, aws: Aws) -> Plan:
    """Plan to deny what a function was given, by its ARN."""
    id, client = _function.name_of(target.subject.id), aws.client("lambda")
    found = or_none(lambda: dict(client.get_function_configuration(FunctionName=id)))
    role = _roles.of_function(found, aws) if found else None
    if found is None or role is None:
        why = f"{id} {GONE}: what it was given lives for up to 12 h, so revoke the role it had"
        return _revocation.gone(target, params, why)
    if why := _roles.not_editable(role):
        return _revocation.refused(target, params, why)
    # In its credentials a function goes by its ARN without version or alias.
    arn = ":".join(found["FunctionArn"].split(":")[:7])
    made = _made(
        target,
        params,
        role,
        {_denials.name_for_function(arn): _denials.one_function(arn)},
        aws,
        session=id,
        blast_radius=(
            f"all that the code of {id} asks of AWS is denied, to write its log too",
            f"what Lambda itself does for {id} with the role goes on: to read event sources, to"
            " make network interfaces, to decrypt environment variables",
        ),
        resources={id: client.list_tags(Resource=arn).get("Tags") or {}},
    )
    return _revocation.with_may(made, aws, iam=role["Arn"])


def not_ours(target: Target, params: Params, who: PrincipalType) -> Plan:
    """Plan what people are to do about somebody whom no policy of ours binds."""
    return _revocation.refused(target, params, WHY[who], _instead(who, target))


# A user


def _user(name: str, aws: Aws) -> dict[str, Any] | None:
    found = or_none(partial(aws.client("iam").get_user, UserName=name))
    return dict(found["User"]) if found else None


def _use(held: Held, target: Target, aws: Aws) -> list[str]:
    """Say what stops when the keys are turned off."""
    keys = held.credentials[_users.KEY] or ()
    active = [key["AccessKeyId"] for key in keys if key["Status"] == _users.ACTIVE]
    off = [key["AccessKeyId"] for key in keys if key["AccessKeyId"] not in active]
    return [
        *_usage.used(aws, target.at, keys=active),
        *(f"{key} is inactive already, and stays so" for key in off),
    ]


def _given_back(params: Params, off: tuple[Change, ...], held: Held) -> list[str]:
    """Say that whoever knows a credential by now has it again after release."""
    keys = "" if params.rotate or not off else "the same keys"
    password = "" if held.password is False else "the same password"
    back = " and ".join(filter(None, [keys, password]))
    return [f"release gives back {back}: replace before what others know"] if back else []


def _turn_off(off: tuple[Change, ...], label: str) -> str:
    """Return `Turn off 2 access keys, 1 SSH public key of user/alice`."""
    numbers = {
        kind.noun: sum(change.attribute == kind.attribute for change in off)
        for kind in _users.CREDENTIALS
    }
    told = [counted(number, noun) for noun, number in numbers.items() if number]
    return f"Turn off {', '.join(told)} of {label}" if told else f"Deny {label}, whose keys are off"


def _from(target: Target, label: str) -> str:
    id = target.subject.id
    if id == label:
        return ""
    if isinstance(target.subject, Principal) and target.subject.type is PrincipalType.FEDERATED:
        return f", who got the session of {id}"
    return f", which has the keys of {id}"


# A role


def _plan_role(target: Target, params: Params, role: dict[str, Any], aws: Aws) -> Plan:
    name = role["RoleName"]
    label, document = f"role/{name}", _roles.trust(role)
    reads: list[Callable[[], Any]] = [
        partial(_denials.existing, aws, "Role", name),
        partial(_roles.attached, name, aws),
        partial(_roles.instances_told, name, aws),
        partial(_residual.beyond, Origin(PrincipalType.ROLE, name), role["Arn"], aws, target.at),
        partial(_usage.used, aws, target.at, roles=[name]),
    ]
    (policies, unlisted), attached, instances, beyond, used = aws.together(*reads)
    denies_all = bool(params.deny_all)
    denied = _denials.changes(label, _revocation.wanted(target, params, denies_all), policies)
    narrowed = _roles.narrowing(label, document, params.trusted) if params.narrow_trust else ()
    left = _residual.of_role(
        role,
        _revocation.denied(policies, denied, target.at),
        beyond,
        trust=str(narrowed[0].after) if narrowed else document,
        instances=instances,
    )
    made = _revocation.made(
        target,
        params,
        # The trust first: a session that began before is one that the deny must still catch.
        (*narrowed, *denied),
        before={OWNER: label},
        lease=label,
        summary=(
            f"Revoke {label} for all who use it: {_revocation.ended(target, params, denies_all)}"
            f"{'; no new ones begin' if narrowed else ''}."
        ),
        blast_radius=(
            _felt(label, denies_all, bool(narrowed)),
            *([_kept_out(document, params)] if narrowed else []),
            *used,
        ),
        preflight=(*unlisted, *_identity.powers(role, attached), *_residual.checks(left)),
        touched=Touched(resources={label: tags(role)}, principals=(role["Arn"],)),
        refusals=(
            *_denials.refusals(
                aws, "Role", denied, policies, instead="make one of them a managed policy"
            ),
            *_roles.trust_refusals(narrowed, aws),
        ),
    )
    return _revocation.with_may(made, aws, iam=role["Arn"])


def _felt(label: str, denies_all: bool, narrowed: bool) -> str:
    if denies_all:
        return f"whoever uses {label} is denied everything until release, new sessions too"
    if narrowed:
        return f"whoever uses {label} is denied everything until release"
    # The metadata service renews credentials only shortly before they end.
    return (
        f"whoever uses {label} is denied everything until they begin a new session; instances,"
        " until they are handed new credentials, up to 6 h later"
    )


def _kept_out(document: str, params: Params) -> str:
    but = f", but {', '.join(params.trusted)}" if params.trusted else ""
    return (
        f"nobody can begin a session any more{but}, services of AWS neither (now let in:"
        f" {_roles.trusted(document)})"
    )


# A role of IAM Identity Center


def _plan_permission_set(
    target: Target, params: Params, role: dict[str, Any], name: str, aws: Aws
) -> Plan:
    label, center = f"role/{role['RoleName']}", params.identity_center
    cutoff = None if params.deny_all else target.at + params.margin
    whom = (center and center.user) or f"whoever acted as {label}"
    tasks = _portal_tasks(whom, aws.account, name)
    found = _identity_center.find(center, name, aws) if center else ""
    if center is None or isinstance(found, str):
        deny = _denials.text(_identity_center.statement(cutoff, "USER-ID"))
        why = "; ".join(filter(None, [_roles.not_editable(role), str(found)]))
        todo = (_deny_task(name, aws.account, deny), *tasks)
        return _revocation.refused(target, params, why, todo)
    there = aws.elsewhere(account=center.account, region=center.region)
    deny_all_of = _identity_center.statement(cutoff, found.user_id)
    others = _identity_center.others(center, found.instance, found.arn, deny_all_of, aws)
    origin = Origin(PrincipalType.ROLE, role["RoleName"])
    beyond = _residual.beyond(origin, role["Arn"], aws, target.at)
    changes, too_long = _identity_center.changes(label, found, deny_all_of, aws)
    made = _revocation.made(
        target,
        params,
        changes,
        before={OWNER: label, **_identity_center.before(center, found, deny_all_of)},
        lease=found.label,
        summary=(
            f"Deny everything to {center.user or 'everybody'} in {found.label}:"
            f" {_revocation.ended(target, params, bool(params.deny_all))}."
        ),
        blast_radius=(
            f"{center.user or 'everybody'} is denied in every account that has {found.label}",
            f"provisioning {found.label} also carries out other changes of it that are waiting",
        ),
        preflight=_residual.checks(
            _residual.of_permission_set(found.label, cutoff, True, others, beyond, target.at)
        ),
        touched=Touched(resources={label: tags(role), found.label: {}}, principals=(role["Arn"],)),
        refusals=(too_long,) if too_long else (),
        tasks=tasks,
    )
    return _revocation.with_may(made, there, **{"sso-admin": found.arn})


# One instance or function


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
    id, name = session, role["RoleName"]  # the session of either is named after it
    label = f"role/{name}"
    reads: list[Callable[[], Any]] = [
        partial(_denials.existing, aws, "Role", name, wanted),
        partial(_roles.attached, name, aws),
        partial(
            _residual.beyond,
            Origin(PrincipalType.ROLE, name, session),
            role["Arn"],
            aws,
            target.at,
        ),
    ]
    (policies, unlisted), attached, beyond = aws.together(*reads)
    denied = _denials.changes(label, wanted, policies)
    handed = f"what {id} is handed as {label}"
    left = _residual.of_one(handed, True, beyond, target.at)
    return _revocation.made(
        target,
        params,
        (*denied, *profile),
        before={OWNER: label, HANDED: handed, SESSION: session, **(before or {})},
        lease=f"{label}/{id}",
        summary=f"Deny everything to what {id} was handed as {label}, wherever it is used.",
        blast_radius=(
            *blast_radius,
            *(f"{id} runs with {c.after or 'no profile'} in place of {c.before}" for c in profile),
            f"other users of {label} feel nothing",
        ),
        lost=tuple(f"the association of {c.before} gets a new id" for c in profile),
        preflight=(*unlisted, *_identity.powers(role, attached), *_residual.checks(left)),
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
    association = _roles.association(id, aws)
    if association is None:
        return (), {}
    old, new = _roles.profile(association), None
    if params.profile != "remove":
        name, iam = params.profile, aws.client("iam")
        found = or_none(lambda: iam.get_instance_profile(InstanceProfileName=name))
        if found is None:
            raise Refused(f"there is no instance profile {name}: make it, or remove the profile")
        new = found["InstanceProfile"]["Arn"]
    if old == new:
        return (), {}
    change = Change(resource=id, attribute=_roles.PROFILE, before=old, after=new)
    return (change,), {ASSOCIATION: association["AssociationId"]}


# What only people can do


def _instead(who: PrincipalType, target: Target) -> tuple[str, ...]:
    """Return what people are to do about a principal whose credentials we cannot revoke."""
    account, at = target.subject.account, instant(target.at)
    match who:
        case PrincipalType.ROOT:
            return _root(account, at)
        case PrincipalType.FEDERATED:
            return (
                f"Find in CloudTrail of account {account} which user or role got the session of"
                f" {target.subject.id} (GetFederationToken, AssumeRoleWithSAML,"
                " AssumeRoleWithWebIdentity), and revoke that one. Done when its incident is open.",
                *_identity_provider(target.subject.id),
            )
        case PrincipalType.ACCOUNT:
            return (
                f"Take {target.subject.id} out of the trust policies and resource policies of"
                f" account {account} that let it in (IAM Access Analyzer lists them), and revoke"
                f" the roles that it assumed, for sessions begun before {at}. Done when Access"
                " Analyzer finds none.",
            )
        case _:
            return ()


def _identity_provider(who: str) -> tuple[str, ...]:
    """Return what is to be done where people log in."""
    return (
        f"At the identity provider, disable the account of {who}, end its sessions and reset its"
        " second factor. Done when a sign-in there is refused.",
    )


def _portal_tasks(user: str, account: str, permission_set: str) -> tuple[str, ...]:
    """Return what is to be done at IAM Identity Center, which has no API for its own sessions."""
    return (
        f"In the console of IAM Identity Center, under Users, disable access of {user}, then under"
        " Active sessions end all of them: unassigning alone ends none. Done when the user shows as"
        " disabled and the list of sessions is empty.",
        f"Remove the assignments of {user} for permission set {permission_set} in account"
        f" {account}, and in every other account that the user has. Done when the access portal"
        " offers none.",
        *_identity_provider(user),
    )


def _attach_task(label: str, why: str) -> str:
    """Return the task of denying to a user what no inline policy has room to."""
    return (
        f"Attach the managed policy AWSDenyAll to {label} at once (AttachUserPolicy), as {why}: its"
        " tokens and its password work until then. Done when ListAttachedUserPolicies shows it."
    )


def _deny_task(name: str, account: str, statement: str) -> str:
    """Return the task of denying in a permission set what no member account can deny."""
    return (
        f"In the management or delegated administrator account, add this statement to the inline"
        f" policy of permission set {name} (PutInlinePolicyToPermissionSet), and provision it to"
        f" all accounts (ProvisionPermissionSet): {statement} Done when the role of account"
        f" {account} has it in AwsSSOInlinePolicy."
    )


def _root(account: str, at: str) -> tuple[str, ...]:
    return (
        f"If account {account} is a member of an organisation: from the management account attach a"
        " service control policy that denies everything to its root user (aws:PrincipalArn"
        f" arn:aws:iam::{account}:root). Done when a call of the root user is denied. On a"
        " management account no such policy works: open a case with AWS Support at once.",
        f"Delete the access keys of the root user of account {account}, by its own sign-in or by"
        " sts:AssumeRoot from the management account (task policy IAMDeleteRootUserCredentials)."
        " Done when iam:GetAccountSummary shows AccountAccessKeysPresent 0.",
        f"Change the password of the root user of account {account}, check that its e-mail address"
        " and telephone number are ours, remove MFA devices that are not and enrol a new one. Done"
        " when the sign-in demands the new one.",
        f"Look in CloudTrail for what the root user of account {account} did before {at}: users,"
        " keys and roles made, trust policies changed. Tokens of GetSessionToken that the root user"
        " got cannot be revoked and live for up to 1 h. Done when each is found to be ours or is"
        " contained.",
    )
