"""What a role has: a trust policy, those who run with it, and the profile of an instance."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from pydantic import JsonValue

from activities.aws import _denials, _identity, _reading
from activities.aws._reading import GONE, counted, named, or_none, terminated
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import LATER, Call, Change

TRUST = "trust policy"
"""The attribute of changes that are about one."""

SID = "FiredoorDenyNewSessions"

QUOTA = 2_048
"""Characters that a trust policy may have, white space not counted.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

# A wildcard is refused here: a trust policy may name no actions but those of STS.
BEGIN = ["sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity"]

# What IAM shows in place of the ARN of a principal that was deleted, and does not accept itself.
DELETED = ("AIDA", "AROA", "AGPA")

_RAW = "FiredoorText"

PROFILE = "instance profile"
"""The attribute of changes that are about one; the resource is the instance."""


def role(name: str, aws: Aws) -> dict[str, Any] | None:
    """Read a role, its trust policy letter for letter; None if it does not exist.

    The SDK hands out parsed documents, whose white space is gone.
    """
    iam = aws.client("iam")
    iam.meta.events.register_first("after-call.iam.GetRole", _keep_text, unique_id=_RAW)
    found = or_none(partial(iam.get_role, RoleName=name))
    return dict(found["Role"]) if found else None


def of_instance(instance: Mapping[str, Any], aws: Aws) -> dict[str, Any] | None:
    """Read the role that an instance has; None if it has none."""
    # What is listed in a profile lacks the tags.
    name = _named(instance, aws)
    return role(name, aws) if name else None


def of_function(function: Mapping[str, Any], aws: Aws) -> dict[str, Any] | None:
    """Read the role that a function runs with; None if it was deleted."""
    return role(_last(function["Role"]), aws)


def name_for_instance(id: str, aws: Aws) -> str:
    """Read the name of the role that an instance has; nothing if it has none, or is gone."""
    instance = _reading.instance(aws, id)
    return _named(instance, aws) if instance else ""


def name_for_function(id: str, aws: Aws) -> str:
    """Read the name of the role that a function runs with; nothing if it is gone."""
    read = aws.client("lambda").get_function_configuration
    found = or_none(partial(read, FunctionName=id))
    return _last(found["Role"]) if found else ""


def attached(name: str, aws: Aws) -> list[dict[str, Any]] | None:
    """Read the managed policies of a role; None if we may not."""
    return _identity.if_allowed(partial(_identity.attached_policies, aws, "Role", name))


def not_editable(role: Mapping[str, Any]) -> str:
    """Return why no policy of ours can be put on a role; nothing if one can."""
    name = role["RoleName"]
    if role["Path"].startswith("/aws-service-role/"):
        return (
            f"role/{name} is linked to a service of AWS, which alone can change it: contain the"
            " resource that it acts on, or end the use of that service"
        )
    if role["Path"].startswith("/aws-reserved/"):
        return (
            f"role/{name} belongs to IAM Identity Center, and no account can edit it: end the"
            " user's sessions there, and deny in the permission set"
        )
    return ""


def instances_told(role: str, aws: Aws) -> str:
    """Say how many instances of the region have a role, and name some."""
    reads: list[Callable[[], list[Any]]] = [
        partial(aws.pages, "iam", "ListInstanceProfilesForRole", "InstanceProfiles", RoleName=role),
        partial(
            aws.pages,
            "ec2",
            "DescribeIamInstanceProfileAssociations",
            "IamInstanceProfileAssociations",
        ),
    ]
    try:
        profiles, associations = aws.together(*reads)
    except CloudError as error:
        return f"instances with it could not be counted: {error}"
    arns = {profile["Arn"] for profile in profiles}
    ids = [a["InstanceId"] for a in associations if a["IamInstanceProfile"]["Arn"] in arns]
    told = f"{counted(len(ids), 'instance')} in {aws.region} with it"
    return f"{told}: {named(ids)}" if ids else told


def trust(role: Mapping[str, Any]) -> str:
    """Return the trust policy of a role that `role` read, letter for letter."""
    return str(role[_RAW])


def narrowing(label: str, document: str, trusted: tuple[str, ...]) -> tuple[Change, ...]:
    """Return the change that lets no new session begin, but for those of trusted principals."""
    narrowed = _narrowed(document, trusted)
    if same(document, narrowed):
        return ()
    return (Change(resource=label, attribute=TRUST, before=document, after=narrowed),)


def trust_refusals(changed: tuple[Change, ...], aws: Aws) -> tuple[str, ...]:
    """Return why a trust policy cannot be narrowed: AWS would not store it, or not the old one."""
    return tuple(why for one in changed for why in _refusals(one, aws))


def trust_call(role: str, value: JsonValue) -> Call:
    """Return the call that writes a trust policy."""
    return Call(
        service="iam",
        operation="UpdateAssumeRolePolicy",
        parameters={"RoleName": role, "PolicyDocument": value},
    )


def trust_as_planned(now: str | None, planned: Change) -> JsonValue:
    """Return the planned text that is there, for AWS may order principals anew; else what is."""
    for document in (planned.after, planned.before):
        if now is not None and same(now, str(document)):
            return document
    return now


def same(one: str, other: str) -> bool:
    """Say whether two policies mean the same, in whatever order their lists are."""
    return bool(_plain(json.loads(one)) == _plain(json.loads(other)))


def is_narrowed(document: str) -> bool:
    """Say whether a trust policy has a statement of ours."""
    return any(one.get("Sid") == SID for one in _statements(json.loads(document)))


