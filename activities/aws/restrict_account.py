"""Restriction of a member account by an emergency service control policy of its organisation."""

import json
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from activities.aws import _bucket_policy, _identity, _scp
from activities.aws._reading import Blind, counted
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
from firedoor.errors import AccessDenied, CloudError, NotFound, Refused
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind, Principal, PrincipalType
from firedoor.model.plan import LATER, Call, Change, Check, Plan, Proof, Receipt, Target, Touched

CHANGING = ("AttachPolicy", "CreatePolicy", "DeletePolicy", "DetachPolicy")

NOT_IN_USE = "AWSOrganizationsNotInUseException"

CONTENT, ATTACHED = "content", "attached"

Pattern = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9-]+:[A-Za-z0-9*?]+)$")]
Arn = Annotated[str, StringConstraints(pattern=r"^arn:[a-z-]+:iam::[0-9*]+:(role|user)/.+$")]


class Params(Model):
    """What a runbook may set."""

    actions: tuple[Pattern, ...] = Field(
        default=_scp.DESTRUCTIVE,
        min_length=1,
        description="what is denied; by default what destroys data, copies, keys and records",
    )
    exempt: tuple[Arn, ...] = Field(
        default=(),
        description="ARNs of who is never denied, for one the break-glass role; * is wild",
    )
    delegate: str = Field(
        default="",
        pattern=r"^(\d{12})?$",
        description="the account to which Organizations delegates such policies; by default the"
        " management account is asked",
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Deny destructive operations in a member account to all but break-glass and Firedoor.

    The policy is made and attached in the management account, and binds the account's root too.
    """
    spared = dict.fromkeys((*target.spared, *params.exempt))
    params = params.model_copy(update={"exempt": tuple(spared)})
    exempt = (*_bucket_policy.who_we_are(aws.identity, aws.partition), *params.exempt)
    content = _scp.document(params.actions, exempt)
    name = _scp.name(target.subject.account, content)
    try:
        _expect_an_account(target)
        if len(content) > _scp.MOST_CHARACTERS:
            raise Refused(
                f"the policy has {len(content)} characters, and {_scp.MOST_CHARACTERS} are allowed:"
                " deny fewer actions, or shorten them with *"
            )
        office = _office(target, params, aws)
    except Refused as refusal:
        return (_refused(target, params, str(refusal)),)
    try:
        return (_plan_in(office, target, params, aws, name, content),)
    except Refused as refusal:
        return (_refused(target, params, str(refusal)),)
    except AccessDenied as error:
        return (_left_to_people(target, params, office, name, content, str(error)),)


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make the policy, unless it is there, and attach it."""
    if not plan.calls:
        return receipt(plan)
    office = aws.elsewhere(account=str(plan.before["office"]), region=_scp.REGION)
    todo = {change.attribute for change in outstanding(plan, _state(office, plan))}
    with aws.only(plan.calls) as permit:
        if CONTENT in todo:
            _create(plan, aws, office)
        id = _id(plan, office)
        if ATTACHED in todo:
            call = _with_id(plan.calls[-1], id)
            try:
                aws.call(call)
            except CloudError as error:
                if error.code != "DuplicatePolicyAttachmentException":
                    raise
    return receipt(plan, permit.made, created={"policy": id})


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that the policy says what it said, is attached, and that such policies are in force."""
    office = aws.elsewhere(account=str(plan.before["office"]), region=_scp.REGION)
    now = _state(office, plan)
    checks = [
        Check(name="service control policies are enabled", ok=_scp.enabled(office)),
        Check(
            name="the policy says what it said",
            ok=now[_resource(plan), CONTENT] == json.loads(str(plan.before["content"])),
        ),
        Check(
            name=f"it is attached to {plan.target.subject.account}",
            ok=now[_resource(plan), ATTACHED] is True,
        ),
    ]
    return proof(plan, checks)


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Detach the policy, and delete it if we made it and nobody else uses it."""
    if not plan.undo:
        return receipt(plan)
    office = aws.elsewhere(account=str(plan.before["office"]), region=_scp.REGION)
    try:
        ours, left = restorable(plan, _state(office, plan))
    except CloudError as error:
        if error.code != NOT_IN_USE:
            raise
        return receipt(plan, left=("the organisation does not exist any more, nor its policies",))
    with aws.only(plan.undo) as permit:
        for change in ours:
            call = _with_id(plan.undo[-1 - plan.changes.index(change)], _id(plan, office))
            try:
                aws.call(call)
            except NotFound:
                continue  # done by an earlier attempt
            except CloudError as error:
                if error.code != "PolicyInUseException":
                    raise
                left = (*left, f"{_resource(plan)} is kept: others use it too")
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.ACCOUNT, Kind.PRINCIPAL}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "iam:GetAccountSummary",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "organizations:DescribeAccount",
            "organizations:DescribeOrganization",
            "organizations:DescribePolicy",
            "organizations:ListPolicies",
            "organizations:ListPoliciesForTarget",
            "organizations:ListRoots",
            "organizations:ListTagsForResource",
        ),
        apply=(
            "organizations:AttachPolicy",
            "organizations:CreatePolicy",
            "organizations:DescribePolicy",
            "organizations:ListPolicies",
            "organizations:ListPoliciesForTarget",
            "organizations:TagResource",
        ),
        verify=(
            "organizations:DescribePolicy",
            "organizations:ListPolicies",
            "organizations:ListPoliciesForTarget",
            "organizations:ListRoots",
        ),
        revert=(
            "organizations:DeletePolicy",
            "organizations:DescribePolicy",
            "organizations:DetachPolicy",
            "organizations:ListPolicies",
            "organizations:ListPoliciesForTarget",
        ),
    ),
    techniques=("T1078.004", "T1098", "T1485", "T1486", "T1490", "T1562.008"),
    countermeasures=("D3-UAP",),
)


