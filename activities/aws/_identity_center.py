"""IAM Identity Center: its roles belong to AWS, so its permission sets are what can deny."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import Field, JsonValue

from activities.aws import _denials, _identity
from activities.aws._reading import counted, or_none
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused
from firedoor.model.base import Model
from firedoor.model.plan import Call, Change, Plan

POLICY = "permission set policy"
PROVISIONED = "permission set provisioned"
"""The attributes of changes: what the permission set says, and whether the account's role does."""

# In which inline policy of an account's role a permission set's own one is found.
IN_ACCOUNT = "AwsSSOInlinePolicy"

ROLE = re.compile(r"AWSReservedSSO_(?P<set>.+)_[0-9a-f]{16}")
PATH = "/aws-reserved/sso.amazonaws.com/"

QUOTA = 10_240
"""Characters that a permission set's inline policy may have, white space not counted.
https://docs.aws.amazon.com/singlesignon/latest/userguide/limits.html"""


class IdentityCenter(Model):
    """Where IAM Identity Center is administered, and whose sessions are to end."""

    account: str = Field(
        pattern=r"^\d{12}$", description="the management or delegated administrator account"
    )
    region: str = Field(description="where the instance of Identity Center is")
    user: str = Field(
        default="", description="the user name; none: everybody who has the permission set"
    )


@dataclass(frozen=True)
class PermissionSet:
    """A permission set, and the user of it that is meant."""

    instance: str
    arn: str
    name: str
    policy: str
    user_id: str

    @property
    def label(self) -> str:
        """How plans call it."""
        return f"permission-set/{self.name}"


@dataclass(frozen=True)
class Others:
    """The other permission sets that a user has, and in how many accounts; or why not known."""

    user: str
    known: tuple[str, ...] = ()
    gap: str = ""


def permission_set_of(role: Mapping[str, Any]) -> str | None:
    """Return the permission set that a role was made from; None if it is another role."""
    found = ROLE.fullmatch(role["RoleName"])
    return found["set"] if found and role["Path"].startswith(PATH) else None


def statement(cutoff: datetime | None, user_id: str) -> dict[str, Any]:
    """Deny everything to sessions that began before an instant, or to all; of one user, or of all.

    https://docs.aws.amazon.com/singlesignon/latest/userguide/prereqs-revoking-user-permissions.html
    """
    condition: dict[str, Any] = {}
    if user_id:
        condition["StringEquals"] = {"identitystore:UserId": user_id}
    if cutoff:
        condition["DateLessThan"] = {"aws:TokenIssueTime": _denials.instant(cutoff)}
    sid = "FiredoorDeny" + re.sub("[^0-9A-Za-z]", "", user_id or "Everybody")
    deny: dict[str, Any] = {"Sid": sid, "Effect": "Deny", "Action": "*", "Resource": "*"}
    return deny | ({"Condition": condition} if condition else {})


def find(center: IdentityCenter, name: str, aws: Aws) -> PermissionSet | str:
    """Read a permission set and the user's id, or return why they cannot be had."""
    try:
        home = aws.elsewhere(account=center.account, region=center.region)
        return _found(center, name, home)
    except (CloudError, Refused) as error:
        return f"IAM Identity Center could not be read from account {center.account}: {error}"


def changes(
    label: str, found: PermissionSet, deny: Mapping[str, Any], aws: Aws
) -> tuple[tuple[Change, ...], str]:
    """Return what is to change in the permission set and in the account's role, and why not."""
    provisioned = Change(resource=label, attribute=PROVISIONED, before=False, after=True)
    if _denies(found.policy, deny):
        return (() if _is_provisioned(label, deny, aws) else (provisioned,)), ""
    merged = _merged(found.policy, deny)
    too_long = len("".join(merged.split())) > QUOTA
    why = f"the inline policy of {found.label} would have more than {QUOTA} characters: use an SCP"
    return (
        Change(resource=found.label, attribute=POLICY, before=found.policy, after=merged),
        provisioned,
    ), (why if too_long else "")


def before(center: IdentityCenter, found: PermissionSet, deny: Mapping[str, Any]) -> dict[str, Any]:
    """Return what apply and revert need beside the changes."""
    return {
        "center": center.model_dump(mode="json"),
        "instance": found.instance,
        "permission_set": found.arn,
        "statement": dict(deny),
    }


def call(plan: Plan, change: Change, value: JsonValue) -> Call:
    """Return the call that sets what a change is about to a value."""
    center: Any = plan.before["center"]
    where = {"account": center["account"], "region": center["region"]}
    own = {
        "InstanceArn": plan.before["instance"],
        "PermissionSetArn": plan.before["permission_set"],
    }
    if change.attribute == PROVISIONED:
        # Everywhere: the person's sessions in other accounts are the same person's.
        own["TargetType"] = "ALL_PROVISIONED_ACCOUNTS"
        operation = "ProvisionPermissionSet"
    elif value:
        own["InlinePolicy"] = value
        operation = "PutInlinePolicyToPermissionSet"
    else:
        operation = "DeleteInlinePolicyFromPermissionSet"
    return Call(service="sso-admin", operation=operation, parameters=own, **where)


