"""Who feels it when an instance is cut off, what goes on all the same, and whether we may."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _addresses, _identity, _metadata, _network, _preflight
from activities.aws._case import Case
from activities.aws._isolation import Look
from activities.aws._reading import counted, tags
from activities.aws._sight import Sight
from firedoor.errors import CloudError
from firedoor.model.plan import LATER, Call, Check

# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html
_DNS = Check(
    name="cuts DNS",
    ok=False,
    detail="neither security groups nor network ACLs filter queries to the VPC's resolver: names"
    " still resolve, so DNS can carry data out until a DNS firewall blocks it",
)
_METADATA = Check(
    name="cuts instance metadata",
    ok=False,
    detail="neither security groups nor network ACLs filter it, and it stays on: it hands out the"
    " credentials of the instance's role",
)

_CLUSTER = "kubernetes.io/cluster/"


def named(instance: Mapping[str, Any]) -> str:
    """Return an instance by its id and its name."""
    name = tags(instance).get("Name")
    return f"{instance['InstanceId']} ({name})" if name else str(instance["InstanceId"])


def loses(instance: Mapping[str, Any], interfaces: Iterable[Mapping[str, Any]]) -> str:
    """Say what is cut off."""
    described = ", ".join(
        f"{i['NetworkInterfaceId']} ({', '.join([*_network.addresses(i), i['SubnetId']])})"
        for i in interfaces
    )
    return f"{named(instance)} loses all traffic on {described}"


def routed(case: Case) -> Look:
    """Say whose traffic goes through it, as through a NAT instance, a firewall or a VPN."""
    own = {interface["NetworkInterfaceId"] for interface in case.interfaces}
    try:
        tables = case.tables
    except CloudError as error:
        return Look(preflight=(Check(name="no route leads to it", ok=False, detail=str(error)),))
    ways = [
        (table, where)
        for table in tables
        if (where := [_to(r) for r in table["Routes"] if r.get("NetworkInterfaceId") in own])
    ]
    return Look(
        blast_radius=tuple(
            f"{table['RouteTableId']} sends {', '.join(where)} of {_whose(table)} through it: they"
            " lose that way, so give them another first"
            for table, where in ways
        )
    )


def node(instance: Mapping[str, Any]) -> tuple[str, ...]:
    """Say that it is a node of a Kubernetes cluster, as its tags have it."""
    owned = [name.removeprefix(_CLUSTER) for name in tags(instance) if name.startswith(_CLUSTER)]
    return tuple(
        f"It is a node of the Kubernetes cluster {name}: its pods are cut off with it, and after"
        " about 5 minutes the cluster starts them elsewhere and forgets them here; if it is one"
        " pod that is bad, quarantine that instead"
        for name in owned
    )


def kept(interfaces: Iterable[Mapping[str, Any]], look: Look) -> tuple[str, ...]:
    """Say which lent address is at risk: a stop loses it, and so does what takes its place."""
    given_up = {change.resource for change in look.changes if _addresses.LENT.owns(change)}
    return tuple(
        f"{address}, which AWS lent to {interface['NetworkInterfaceId']}, if it is stopped"
        for interface in interfaces
        if (address := _addresses.lent(interface))
        and interface["NetworkInterfaceId"] not in given_up
    )


def not_filtered(case: Case, look: Look) -> tuple[Check, ...]:
    """Say what no group and no ACL cuts."""
    goes_off = any(_metadata.PART.owns(change) for change in look.changes)
    is_on = (case.instance or {}).get("MetadataOptions", {}).get("HttpEndpoint") != "disabled"
    return (_DNS, _METADATA) if is_on and not goes_off else (_DNS,)


def permitted(
    case: Case, sight: Sight, calls: Iterable[Call]
) -> list[Callable[[], tuple[Check, ...]]]:
    """Return the questions whether we may make the calls, one for each operation of EC2."""
    first: dict[str, Call] = {}
    others: dict[str, None] = {}
    for call in calls:
        if call.service == "ec2":
            first.setdefault(call.operation, call)
        else:
            others[_preflight.right(call)] = None
    group = next((g["GroupId"] for i in sight.interfaces for g in i["Groups"]), LATER)
    return [
        *(partial(_may, case, _known(call, group)) for call in first.values()),
        *([partial(_may_elsewhere, case, list(others))] if others else []),
    ]


def credentials(instance: dict[str, Any]) -> tuple[str, ...]:
    """Say which credentials the instance was handed."""
    profile = instance.get("IamInstanceProfile")
    if not profile:
        return ()
    return (
        f"Credentials that it took from {profile['Arn']} stay valid elsewhere for up to 6 h: revoke"
        " the role's sessions too",
    )


def _to(route: Mapping[str, Any]) -> str:
    names = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
    return next(str(route[name]) for name in names if route.get(name))


def _whose(table: Mapping[str, Any]) -> str:
    subnets = [a for a in table["Associations"] if a.get("SubnetId")]
    if any(association.get("Main") for association in table["Associations"]):
        others = f" and {counted(len(subnets), 'subnet')} more" if subnets else ""
        return f"all subnets of {table['VpcId']} without a table of their own{others}"
    return counted(len(subnets), "subnet")


def _may(case: Case, call: Call) -> tuple[Check, ...]:
    return (case.aws.allowed(call),)


def _may_elsewhere(case: Case, actions: Sequence[str]) -> tuple[Check, ...]:
    return (_identity.may(case.aws, actions, "*"),)


def _known(call: Call, group: str) -> Call:
    """Put the same question with a group that exists: dry runs change nothing."""
    parameters = {name: _filled(value, group) for name, value in call.parameters.items()}
    return call.model_copy(update={"parameters": parameters})


def _filled(value: JsonValue, group: str) -> JsonValue:
    if value == LATER:
        return group
    return [_filled(one, group) for one in value] if isinstance(value, list) else value