# What a plan holds


def _expect_an_account(target: Target) -> None:
    subject = target.subject
    if isinstance(subject, Principal) and subject.type is not PrincipalType.ROOT:
        raise Refused(
            f"{subject.id} is one principal, and a policy of the organisation binds its whole"
            " account: revoke its credentials instead"
        )


def _office(target: Target, params: Params, aws: Aws) -> Aws:
    """Return the clients of the account that may restrict others."""
    account = target.subject.account
    try:
        organization = aws.elsewhere(region=_scp.REGION).client("organizations")
        found = organization.describe_organization()["Organization"]
    except CloudError as error:
        if error.code != NOT_IN_USE:
            raise
        raise Refused(
            f"{account} is in no organisation, so no service control policy can bind it: revoke the"
            " credentials of its principals, one by one"
        ) from error
    if account == found["MasterAccountId"]:
        raise Refused(
            f"{account} is the management account, which no service control policy binds: revoke"
            " its principals one by one, and ask AWS Support if its root is lost"
        )
    office = params.delegate or found["MasterAccountId"]
    return aws.elsewhere(account=office, region=_scp.REGION)


def _plan_in(
    office: Aws, target: Target, params: Params, aws: Aws, name: str, content: str
) -> Plan:
    account, blind = target.subject.account, Blind()
    reads: list[Callable[[], Any]] = [
        lambda: _account(office, account),
        lambda: _scp.by_name(office, name),
        lambda: _attached(office, account),
        lambda: _scp.enabled(office),
        lambda: _identity.may(office, [f"organizations:{name}" for name in CHANGING], "*"),
    ]
    reads.append(partial(blind.tried, "who is in the account", partial(_numbers, aws), None))
    described, policy, attached, enabled, may, numbers = office.together(*reads)
    _expect_room(account, described, attached, enabled, name)
    if policy and json.loads(policy["Content"]) != json.loads(content):
        raise Refused(
            f"{name} is there and says something else than we would: look who changed it, and"
            " detach and delete it, or keep it as it is"
        )
    if not may.ok and may.detail.startswith("denied"):
        return _left_to_people(target, params, office, name, content, may.detail)
    is_attached = name in {one["Name"] for one in attached}
    changes, calls, undo = _effects(target, office, name, content, policy, is_attached)
    return Plan(
        action="aws.restrict_account",
        target=target,
        lease=account,
        params=_params(params),
        summary=_summary(account, params, calls),
        before={"office": office.account, "name": name, "content": content},
        changes=changes,
        calls=calls,
        undo=undo,
        blast_radius=_felt(account, params, numbers),
        preflight=(may, *_checks(params, attached), *blind.checks),
        lost=("What was denied meanwhile is not made up for",) if calls else (),
        touched=Touched(
            resources={f"account/{account}": _tags(office, account)},
            principals=(f"arn:{aws.partition}:iam::{account}:root",),
        ),
    )


