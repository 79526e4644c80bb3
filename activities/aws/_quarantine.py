"""The security group without rules that isolated instances are put into, one in each VPC."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _groups
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import NotFound, PlanStale
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


def is_ours(group: dict[str, Any]) -> bool:
    """Return whether Firedoor made a group."""
    return _groups.has(group, TAGS)


def creation(vpc: str) -> Call:
    """Return the call that creates the group of a VPC."""
    about = "Firedoor: no rules, so no traffic. For instances under investigation."
    return _groups.creation(NAME, about, vpc, TAGS)


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
    if not is_ours(group) or _planned(plan).get(vpc, LATER) not in (group_id, LATER):
        raise PlanStale(f"{NAME} in {vpc} is now {group_id}, which the plan did not see")
    for call in revocations(group):
        if not _is_planned(call, plan):
            rule = call.parameters["IpPermissions"]
            raise PlanStale(f"{group_id} has a rule that the plan did not see: {rule}")


def planned(vpcs: Iterable[str], groups: Mapping[str, dict[str, Any]]) -> dict[str, JsonValue]:
    """Return the group of each VPC as a plan remembers it, by its id if there is one."""
    return {vpc: groups.get(vpc, NEW)["GroupId"] for vpc in vpcs}


def creation_in(plan: Plan, vpc: str) -> Call | None:
    """Return the call of a plan that creates the group of a VPC, if the plan has one."""
    wanted = creation(vpc)
    return next((call for call in plan.calls if call == wanted), None)


def _planned(plan: Plan) -> dict[str, Any]:
    remembered = plan.before.get("quarantine")
    return remembered if isinstance(remembered, dict) else {}


def _created(vpc: str, plan: Plan, aws: Aws) -> dict[str, Any]:
    call = creation_in(plan, vpc)
    if call is None:
        raise PlanStale(f"{NAME} in {vpc} was deleted after planning")
    group = _groups.create(call, aws)
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
