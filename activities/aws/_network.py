"""What the network actions read alike: interfaces, load balancers, remarks for approvers."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from activities.aws._reading import counted
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused
from firedoor.model.plan import Check, Proof, Verdict

MOST_TARGET_GROUPS = 25
"""Each is asked for its targets, so more of them in one VPC are not looked through."""

SETTLE = 1.0
"""Seconds by which EC2's answers may lag behind its changes."""

# Interfaces of other types (trunk, branch, lambda …) belong to a service that sets their groups.
OWN_TYPES = {"interface", "efa", "efa-only"}

_IDS = {
    "NetworkAcls": "NetworkAclId",
    "NetworkInterfaces": "NetworkInterfaceId",
    "RouteTables": "RouteTableId",
    "SecurityGroups": "GroupId",
    "Vpcs": "VpcId",
}


@dataclass(frozen=True)
class Remarks:
    """What a look around a target adds to a plan."""

    blast_radius: tuple[str, ...] = ()
    preflight: tuple[Check, ...] = ()


def interfaces(aws: Aws, instance: str) -> list[dict[str, Any]]:
    """Read all network interfaces of an instance, in the order of their ids."""
    return by_filter(aws, "DescribeNetworkInterfaces", "attachment.instance-id", [instance])


def by_filter(aws: Aws, operation: str, name: str, values: Iterable[str]) -> list[dict[str, Any]]:
    """Read what passes one EC2 filter, in the order of ids; what does not exist is left out."""
    key = operation.removeprefix("Describe")
    wanted = [{"Name": name, "Values": sorted(set(values))}]
    found = aws.pages("ec2", operation, key, Filters=wanted)
    return sorted(found, key=lambda item: str(item[_IDS[key]]))


def addresses(interface: Mapping[str, Any]) -> list[str]:
    """Return the addresses of an interface, private ones first, of both families."""
    private = interface.get("PrivateIpAddresses") or []
    associations = [place.get("Association") or {} for place in (*private, interface)]
    public = dict.fromkeys(a["PublicIp"] for a in associations if a.get("PublicIp"))
    return [
        *(address["PrivateIpAddress"] for address in private),
        *(address["Ipv6Address"] for address in interface.get("Ipv6Addresses") or []),
        *public,
    ]


def service_owned(interface: dict[str, Any]) -> str:
    """Return why the groups of an interface are not ours to set; nothing if they are."""
    interface_id = interface["NetworkInterfaceId"]
    kind = interface.get("InterfaceType", "interface")
    operator = interface.get("Operator") or {}
    owner = ""
    if interface.get("RequesterManaged"):
        owner = f"managed by {interface.get('RequesterId') or 'an AWS service'}"
    elif operator.get("Managed"):
        owner = f"managed by {operator.get('Principal', 'an AWS service')}"
    elif kind not in OWN_TYPES:
        owner = f"of type {kind}"
    if not owner:
        return ""
    return (
        f"{interface_id} is {owner}, so its security groups are not ours to set: isolate the"
        " workload in its own service (ECS, EKS …), or block its addresses in the network ACL"
    )


def target_groups(
    aws: Aws, found: Sequence[Mapping[str, Any]], most: int | None = None
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the target groups that send traffic to an instance, given its interfaces.

    Each comes with its targets that are the instance, by its id or one of its addresses, and their
    health. Raises `Refused` where the VPC has more than `most` target groups.
    """
    vpcs = {interface["VpcId"] for interface in found}
    ids = {interface["Attachment"]["InstanceId"] for interface in found}
    ids |= {address for interface in found for address in addresses(interface)}
    groups = [
        group
        for group in aws.pages("elbv2", "DescribeTargetGroups", "TargetGroups")
        if group.get("VpcId") in vpcs
    ]
    if most is not None and len(groups) > most:
        number = counted(len(groups), "target group")
        raise Refused(f"{number} in {', '.join(sorted(vpcs))}: look there by hand")
    health = aws.together(*(partial(_targets, aws, group["TargetGroupArn"]) for group in groups))
    own = ([t for t in targets if t["Target"]["Id"] in ids] for targets in health)
    return [(group, targets) for group, targets in zip(groups, own, strict=True) if targets]


def tried(name: str, look: Callable[[], Remarks]) -> Remarks:
    """Look around; what could not be seen becomes a remark, as containment must not wait for it."""
    try:
        return look()
    except (CloudError, Refused) as error:
        return Remarks(preflight=(Check(name=name, ok=False, detail=str(error)),))


def together(aws: Aws, *looks: Callable[[], Remarks]) -> Remarks:
    """Look around in several directions at once, and put the remarks into one, without repeats."""
    seen = aws.together(*looks)
    return Remarks(
        blast_radius=tuple(dict.fromkeys(line for one in seen for line in one.blast_radius)),
        preflight=tuple(dict.fromkeys(check for one in seen for check in one.preflight)),
    )


def settled(look: Callable[[], Proof]) -> Proof:
    """Look whether an effect holds, and look again before saying that it does not."""
    proof = look()
    if proof.verdict is not Verdict.DRIFTED:
        return proof
    time.sleep(SETTLE)
    return look()


def _targets(aws: Aws, group: str) -> list[dict[str, Any]]:
    return aws.pages(
        "elbv2", "DescribeTargetHealth", "TargetHealthDescriptions", TargetGroupArn=group
    )
