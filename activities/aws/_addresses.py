"""The public addresses of an instance: Elastic ones, which come back, and those that AWS lends."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call, members
from firedoor.action import State
from firedoor.model.plan import Call, Change

_LENT = "public address lent by AWS"
_ELASTIC = "use of "


def look_elastic(case: Case) -> Look:
    """Take every Elastic IP address off; the allocation stays ours."""
    found = [pair for interface in case.interfaces for pair in _elastic(interface)]
    return Look(
        changes=tuple(
            Change(
                resource=association["AllocationId"],
                # The association's id is new each time, so it names what is used, not its value.
                attribute=f"{_ELASTIC}{association['PublicIp']} by {association['AssociationId']}",
                before=place,
                after=None,
            )
            for association, place in found
        ),
        blast_radius=tuple(
            f"Whoever knows it as {association['PublicIp']} does not reach it"
            for association, _ in found
        ),
        lost=tuple(
            f"{association['AssociationId']}: undo associates {association['PublicIp']} anew"
            for association, _ in found
        ),
    )


def look_lent(case: Case) -> Look:
    """Give up the address that AWS lent to the first interface; no undo brings that one back."""
    return Look(
        changes=tuple(
            Change(
                resource=interface["NetworkInterfaceId"], attribute=_LENT, before=True, after=False
            )
            for interface in case.interfaces
            if lent(interface) and _is_first(interface)
        ),
        lost=tuple(
            f"{address}, which AWS lent to {interface['NetworkInterfaceId']}: undo brings another"
            for interface in case.interfaces
            if (address := lent(interface)) and _is_first(interface)
        ),
    )


def lent(interface: Mapping[str, Any]) -> str:
    """Return the public address that AWS lent to an interface; nothing if there is none."""
    association = interface.get("Association") or {}
    return "" if association.get("AllocationId") else str(association.get("PublicIp", ""))


def now_elastic(case: Case, changes: Sequence[Change]) -> State:
    """Read who uses the addresses; one that was released or is free is used by nobody."""
    ids = {change.resource for change in changes}
    wanted = [{"Name": "allocation-id", "Values": sorted(ids)}]
    found = case.aws.pages("ec2", "DescribeAddresses", "Addresses", Filters=wanted)
    places = {address["AllocationId"]: _place(address) for address in found}
    return {(c.resource, c.attribute): places.get(c.resource) for c in changes}


def now_lent(case: Case, changes: Sequence[Change]) -> State:
    """Read whether the interfaces have an address that AWS lent."""
    ids = [change.resource for change in changes]
    return {(i["NetworkInterfaceId"], _LENT): bool(lent(i)) for i in case.named(ids)}


def take_off(change: Change) -> tuple[Call, ...]:
    """Disassociate an Elastic IP address."""
    return call("ec2", "DisassociateAddress", AssociationId=change.attribute.rpartition(" ")[2])


def put_back(change: Change) -> tuple[Call, ...]:
    """Associate it with the interface and the private address that had it."""
    place = {**members(change.before), "AllowReassociation": False}
    return call("ec2", "AssociateAddress", AllocationId=change.resource, **place)


def give_up(change: Change) -> tuple[Call, ...]:
    """Give up the lent address."""
    return _lend(change.resource, change.after)


def borrow(change: Change) -> tuple[Call, ...]:
    """Have AWS lend an address again."""
    return _lend(change.resource, change.before)


ELASTIC = Part(
    name="take Elastic IP addresses off",
    owns=lambda change: change.attribute.startswith(_ELASTIC),
    look=look_elastic,
    now=now_elastic,
    make=take_off,
    undo=put_back,
    made=frozenset({"InvalidAssociationID.NotFound"}),
)
LENT = Part(
    name="give up the public address that AWS lent",
    owns=lambda change: change.attribute == _LENT,
    look=look_lent,
    now=now_lent,
    make=give_up,
    undo=borrow,
)


def _elastic(
    interface: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], dict[str, JsonValue]]]:
    for private in interface.get("PrivateIpAddresses") or ():
        association = private.get("Association") or {}
        if association.get("AllocationId"):
            yield (
                association,
                {
                    "NetworkInterfaceId": interface["NetworkInterfaceId"],
                    "PrivateIpAddress": private["PrivateIpAddress"],
                },
            )


def _place(address: Mapping[str, Any]) -> JsonValue:
    if not address.get("AssociationId"):
        return None
    return {name: address.get(name) for name in ("NetworkInterfaceId", "PrivateIpAddress")}


def _is_first(interface: Mapping[str, Any]) -> bool:
    # EC2 takes the setting for any interface, and heeds it on the first alone.
    return (interface.get("Attachment") or {}).get("DeviceIndex") == 0


def _lend(interface: str, value: JsonValue) -> tuple[Call, ...]:
    return call(
        "ec2",
        "ModifyNetworkInterfaceAttribute",
        NetworkInterfaceId=interface,
        AssociatePublicIpAddress=value,
    )
