"""What the rules of security groups refer to by id: prefix lists, and the members of groups."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

from activities.aws import _network
from activities.aws._packet import Address, Network, References
from activities.aws._reading import or_none
from firedoor.cloud.aws import Aws

PERMISSIONS = ("ec2:DescribeNetworkInterfaces", "ec2:GetManagedPrefixListEntries")


def references(aws: Aws, groups: Iterable[Mapping[str, Any]]) -> References:
    """Read what the rules of groups refer to; what cannot be seen from here stays unknown.

    That is what belongs to another account or to the other side of a peering connection.
    """
    permissions = [permission for group in groups for permission in _permissions(group)]
    lists = {e["PrefixListId"] for p in permissions for e in p.get("PrefixListIds") or ()}
    ours = {
        pair["GroupId"]
        for permission in permissions
        for pair in permission.get("UserIdGroupPairs") or ()
        if pair.get("UserId", aws.account) == aws.account and not pair.get("VpcPeeringConnectionId")
    }
    entries = aws.together(*(partial(_entries, aws, id) for id in sorted(lists)))
    known = zip(sorted(lists), entries, strict=True)
    return References(
        prefix_lists={id: networks for id, networks in known if networks is not None},
        members=_members(aws, ours),
    )


def _permissions(group: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from group.get("IpPermissions") or ()
    yield from group.get("IpPermissionsEgress") or ()


def _entries(aws: Aws, id: str) -> list[Network] | None:
    read = partial(aws.pages, "ec2", "GetManagedPrefixListEntries", "Entries", PrefixListId=id)
    entries = or_none(read)
    return None if entries is None else [ip_network(entry["Cidr"]) for entry in entries]


def _members(aws: Aws, groups: set[str]) -> dict[str, list[Address]]:
    """Return the private addresses of each group's interfaces: rules do not see public ones."""
    if not groups:
        return {}
    members: dict[str, list[Address]] = {id: [] for id in groups}
    for interface in _network.by_filter(aws, "DescribeNetworkInterfaces", "group-id", groups):
        own = [
            *(a["PrivateIpAddress"] for a in interface.get("PrivateIpAddresses") or ()),
            *(a["Ipv6Address"] for a in interface.get("Ipv6Addresses") or ()),
        ]
        for group in interface["Groups"]:
            if group["GroupId"] in members:
                members[group["GroupId"]] += map(ip_address, own)
    return members