def state(plan: Plan, aws: Aws) -> State:
    """Read what the permission set says, and whether the account's role says so too."""
    if "center" not in plan.before:
        return {}
    center = IdentityCenter.model_validate(plan.before["center"])
    label = str(plan.before["owner"])
    home = aws.elsewhere(account=center.account, region=center.region)
    reads: list[Callable[[], str | bool]] = [
        partial(_policy, home, str(plan.before["instance"]), str(plan.before["permission_set"])),
        partial(_is_provisioned, label, plan.before["statement"], aws),
    ]
    text, provisioned = aws.together(*reads)
    return {(plan.lease, POLICY): text, (label, PROVISIONED): provisioned}


def is_under_way(plan: Plan, aws: Aws) -> bool:
    """Say whether the permission set is being provisioned just now."""
    center = IdentityCenter.model_validate(plan.before["center"])
    home = aws.elsewhere(account=center.account, region=center.region)
    running = home.pages(
        "sso-admin",
        "ListPermissionSetProvisioningStatus",
        "PermissionSetsProvisioningStatus",
        InstanceArn=plan.before["instance"],
        Filter={"Status": "IN_PROGRESS"},
    )
    # A listing names requests only; which permission set one is about, each has to be asked.
    for request in running:
        told = home.client("sso-admin").describe_permission_set_provisioning_status(
            InstanceArn=plan.before["instance"],
            ProvisionPermissionSetRequestId=request["RequestId"],
        )["PermissionSetProvisioningStatus"]
        if told.get("PermissionSetArn") == plan.before["permission_set"]:
            return True
    return False


def others(
    center: IdentityCenter, instance: str, own: str, deny: Mapping[str, Any], aws: Aws
) -> Others:
    """Read which other permission sets somebody has, as their sessions are not denied here.

    Those count too that come by a group.
    """
    user_id = deny.get("Condition", {}).get("StringEquals", {}).get("identitystore:UserId")
    if not user_id:
        return Others(center.user, gap="no user is named whose they could be")
    try:
        home = aws.elsewhere(account=center.account, region=center.region)
        return Others(center.user, _others(instance, own, user_id, home))
    except (CloudError, Refused) as error:
        return Others(center.user, gap=str(error))


def _others(instance: str, own: str, user_id: str, home: Aws) -> tuple[str, ...]:
    assigned = home.pages(
        "sso-admin",
        "ListAccountAssignmentsForPrincipal",
        "AccountAssignments",
        InstanceArn=instance,
        PrincipalId=user_id,
        PrincipalType="USER",
    )
    accounts: dict[str, set[str]] = {}
    for one in assigned:
        if one["PermissionSetArn"] != own:
            accounts.setdefault(one["PermissionSetArn"], set()).add(one["AccountId"])
    return tuple(
        f"{_name(instance, arn, home)} in {counted(len(ids), 'account')}"
        for arn, ids in sorted(accounts.items())
    )


def _name(instance: str, arn: str, home: Aws) -> str:
    described = home.client("sso-admin").describe_permission_set(
        InstanceArn=instance, PermissionSetArn=arn
    )
    return str(described["PermissionSet"]["Name"])


def _is_provisioned(label: str, deny: Any, aws: Aws) -> bool:
    """Say whether the account's role has a statement that its permission set has."""
    document = _identity.inline_policy(aws, "Role", label.partition("/")[2], IN_ACCOUNT)
    return bool(document) and _has(document, deny)


def _found(center: IdentityCenter, name: str, home: Aws) -> PermissionSet | str:
    instances = home.pages("sso-admin", "ListInstances", "Instances")
    if not instances:
        return f"account {center.account} sees no instance of IAM Identity Center"
    instance = instances[0]["InstanceArn"]
    arn = _permission_set(instance, name, home)
    if arn is None:
        return f"IAM Identity Center of account {center.account} has no permission set {name}"
    user_id = _user_id(instances[0]["IdentityStoreId"], center.user, home) if center.user else ""
    if user_id is None:
        return f"IAM Identity Center of account {center.account} has no user {center.user}"
    return PermissionSet(instance, arn, name, _policy(home, instance, arn), user_id)


def _permission_set(instance: str, name: str, home: Aws) -> str | None:
    arns = home.pages("sso-admin", "ListPermissionSets", "PermissionSets", InstanceArn=instance)
    return next((str(arn) for arn in arns if _name(instance, arn, home) == name), None)


def _user_id(store: str, user: str, home: Aws) -> str | None:
    users = home.pages(
        "identitystore",
        "ListUsers",
        "Users",
        IdentityStoreId=store,
        Filters=[{"AttributePath": "UserName", "AttributeValue": user}],
    )
    return str(users[0]["UserId"]) if users else None


def _policy(home: Aws, instance: str, arn: str) -> str:
    read = partial(
        home.client("sso-admin").get_inline_policy_for_permission_set,
        InstanceArn=instance,
        PermissionSetArn=arn,
    )
    answer = or_none(read) or {}
    return str(answer.get("InlinePolicy") or "")


def _merged(policy: str, deny: Mapping[str, Any]) -> str:
    document = json.loads(policy) if policy else {"Version": "2012-10-17", "Statement": []}
    others = [one for one in _statements(document) if one.get("Sid") != deny["Sid"]]
    return _denials.text({**document, "Statement": [*others, deny]})


def _denies(policy: str, deny: Mapping[str, Any]) -> bool:
    return bool(policy) and _has(json.loads(policy), deny)


def _has(document: Any, deny: Any) -> bool:
    return any(one == deny for one in _statements(document))


def _statements(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    statement = document.get("Statement", [])
    return list(statement) if isinstance(statement, list) else [statement]
