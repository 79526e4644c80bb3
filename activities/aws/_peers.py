"""Connections that EC2 tracks whatever the rules say, and the denials that cut them all the same.

A group that lets everything through takes a connection off the tracking, but not one that passes
what AWS calls automatically tracked: those live on in quarantine. A network ACL has no state, so a
deny of the remote address in the interface's own subnet cuts them, before any address translation.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from ipaddress import IPv6Address, ip_network
from typing import Any, TypeVar

from activities.aws import _acl, _flows, _network, _ours, _serving, _sight
from activities.aws._case import Address, Case
from activities.aws._isolation import Look, Part, members
from activities.aws._packet import Network, Packet, acl_rule
from activities.aws._reading import counted, tags
from firedoor.action import State
from firedoor.errors import CloudError, Refused
from firedoor.guard import RESERVED
from firedoor.model.plan import Call, Change, Check

T = TypeVar("T")

LIVE = timedelta(minutes=30)
"""For how long before the plan whoever it talked to may still be connected."""

MOST = 5
"""Peers that are denied: every one takes room in a network ACL that others need too."""

# From the other end than where blocks of a single address begin: the same address may be denied by
# both, and each lease takes back a rule of its own.
BAND = range(_acl.LAST_RULE, 0, -1)

RESERVE = 2  # rules that are left for people

_NAME = "cuts always tracked connections"

_HOPS = ("NatGatewayId", "EgressOnlyInternetGatewayId", "TransitGatewayId")

_ACCELERATOR, _ENDPOINT = "global_accelerator_managed", "vpc_endpoint"


def look(case: Case) -> Look:
    """Deny the live peers in the network ACLs of the subnets from where they are always tracked."""
    hops, endpoints = _tracked(case)
    if not hops:
        return Look(preflight=_endpoints_told(endpoints))
    peers = _live(case, list(hops))
    subnets = {i["SubnetId"] for i in case.interfaces if i["NetworkInterfaceId"] in hops}
    acls = _acl.of_subnets(case.aws, subnets)
    chosen, left, unseen = _chosen(case, peers)
    rules, checks, refused = _rules(case, acls, chosen)
    chosen, left = [peer for peer in chosen if peer not in refused], [*left, *refused]
    edited = [acl for acl in acls if acl["NetworkAclId"] in {rule.acl for rule in rules}]
    return Look(
        changes=tuple(rule.change for rule in rules),
        blast_radius=tuple(_felt(acl, rules) for acl in edited),
        preflight=(_told(hops, chosen, left), *checks, *unseen, *_endpoints_told(endpoints)),
        resources={acl["NetworkAclId"]: tags(acl) for acl in edited},
        networks=tuple(dict.fromkeys(rule.network for rule in rules)),
    )


def now(case: Case, changes: Sequence[Change]) -> State:
    """Read the rules of the ACLs."""
    ids = dict.fromkeys(change.resource for change in changes)
    acls = case.aws.together(*(partial(_read, case, id) for id in ids))
    return {key: rule for acl in acls for key, rule in _acl.state(acl).items()}


def make(change: Change) -> tuple[Call, ...]:
    """Add the rule."""
    return (_rule(change).creation,)


def undo(change: Change) -> tuple[Call, ...]:
    """Remove the rule."""
    return (_rule(change).deletion,)


def denied(case: Case, changes: Sequence[Change]) -> list[Check]:
    """Show by the order of all rules that the peers are denied, where the interfaces still are."""
    subnets = {interface["SubnetId"] for interface in case.interfaces}
    rules = [_rule(change) for change in changes]
    checks = []
    for id in dict.fromkeys(rule.acl for rule in rules):
        acl = _read(case, id)
        for rule in (rule for rule in rules if rule.acl == id):
            ruling = acl_rule(acl, Packet(rule.network, rule.egress))
            name = f"{id} denies {rule.network} {_acl.direction(rule.egress)}"
            checks.append(Check(name=name, ok=not ruling.allowed, detail=str(ruling)))
        if subnets:
            used = bool(subnets & _acl.subnets(acl))
            checks.append(Check(name=f"{id} is in use by its subnets", ok=used))
    return checks


PART = Part(
    name="deny live peers",
    owns=lambda change: change.resource.startswith("acl-"),
    look=look,
    now=now,
    make=make,
    undo=undo,
    undone=frozenset({"InvalidNetworkAclEntry.NotFound"}),
)


def _read(case: Case, acl: str) -> dict[str, Any]:
    return case.once(acl, partial(_acl.read, case.aws, acl))


def _tracked(case: Case) -> tuple[dict[str, list[str]], list[str]]:
    """Return what makes the connections of each interface always tracked, and AWS's own ends.

    These are the endpoints of PrivateLink and DynamoDB. An interface of which nothing is always
    tracked is left out.
    """
    vpcs = {interface["VpcId"] for interface in case.interfaces}
    tables, managed = case.aws.together(lambda: case.tables, partial(_managed, case, vpcs))
    accelerated = [
        f"{i['NetworkInterfaceId']} (Global Accelerator)"
        for i in managed
        if i["InterfaceType"] == _ACCELERATOR
    ]
    around = [*accelerated, *_balanced(case)]
    if not _sight.goes_untracked(case):
        around.append("its security groups (nothing takes it off the tracking)")
    found = {i["NetworkInterfaceId"]: [*_hops(i, tables), *around] for i in case.interfaces}
    endpoints = [i["NetworkInterfaceId"] for i in managed if i["InterfaceType"] == _ENDPOINT]
    endpoints += _of_dynamodb(case, tables)
    return {interface: names for interface, names in found.items() if names}, endpoints


def _of_dynamodb(case: Case, tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the gateway endpoints that the interfaces reach DynamoDB by; those of S3 are apart."""
    own = [table for i in case.interfaces for table in _tables_of(i, tables)]
    routes = [r for table in own for r in table["Routes"] if r.get("DestinationPrefixListId")]
    if not routes:
        return []
    nothing: dict[str, str] = {}
    lists = _unless_denied(partial(_ours.service_lists, case.aws), nothing)
    return list(
        dict.fromkeys(
            route["GatewayId"]
            for route in routes
            if lists.get(route["DestinationPrefixListId"], "").endswith(".dynamodb")
        )
    )


