"""The plan that turns off all credentials of an IAM user."""

from collections.abc import Callable
from functools import partial
from typing import Any

from activities.aws import _denials, _identity, _residual, _revoking, _sessions, _usage, _users
from activities.aws._reading import counted, or_none, tags
from activities.aws._revocation import OWNER
from activities.aws._revoking import Params
from activities.aws._sessions import Origin
from activities.aws._users import Held
from firedoor.cloud.aws import Aws
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Change, Plan, Target, Touched


def plan(target: Target, params: Params, name: str, aws: Aws) -> Plan:
    """Plan to turn off the credentials of a user, and to deny what was got with them."""
    label = f"user/{name}"
    user = or_none(lambda: aws.client("iam").get_user(UserName=name)["User"])
    if user is None:
        return _revoking.gone(target, params, f"{label} does not exist")
    reads: list[Callable[[], Any]] = [
        partial(_users.held, name, aws),
        partial(_identity.inline_policies, aws, "User", name),
        partial(_identity.attached_policies, aws, "User", name),
        partial(_users.through_groups, name, aws),
        partial(_sessions.begun_by, Origin(PrincipalType.USER, name), aws, target.at),
    ]
    held, policies, attached, of_groups, sessions = aws.together(*reads)
    denies_all = params.deny_all is not False
    denied = _denials.changes(label, _revoking.wanted(target, params, denies_all), policies)
    off, mfa = _users.turned_off(held), _users.unenrolled(held, params.enrolled_since)
    left = _residual.of_user(
        held.after((*off, *mfa)), _revoking.denied(policies, denied, target.at), sessions
    )
    ended = _revoking.ended(target, params, denies_all)
    made = _revoking.made(
        target,
        params,
        # The policy first: it also ends what the keys were exchanged for, and keeps new ones from
        # being made.
        (*denied, *off, *mfa),
        before={OWNER: label},
        lease=label,
        summary=f"Turn off {_told(off)} of {label}{_from(target, label)}; {ended}.",
        blast_radius=(
            *_use(held, target, aws),
            f"{label}: {ended}",
            f"roles that {label} has assumed stay in use until those sessions end: revoke them too",
            *_users.quarantine_told([*attached, *of_groups]),
        ),
        preflight=(
            *_users.unread(held),
            *_identity.powers(user, [*attached, *of_groups]),
            *_residual.checks(left),
        ),
        touched=Touched(resources={label: tags(user)}, principals=(user["Arn"],)),
        refusals=_denials.refusals(
            aws, "User", denied, policies, instead="attach AWSDenyAll by hand (AttachUserPolicy)"
        ),
    )
    return _revoking.with_may(made, aws, iam=user["Arn"])


def _use(held: Held, target: Target, aws: Aws) -> list[str]:
    """Say what stops when the keys are turned off."""
    keys = held.credentials[_users.KEY] or ()
    active = [key["AccessKeyId"] for key in keys if key["Status"] == _users.ACTIVE]
    off = [key["AccessKeyId"] for key in keys if key["AccessKeyId"] not in active]
    return [
        *_usage.used(aws, target.at, keys=active),
        *(f"{key} is inactive already, and stays so" for key in off),
    ]


def _told(off: tuple[Change, ...]) -> str:
    """Return `2 access keys, 1 SSH public key`."""
    numbers = {
        kind.noun: sum(change.attribute == kind.attribute for change in off)
        for kind in _users.CREDENTIALS
    }
    told = [counted(number, noun) for noun, number in numbers.items() if number]
    return ", ".join(told) or "no access key"


def _from(target: Target, label: str) -> str:
    id = target.subject.id
    return "" if id == label else f", who got the session of {id}"
