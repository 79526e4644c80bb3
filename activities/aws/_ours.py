"""Our own addresses, which are never blocked."""

from functools import partial
from ipaddress import ip_network
from typing import Any

from activities.aws import _acl, _network
from activities.aws._acl import Network
from firedoor.cloud.aws import Aws
from firedoor.errors import Refused


def expect_foreign(network: Network, ours: dict[Network, str]) -> None:
    """Raise `Refused` if a network meets one of ours; `ours` says what each is."""
    for one, what in ours.items():
        if _acl.meet(one, network):
            raise Refused(f"{shown(network)} is our own, {what}, and is never blocked")


def expect_no_service(network: Network, services: dict[Network, str]) -> None:
    """Raise `Refused` if a network meets one from which a service of AWS answers or looks."""
    for one, name in services.items():
        if _acl.meet(one, network):
            raise Refused(
                f"{shown(network)} is of an AWS service, {one} of {name}: denying it cuts us off"
                " from that, so contain the host that talks with it"
            )


def shown(network: Network) -> str:
    """Return a network as people write it: a single address alone."""
    return str(network.network_address if network.num_addresses == 1 else network)


def services(aws: Aws) -> dict[Network, str]:
    """Read the blocks that AWS lists for its services: S3, CloudFront, Route 53 health checks.

    https://docs.aws.amazon.com/vpc/latest/userguide/working-with-aws-managed-prefix-lists.html
    """
    lists = service_lists(aws)
    entries = aws.together(*(partial(_entries, aws, id) for id in lists))
    return {
        ip_network(entry["Cidr"]): name
        for name, found in zip(lists.values(), entries, strict=True)
        for entry in found
    }


def service_lists(aws: Aws) -> dict[str, str]:
    """Read the names of the prefix lists that AWS keeps of its services, by id."""
    found = aws.pages("ec2", "DescribeManagedPrefixLists", "PrefixLists")
    return {one["PrefixListId"]: one["PrefixListName"] for one in found if one["OwnerId"] == "AWS"}


def networks(vpcs: list[dict[str, Any]]) -> dict[Network, str]:
    """Return the blocks of VPCs, of both families."""
    blocks = [
        (association[member], vpc["VpcId"])
        for vpc in vpcs
        for key, member in (
            ("CidrBlockAssociationSet", "CidrBlock"),
            ("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock"),
        )
        for association in vpc.get(key) or ()
    ]
    return {ip_network(block): f"in {block} of {vpc}" for block, vpc in blocks}


def addresses(
    interfaces: list[dict[str, Any]],
    elastic: list[dict[str, Any]],
    gateways: list[dict[str, Any]],
) -> dict[Network, str]:
    """Return the addresses of interfaces, elastic ones, and those of NAT gateways that live."""
    own: dict[Network, str] = {}
    for interface in interfaces:
        for address in _network.addresses(interface):
            own[ip_network(address)] = f"of {interface['NetworkInterfaceId']}"
    for one in elastic:
        if public := one.get("PublicIp"):
            own[ip_network(public)] = f"the elastic address {one.get('AllocationId', public)}"
    for gateway in gateways:
        if gateway["State"] in {"pending", "available"}:
            for address in gateway.get("NatGatewayAddresses") or ():
                if public := address.get("PublicIp"):
                    own[ip_network(public)] = f"of the NAT gateway {gateway['NatGatewayId']}"
    return own


def _entries(aws: Aws, id: str) -> list[dict[str, str]]:
    return aws.pages("ec2", "GetManagedPrefixListEntries", "Entries", PrefixListId=id)
