"""The security group without rules that isolated instances are put into, one in each VPC."""

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from activities.aws import _network
from activities.aws._reading import strings, tags
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound, PlanStale, Unavailable
from firedoor.model.plan import LATER, Call, Plan

NAME = "firedoor-quarantine"

TAGS = {"firedoor:purpose": "quarantine"}
"""Set as a group is created, so that a group without them was made by somebody else."""

# A new group may send anything to anywhere, by IPv6 too if the VPC has it.
# https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
NEW: dict[str, Any] = {
    "GroupId": LATER,
    "IpPermissions": [],
    "IpPermissionsEgress": [
        {
            "IpProtocol": "-1",
            "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
        }
    ],
}

# A new group may show only after a moment: the pauses between looks, in seconds.
PAUSES = (0, 0.2, 0.5, 1, 2, 4)

_DIRECTIONS = {
    "ingress": ("RevokeSecurityGroupIngress", "IpPermissions"),
    "egress": ("RevokeSecurityGroupEgress", "IpPermissionsEgress"),
}
_PEERS = {
    "IpRanges": ("CidrIp",),
    "Ipv6Ranges": ("CidrIpv6",),
    "PrefixListIds": ("PrefixListId",),
    "UserIdGroupPairs": ("UserId", "GroupId", "VpcPeeringConnectionId"),
}


def groups(aws: Aws) -> list[dict[str, Any]]:
    """Read the groups of all VPCs; a name is unique in its VPC and cannot be changed."""
    return _network.by_filter(aws, "DescribeSecurityGroups", "group-name", [NAME])


def is_ours(group: dict[str, Any]) -> bool:
    """Return whether Firedoor made a group."""
    return TAGS.items() <= tags(group).items()


def creation(vpc: str) -> Call:
    """Return the call that creates the group of a VPC."""
    return Call(
        service="ec2",
        operation="CreateSecurityGroup",
        parameters={
            "GroupName": NAME,
            "Description": "Firedoor: no rules, so no traffic. For instances under investigation.",
            "VpcId": vpc,
            "TagSpecifications": [
                {
                    "ResourceType": "security-group",
                    "Tags": [{"Key": key, "Value": value} for key, value in TAGS.items()],
                }
            ],
        },
    )


def create(call: Call, aws: Aws) -> dict[str, Any]:
    """Create a group, or take the one that somebody else has just created, and read it."""
    vpc = call.parameters["VpcId"]
    try:
        aws.call(call)
    except CloudError as error:
        if error.code != "InvalidGroup.Duplicate":
            raise
    for pause in PAUSES:
        time.sleep(pause)
        if group := next((group for group in groups(aws) if group["VpcId"] == vpc), None):
            return group
    raise Unavailable("InvalidGroup.NotFound", f"{NAME} does not show yet", call.operation)


def revocations(group: dict[str, Any]) -> tuple[Call, ...]:
    """Return the calls that remove all rules of a group, ingress first.

    One call for each rule: where another incident removes one of them first, the others still go.
    """
    return tuple(
        Call(
            service="ec2",
            operation=operation,
            parameters={"GroupId": group["GroupId"], "IpPermissions": [rule]},
        )
        for operation, member in _DIRECTIONS.values()
        for permission in group[member]
        for rule in _rules(permission)
    )


def revoke(call: Call, aws: Aws) -> None:
    """Remove a rule; that it is gone already is as good."""
    try:
        aws.call(call)
    except NotFound as error:
        if error.code != "InvalidPermission.NotFound":
            raise


def rules(group: dict[str, Any]) -> State:
    """Return the rules of a group, each under a name such as `ingress tcp 22-22 192.0.2.0/24`."""
    return {
        (group["GroupId"], f"{direction} {_name(rule)}"): rule
        for direction, (_, member) in _DIRECTIONS.items()
        for permission in group[member]
        for rule in _rules(permission)
    }


def ready(vpc: str, group: dict[str, Any] | None, plan: Plan, aws: Aws) -> str:
    """Return the id of the VPC's quarantine group, created and emptied as planned."""
    group = group or _created(vpc, plan, aws)
    planned = [call for call in revocations(group) if _is_planned(call, plan)]
    aws.together(*(partial(revoke, call, aws) for call in planned))
    return str(group["GroupId"])


def expect_planned(group: dict[str, Any], plan: Plan) -> None:
    """Raise `PlanStale` if a group is not one that the plan saw, or has rules that it did not."""
    group_id, vpc = group["GroupId"], group["VpcId"]
    planned = {g for call in plan.calls for g in strings(call.parameters.get("Groups"))}
    if not is_ours(group) or (planned and not planned & {group_id, LATER}):
        raise PlanStale(f"{NAME} in {vpc} is now {group_id}, which the plan did not see")
    for call in revocations(group):
        if not _is_planned(call, plan):
            rule = call.parameters["IpPermissions"]
            raise PlanStale(f"{group_id} has a rule that the plan did not see: {rule}")


def creation_in(plan: Plan, vpc: str) -> Call | None:
    """Return the call of a plan that creates the group of a VPC, if the plan has one."""
    return next((call for call in plan.calls if call.parameters.get("VpcId") == vpc), None)


def _created(vpc: str, plan: Plan, aws: Aws) -> dict[str, Any]:
    call = creation_in(plan, vpc)
    if call is None:
        raise PlanStale(f"{NAME} in {vpc} was deleted after planning")
    group = create(call, aws)
    expect_planned(group, plan)
    return group


def _is_planned(revocation: Call, plan: Plan) -> bool:
    rule = revocation.parameters["IpPermissions"]
    return any(
        call.operation == revocation.operation and call.parameters["IpPermissions"] == rule
        for call in plan.calls
    )


def _rules(permission: dict[str, Any]) -> Iterable[dict[str, Any]]:
    what = {
        key: permission[key]
        for key in ("IpProtocol", "FromPort", "ToPort")
        if permission.get(key) is not None
    }
    for kind, members in _PEERS.items():
        for peer in permission.get(kind) or ():
            yield {**what, kind: [{key: peer[key] for key in members if peer.get(key)}]}


def _name(rule: dict[str, Any]) -> str:
    protocol = "all" if rule["IpProtocol"] == "-1" else rule["IpProtocol"]
    ports = f" {rule['FromPort']}-{rule['ToPort']}" if "FromPort" in rule else ""
    (peer,) = (rule[kind][0] for kind in _PEERS if kind in rule)
    return f"{protocol}{ports} {'/'.join(peer.values())}"