def _effects(
    target: Target,
    office: Aws,
    name: str,
    content: str,
    policy: dict[str, Any] | None,
    is_attached: bool,
) -> tuple[tuple[Change, ...], tuple[Call, ...], tuple[Call, ...]]:
    account, resource = target.subject.account, f"policy/{name}"
    id = policy["Id"] if policy else LATER
    changes, calls, undo = [], [], []
    if policy is None:
        changes.append(
            Change(resource=resource, attribute=CONTENT, before=None, after=json.loads(content))
        )
        tags = {"firedoor:incident": target.incident, "firedoor:step": target.step}
        made = {
            "Content": content,
            "Description": f"Emergency restriction of {account}",
            "Name": name,
            "Type": _scp.TYPE,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
        calls.append(_call(office, "CreatePolicy", made))
        undo.append(_call(office, "DeletePolicy", {"PolicyId": id}))
    if not is_attached:
        there = {"PolicyId": id, "TargetId": account}
        changes.append(Change(resource=resource, attribute=ATTACHED, before=False, after=True))
        calls.append(_call(office, "AttachPolicy", there))
        undo.append(_call(office, "DetachPolicy", there))
    return tuple(changes), tuple(calls), tuple(reversed(undo))


def _call(office: Aws, operation: str, parameters: dict[str, Any]) -> Call:
    return Call(
        service="organizations",
        operation=operation,
        parameters=parameters,
        account=office.account,
        region=office.region,
    )


def _expect_room(
    account: str,
    described: dict[str, Any] | None,
    attached: list[dict[str, Any]],
    enabled: bool,
    name: str,
) -> None:
    if described is None:
        raise Refused(f"{account} is no account of our organisation: ask its owner to restrict it")
    if not enabled:
        raise Refused(
            "service control policies are not enabled in this organisation: to enable them changes"
            " all accounts, so its owner must, or revoke the principals of the account one by one"
        )
    names = [one["Name"] for one in attached]
    if name not in names and len(names) >= _scp.MOST_ATTACHED:
        raise Refused(
            f"{account} has {len(names)} service control policies attached, and"
            f" {_scp.MOST_ATTACHED} is the most: attach ours to an organizational unit that holds"
            f" only it, or merge two of {', '.join(sorted(names))}"
        )


# What an approver reads


def _summary(account: str, params: Params, calls: tuple[Call, ...]) -> str:
    if not calls:
        return f"The emergency policy is attached to account {account} already."
    what = f"{len(params.actions)} kinds of operations"
    if "*" in params.actions:
        what = "everything"
    elif params.actions == _scp.DESTRUCTIVE:
        what = f"{what} that destroy data, copies, keys and records"
    return f"Deny {what} in account {account} to all but the exempt."


def _felt(account: str, params: Params, numbers: tuple[int, int] | None) -> tuple[str, ...]:
    spared = ", ".join(params.exempt) or "nobody else"
    who = "users and roles"
    if numbers:
        who = f"{counted(numbers[0], 'user')} and {counted(numbers[1], 'role')}"
    return (
        f"All {who} of {account} are denied, its root too, and what runs as them;"
        f" exempt are Firedoor and {spared}",
        "Not bound are service-linked roles, principals of other accounts that act there by the"
        " policies of its resources, and what was begun before",
        "It takes effect within minutes, not at once",
    )


def _checks(params: Params, attached: list[dict[str, Any]]) -> tuple[Check, ...]:
    return (
        Check(
            name="break-glass is exempt",
            ok=bool(params.exempt),
            detail="" if params.exempt else "only Firedoor itself is: name a role in `exempt`",
        ),
        Check(
            name="room for a policy",
            ok=True,
            detail=f"{len(attached)} of {_scp.MOST_ATTACHED} attached",
        ),
    )


def _refused(target: Target, params: Params, why: str) -> Plan:
    account = target.subject.account
    return Plan(
        action="aws.restrict_account",
        target=target,
        lease=account,
        params=_params(params),
        summary=f"Account {account} cannot be restricted.",
        refusals=(why,),
    )


def _left_to_people(
    target: Target, params: Params, office: Aws, name: str, content: str, why: str
) -> Plan:
    account = target.subject.account
    task = (
        f"In account {office.account}, create the service control policy {name} and attach it to"
        f" {account}; done when ListPoliciesForTarget shows it there. Its content: {content}"
    )
    reason = (
        f"Firedoor may not restrict accounts from {office.account}: {why}: have an administrator"
        " do it, as the task says"
    )
    return _refused(target, params, reason).model_copy(update={"tasks": (task,)})


def _params(params: Params) -> dict[str, Any]:
    return params.model_dump(mode="json")


# What is read


def _numbers(aws: Aws) -> tuple[int, int]:
    """Count the users and the roles of an account."""
    summary = aws.client("iam").get_account_summary()["SummaryMap"]
    return summary.get("Users", 0), summary.get("Roles", 0)


def _account(office: Aws, account: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = office.client("organizations").describe_account(AccountId=account)
    except NotFound:
        return None
    return found["Account"]  # type: ignore[no-any-return]


def _attached(office: Aws, account: str) -> list[dict[str, Any]]:
    try:
        return _scp.attached(office, account)
    except NotFound:
        return []


def _tags(office: Aws, account: str) -> dict[str, str]:
    found = office.pages("organizations", "ListTagsForResource", "Tags", ResourceId=account)
    return {tag["Key"]: tag["Value"] for tag in found}


def _state(office: Aws, plan: Plan) -> State:
    policy = _scp.by_name(office, str(plan.before["name"]))
    attached = _attached(office, plan.target.subject.account)
    resource = _resource(plan)
    return {
        (resource, CONTENT): json.loads(policy["Content"]) if policy else None,
        (resource, ATTACHED): str(plan.before["name"]) in {one["Name"] for one in attached},
    }


def _resource(plan: Plan) -> str:
    return f"policy/{plan.before['name']}"


def _id(plan: Plan, office: Aws) -> str:
    policy = _scp.by_name(office, str(plan.before["name"]))
    return str(policy["Id"]) if policy else ""


# What is changed


def _create(plan: Plan, aws: Aws, office: Aws) -> None:
    try:
        aws.call(plan.calls[0])
    except CloudError as error:
        # Somebody was faster, which is fine if it was with the same.
        if error.code != "DuplicatePolicyException":
            raise
        if _state(office, plan)[_resource(plan), CONTENT] != plan.changes[0].after:
            raise


def _with_id(call: Call, id: str) -> Call:
    parameters = {**call.parameters}
    if parameters.get("PolicyId") == LATER:
        parameters["PolicyId"] = id
    return call.model_copy(update={"parameters": parameters})
