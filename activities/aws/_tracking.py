"""For how long EC2 remembers idle connections of an interface: as short as it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call, members
from firedoor.action import State
from firedoor.errors import CloudError, Refused
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
"""What holds on an interface that says nothing, if its type does not say otherwise."""


def look(case: Case) -> Look:
    """Shorten the timeouts of each interface, where the instance's type lets them be set."""
    try:
        defaults = _defaults(case, str((case.instance or {}).get("InstanceType", "")))
    except (CloudError, Refused) as error:
        name = "idle timeouts of connections can be set"
        return Look(preflight=(Check(name=name, ok=False, detail=str(error)),))
    changes = tuple(
        Change(
            resource=interface["NetworkInterfaceId"],
            attribute=ATTRIBUTE,
            before=before,
            after=SHORTEST,
        )
        for interface in case.interfaces
        if (before := {**defaults, **_set_on(interface)}) != SHORTEST
    )
    unset = [
        interface["NetworkInterfaceId"] for interface in case.interfaces if not _set_on(interface)
    ]
    lost = f"That idle timeouts were never set on {', '.join(unset)}: undo sets AWS's defaults"
    return Look(changes=changes, lost=(lost,) if unset and changes else ())


def now(case: Case, changes: Sequence[Change]) -> State:
    """Read the timeouts of the interfaces, detached ones too; where none was set, none changed."""
    before = {change.resource: members(change.before) for change in changes}
    return {
        (id, ATTRIBUTE): {**before[id], **_set_on(interface)}
        for interface in case.named(before)
        if (id := interface["NetworkInterfaceId"])
    }


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


def _set_on(interface: Mapping[str, Any]) -> dict[str, JsonValue]:
    return dict(interface.get("ConnectionTrackingConfiguration") or {})


def _defaults(case: Case, kind: str) -> dict[str, JsonValue]:
    """Return what holds on an interface that says nothing, on a type where it can be set.

    Raises `Refused` where it cannot.
    """
    # DescribeInstances says xen of Nitro too; only the type tells.
    (found,) = case.aws.client("ec2").describe_instance_types(InstanceTypes=[kind])["InstanceTypes"]
    if found.get("Hypervisor") != "nitro" and not found.get("BareMetal"):
        raise Refused(
            f"{kind} is not a Nitro type, so what EC2 tracks is forgotten only after"
            f" {DEFAULTS['TcpEstablishedTimeout']} idle seconds"
        )
    # From the sixth version of Nitro on, TCP's is 350 s.
    said = (found.get("NetworkInfo") or {}).get("ConnectionTrackingConfiguration") or {}
    return {name: said.get(f"Default{name}", usual) for name, usual in DEFAULTS.items()}
