"""For how long EC2 remembers idle connections of an interface: as short as it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call
from firedoor.action import State
from firedoor.errors import CloudError
from firedoor.model.plan import Call, Change, Check

ATTRIBUTE = "idle timeouts of connections"

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ConnectionTrackingConfiguration.html
SHORTEST: dict[str, JsonValue] = {
    "TcpEstablishedTimeout": 60,
    "UdpStreamTimeout": 60,
    "UdpTimeout": 30,
}
DEFAULTS: dict[str, JsonValue] = {
    "TcpEstablishedTimeout": 432_000,
    "UdpStreamTimeout": 180,
    "UdpTimeout": 30,
}
"""What holds on an interface that says nothing; on the latest types TCP's is shorter."""


def look(case: Case) -> Look:
    """Shorten the timeouts of each interface, where the instance's type lets them be set."""
    kind = str((case.instance or {}).get("InstanceType", ""))
    if why := _not_settable(case, kind):
        name = "idle timeouts of connections can be set"
        return Look(preflight=(Check(name=name, ok=False, detail=why),))
    changes = tuple(
        Change(
            resource=interface["NetworkInterfaceId"],
            attribute=ATTRIBUTE,
            before=before,
            after=SHORTEST,
        )
        for interface in case.interfaces
        if (before := timeouts(interface)) != SHORTEST
    )
    unset = [
        interface["NetworkInterfaceId"]
        for interface in case.interfaces
        if not interface.get("ConnectionTrackingConfiguration")
    ]
    lost = f"That idle timeouts were never set on {', '.join(unset)}: undo sets AWS's defaults"
    return Look(changes=changes, lost=(lost,) if unset and changes else ())


def timeouts(interface: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the timeouts that hold on an interface, in seconds."""
    return {**DEFAULTS, **(interface.get("ConnectionTrackingConfiguration") or {})}


def now(case: Case, changes: Sequence[Change]) -> State:
    """Read the timeouts of the interfaces, detached ones too."""
    ids = [change.resource for change in changes]
    return {(i["NetworkInterfaceId"], ATTRIBUTE): timeouts(i) for i in case.named(ids)}


def make(change: Change) -> tuple[Call, ...]:
    """Set them as planned."""
    return _set(change.resource, change.after)


def undo(change: Change) -> tuple[Call, ...]:
    """Set them as they were."""
    return _set(change.resource, change.before)


PART = Part(
    name="shorten idle timeouts",
    owns=lambda change: change.attribute == ATTRIBUTE,
    look=look,
    now=now,
    make=make,
    undo=undo,
)


def _set(interface: str, value: JsonValue) -> tuple[Call, ...]:
    return call(
        "ec2",
        "ModifyNetworkInterfaceAttribute",
        NetworkInterfaceId=interface,
        ConnectionTrackingSpecification=value,
    )


def _not_settable(case: Case, kind: str) -> str:
    # DescribeInstances says xen of Nitro too; only the type tells.
    try:
        answer = case.aws.client("ec2").describe_instance_types(InstanceTypes=[kind])
    except CloudError as error:
        return f"whether {kind} is a Nitro type could not be read: {error}"
    (found,) = answer["InstanceTypes"]
    if found.get("Hypervisor") == "nitro" or found.get("BareMetal"):
        return ""
    return (
        f"{kind} is not a Nitro type, so what EC2 tracks is forgotten only after"
        f" {DEFAULTS['TcpEstablishedTimeout']} idle seconds"
    )
