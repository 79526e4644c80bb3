"""What all plans of a revocation have in common: parameters, calls, and what is refused."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pydantic import AwareDatetime, Field

from activities.aws import _denials, _identity, _identity_center, _revocation, _tasks, _users
from activities.aws._identity_center import IdentityCenter
from activities.aws._residual import Denied
from firedoor.cloud.aws import Aws
from firedoor.model.base import Model
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Call, Change, Check, Plan, Target

ID = "aws.revoke_credentials"

# Services whose operations go by another name in policies.
PREFIXES = {"sso-admin": "sso"}

MFA_LOST = "cannot be enrolled again by us: only who has the device can"


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
    trusted: tuple[str, ...] = Field(
        default=(), description="ARNs, with wildcards, that may use a role all the same"
    )
    identity_center: IdentityCenter | None = Field(
        default=None, description="for roles of IAM Identity Center, which only it can change"
    )


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
    forth = [call for c in changes for call in _revocation.calls(plan, c, c.after)]
    return plan.model_copy(
        update={
            "calls": tuple(forth),
            "undo": tuple(call for c in back for call in _revocation.calls(plan, c, c.before)),
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


def not_ours(target: Target, params: Params, who: PrincipalType) -> Plan:
    """Return the plan for whom no policy of ours binds."""
    return refused(target, params, _tasks.WHY[who], _tasks.instead(who, target))


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


def _permission(call: Call) -> str:
    return f"{PREFIXES.get(call.service, call.service)}:{call.operation}"
