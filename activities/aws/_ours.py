"""Our own addresses, which are never blocked."""

from ipaddress import ip_network
from typing import Any

from activities.aws import _acl, _network
from activities.aws._acl import Network
from firedoor.errors import Refused


def expect_foreign(network: Network, ours: dict[Network, str]) -> None:
    """Raise `Refused` if a network is one of ours, or lies in it; `ours` says what each is."""
    for one, what in ours.items():
        if _acl.covers(one, network):
            raise Refused(f"{network.network_address} is our own, {what}, and is never blocked")


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