def _balanced(case: Case) -> tuple[str, ...]:
    # What cannot be seen of load balancers is said by their own part, and does not keep this one.
    return _unless_denied(partial(_serving.tracked, case), ())


def _unless_denied(read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except (CloudError, Refused):
        return otherwise


def _live(case: Case, interfaces: Sequence[str]) -> list[Address]:
    at = case.target.at
    seen = _flows.peers(case.aws, interfaces, at - LIVE, at)
    return list(dict.fromkeys(map(_plain, (*case.addresses, *seen))))


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _chosen(
    case: Case, peers: Sequence[Address]
) -> tuple[list[Address], list[Address], tuple[Check, ...]]:
    """Return which peers to deny, which not, and what could not be seen of whose they are.

    Whoever shares the subnet needs our own ones, private ones, and the services of AWS. Those that
    the policy protects would have the guard rails forbid all of the isolation.
    """
    if not peers:
        return [], [], ()
    vpcs = {interface["VpcId"] for interface in case.interfaces}
    found, elastic, gateways = case.aws.together(
        partial(_network.by_filter, case.aws, "DescribeVpcs", "vpc-id", vpcs),
        partial(case.aws.pages, "ec2", "DescribeAddresses", "Addresses"),
        partial(case.aws.pages, "ec2", "DescribeNatGateways", "NatGateways"),
    )
    ours = {**_ours.networks(found), **_ours.addresses(case.interfaces, elastic, gateways)}
    services, unseen = _services(case)
    kept = [*ours, *services, *case.aws.protected, *(network for network, _ in RESERVED)]
    chosen = [peer for peer in peers if not any(peer in network for network in kept)][:MOST]
    return chosen, [peer for peer in peers if peer not in chosen], unseen


def _services(case: Case) -> tuple[dict[Network, str], tuple[Check, ...]]:
    try:
        return _ours.services(case.aws), ()
    except CloudError as error:
        return {}, (Check(name="addresses of AWS services", ok=False, detail=str(error)),)


def _told(
    hops: Mapping[str, Sequence[str]], chosen: Sequence[Address], left: Sequence[Address]
) -> Check:
    named = ", ".join(sorted({hop for names in hops.values() for hop in names}))
    detail = f"what goes through {named} is always tracked, and lives until it falls idle"
    if chosen:
        detail += f"; cut in the network ACL: {', '.join(map(str, chosen))}"
    else:
        detail += "; no address is known that could be denied in the network ACL"
    if left:
        kinds = "private, ours, protected, of AWS or too many"
        detail += f"; not cut, being {kinds}: {', '.join(map(str, left))}"
    return Check(name=_NAME, ok=bool(chosen) and not left, detail=detail)


def _endpoints_told(endpoints: Sequence[str]) -> tuple[Check, ...]:
    if not endpoints:
        return ()
    detail = (
        f"connections with PrivateLink and DynamoDB ({', '.join(endpoints)}) are always tracked:"
        " what the instance has open with AWS's services there lives until it falls idle, so revoke"
        " its credentials too"
    )
    return (Check(name=_NAME, ok=False, detail=detail),)


def _rules(
    case: Case, acls: Iterable[dict[str, Any]], peers: Sequence[Address]
) -> tuple[list[_acl.Rule], list[Check], list[Address]]:
    limit, said = _acl.limit(case.aws) if peers else (0, ())
    rules: list[_acl.Rule] = []
    checks: list[Check] = [*said]
    refused: list[Address] = []
    for acl in acls:
        for peer in peers:
            network: Network = ip_network(peer)
            try:
                more, room = _acl.denials(
                    acl, network, band=BAND, limit=limit, egress=True, reserve=RESERVE
                )
            except Refused as refusal:
                name = f"{peer} can be denied in {acl['NetworkAclId']}"
                checks.append(Check(name=name, ok=False, detail=str(refusal)))
                refused.append(peer)
                continue
            rules += more
            checks += room
    return rules, checks, list(dict.fromkeys(refused))


def _rule(change: Change) -> _acl.Rule:
    direction, _, number = change.attribute.partition(" ")
    network = ip_network(str(members(change.after)["cidr"]))
    return _acl.Rule(change.resource, network, int(number), direction == "egress")


def _felt(acl: Mapping[str, Any], rules: Iterable[_acl.Rule]) -> str:
    networks = {str(rule.network) for rule in rules if rule.acl == acl["NetworkAclId"]}
    return (
        f"{acl['NetworkAclId']} denies {', '.join(sorted(networks))} to all of its"
        f" {counted(len(_acl.subnets(dict(acl))), 'subnet')}"
    )


def _managed(case: Case, vpcs: Iterable[str]) -> list[dict[str, Any]]:
    wanted = [
        {"Name": "vpc-id", "Values": sorted(vpcs)},
        {"Name": "interface-type", "Values": [_ACCELERATOR, _ENDPOINT]},
    ]
    return case.aws.pages("ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=wanted)


def _hops(interface: Mapping[str, Any], tables: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for table in _tables_of(interface, list(tables)):
        for route in table["Routes"]:
            for member in _HOPS:
                if hop := route.get(member):
                    yield hop
            # Firewalls and Gateway Load Balancers; by prefix list it is S3 or DynamoDB.
            gateway = str(route.get("GatewayId"))
            if gateway.startswith("vpce-") and not route.get("DestinationPrefixListId"):
                yield gateway


def _tables_of(
    interface: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    subnet, vpc = interface["SubnetId"], interface["VpcId"]
    own = [t for t in tables if any(a.get("SubnetId") == subnet for a in t["Associations"])]
    main = [
        t for t in tables if t["VpcId"] == vpc and any(a.get("Main") for a in t["Associations"])
    ]
    return own or main
