"""Who feels it when an instance is cut off, what goes on all the same, and whether we may."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _addresses, _identity, _metadata, _network
from activities.aws._case import Case
from activities.aws._isolation import Look
from activities.aws._reading import tags
from activities.aws._sight import Sight
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

# What IAM calls the services whose calls have no dry run.
_PREFIXES = {"autoscaling": "autoscaling", "elb": "elasticloadbalancing"}
_PREFIXES["elbv2"] = _PREFIXES["elb"]


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
            others[f"{_PREFIXES[call.service]}:{call.operation}"] = None
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
        f"Credentials that it took from {profile['Arn']} stay valid elsewhere: revoke the role's"
        " sessions too",
    )


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