def excepted(document: str) -> str:
    """Say whom a statement of ours still lets in."""
    ours = [one for one in _statements(json.loads(document)) if one.get("Sid") == SID]
    names = [n for one in ours for n in one.get("Condition", {}).get("ArnNotLike", {}).values()]
    return ", ".join(name for some in names for name in ([some] if isinstance(some, str) else some))


def trusted(document: str) -> str:
    """Say whom a trust policy lets in."""
    found = {
        f"{kind} {name}" if kind else str(name)
        for one in _statements(json.loads(document))
        if one["Effect"] == "Allow"
        for kind, name in _principals(one)
    }
    return ", ".join(sorted(found)) or "nobody"


def association(instance: str, aws: Aws) -> dict[str, Any] | None:
    """Read which profile an instance has; None if it has none, or is losing it."""
    found = aws.pages(
        "ec2",
        "DescribeIamInstanceProfileAssociations",
        "IamInstanceProfileAssociations",
        Filters=[
            {"Name": "instance-id", "Values": [instance]},
            # One that was replaced is listed for a while, as disassociating.
            {"Name": "state", "Values": ["associating", "associated"]},
        ],
    )
    return found[0] if found else None


def profile(association: dict[str, Any] | None) -> str | None:
    """Return the ARN of the profile of an association."""
    return str(association["IamInstanceProfile"]["Arn"]) if association else None


def profile_state(instance: str, association: dict[str, Any] | None, aws: Aws) -> State:
    """Return what a change of the profile is about, as it is now."""
    if association is None:
        found = _reading.instance(aws, instance)
        if found is None or terminated(found):
            return {(instance, PROFILE): GONE}
    return {(instance, PROFILE): profile(association)}


def profile_calls(change: Change, association: str) -> tuple[Call, Call]:
    """Return the call that takes a profile off or exchanges it, and the one that puts it back."""
    old: dict[str, JsonValue] = {"IamInstanceProfile": {"Arn": change.before}}
    if change.after is None:
        return (
            _ec2("DisassociateIamInstanceProfile", {"AssociationId": association}),
            _ec2("AssociateIamInstanceProfile", {**old, "InstanceId": change.resource}),
        )
    new: dict[str, JsonValue] = {"IamInstanceProfile": {"Arn": change.after}}
    return (
        _replacing({**new, "AssociationId": association}),
        # What replaces an association has an id of its own.
        _replacing({**old, "AssociationId": LATER}),
    )


def with_association(call: Call, association: dict[str, Any] | None) -> Call:
    """Return a call of ours with the id that the association has by now, where that is needed."""
    if association is None or "AssociationId" not in call.parameters:
        return call
    id = association["AssociationId"]
    return call.model_copy(update={"parameters": {**call.parameters, "AssociationId": id}})


def _named(instance: Mapping[str, Any], aws: Aws) -> str:
    if "IamInstanceProfile" not in instance:
        return ""
    read, own = aws.client("iam").get_instance_profile, _last(instance["IamInstanceProfile"]["Arn"])
    found = or_none(partial(read, InstanceProfileName=own))
    roles = found["InstanceProfile"]["Roles"] if found else []
    return str(roles[0]["RoleName"]) if roles else ""


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]


def _narrowed(document: str, trusted: tuple[str, ...]) -> str:
    policy = json.loads(document)
    others = [one for one in _statements(policy) if one.get("Sid") != SID]
    deny: dict[str, Any] = {"Sid": SID, "Effect": "Deny", "Principal": "*", "Action": BEGIN}
    if trusted:
        # Services have no ARN, and what is missing is not like any: they are kept out, too.
        deny["Condition"] = {"ArnNotLike": {"aws:PrincipalArn": sorted(trusted)}}
    return _denials.text({**policy, "Statement": [*others, deny]})


def _refusals(changed: Change, aws: Aws) -> list[str]:
    before, after = str(changed.before), str(changed.after)
    found = []
    deleted = [
        str(name)
        for one in _statements(json.loads(before))
        for _, name in _principals(one)
        if str(name).startswith(DELETED)
    ]
    if deleted:
        found.append(
            f"the trust policy of {changed.resource} names principals that were deleted"
            f" ({', '.join(deleted)}), which AWS does not store again: take them out by hand, or"
            " deny everything (deny_all) instead of narrowing the trust"
        )
    used = len("".join(after.split()))
    limit = _denials.quota(aws, "AssumeRolePolicySizeQuota", QUOTA)
    if used > limit:
        found.append(
            f"the trust policy of {changed.resource} would have {used} characters, {limit} are"
            " allowed: deny everything (deny_all) instead of narrowing the trust"
        )
    return found


def _statements(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    statement = policy.get("Statement", [])
    return list(statement) if isinstance(statement, list) else [statement]


def _principals(statement: Mapping[str, Any]) -> list[tuple[str, Any]]:
    principal = statement.get("Principal", {})
    if not isinstance(principal, dict):
        return [("", principal)]
    return [
        (kind, name)
        for kind, names in principal.items()
        for name in (names if isinstance(names, list) else [names])
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        inner = sorted((_plain(one) for one in value), key=_denials.text)
        return inner[0] if len(inner) == 1 else inner
    return value


def _keep_text(parsed: Any, **_: Any) -> None:
    if "Role" in parsed:
        parsed["Role"][_RAW] = unquote(parsed["Role"]["AssumeRolePolicyDocument"])


def _replacing(parameters: dict[str, JsonValue]) -> Call:
    return _ec2("ReplaceIamInstanceProfileAssociation", parameters)


def _ec2(operation: str, parameters: dict[str, JsonValue]) -> Call:
    return Call(service="ec2", operation=operation, parameters=parameters)
