"""What keeps an instance and its disks from vanishing: nobody ends, stops or empties it by mistake.

Each attribute is one call: EC2 takes no two at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call
from firedoor.action import State
from firedoor.model.plan import Call, Change, Check

# What the plan calls it, to what EC2 calls it when it is read and when it is set, and what we set.
_ATTRIBUTES: Mapping[str, tuple[str, str, JsonValue]] = {
    "termination protection": ("disableApiTermination", "DisableApiTermination", True),
    "stop protection": ("disableApiStop", "DisableApiStop", True),
    "shutdown behaviour": (
        "instanceInitiatedShutdownBehavior",
        "InstanceInitiatedShutdownBehavior",
        "stop",
    ),
}
_DISK = "delete on termination of "

_SPOT = (
    "it is a Spot instance: EC2 can end it at any time, whatever its attributes say, and takes no"
    " termination or stop protection for it; its disks stay"
)
_STORE = "its root disk is an instance store, which is empty once it stops or ends"


def look(case: Case) -> Look:
    """Protect from termination and stop, let a shutdown stop it only, and keep every EBS disk."""
    instance = case.instance or {}
    wanted = _settable(instance)
    values = _values(case, wanted)
    return Look(
        changes=(
            *(
                Change(resource=case.id, attribute=name, before=values[name], after=after)
                for name in wanted
                if values[name] != (after := _ATTRIBUTES[name][2])
            ),
            *(
                Change(resource=case.id, attribute=_DISK + device, before=True, after=False)
                for device, deleted in _disks(instance)
                if deleted
            ),
        ),
        preflight=tuple(
            Check(name="can be protected from its end", ok=False, detail=why)
            for why in _unprotected(instance)
        ),
    )


def now(case: Case, changes: Sequence[Change]) -> State:
    """Read the attributes; a disk that was detached has none."""
    named = [change.attribute for change in changes if change.attribute in _ATTRIBUTES]
    disks = {_DISK + device: deleted for device, deleted in _disks(case.instance or {})}
    values = {**disks, **_values(case, named)}
    return {(c.resource, c.attribute): values.get(c.attribute) for c in changes}


def make(change: Change) -> tuple[Call, ...]:
    """Set the attribute as planned."""
    return _set(change, change.after)


def undo(change: Change) -> tuple[Call, ...]:
    """Set the attribute as it was."""
    return _set(change, change.before)


PART = Part(
    name="protect it and its disks",
    owns=lambda change: change.attribute in _ATTRIBUTES or change.attribute.startswith(_DISK),
    look=look,
    now=now,
    make=make,
    undo=undo,
)


def _set(change: Change, value: JsonValue) -> tuple[Call, ...]:
    if change.attribute in _ATTRIBUTES:
        member: dict[str, Any] = {_ATTRIBUTES[change.attribute][1]: {"Value": value}}
    else:
        device = change.attribute.removeprefix(_DISK)
        mapping = {"DeviceName": device, "Ebs": {"DeleteOnTermination": value}}
        member = {"BlockDeviceMappings": [mapping]}
    return call("ec2", "ModifyInstanceAttribute", InstanceId=change.resource, **member)


def _values(case: Case, names: Sequence[str]) -> dict[str, JsonValue]:
    values = case.aws.together(*(partial(_value, case, name) for name in names))
    return dict(zip(names, values, strict=True))


def _value(case: Case, name: str) -> JsonValue:
    read, member, _ = _ATTRIBUTES[name]
    ec2 = case.aws.client("ec2")
    answer = ec2.describe_instance_attribute(InstanceId=case.id, Attribute=read)
    value: JsonValue = answer[member]["Value"]
    return value


def _disks(instance: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for mapping in instance.get("BlockDeviceMappings") or ():
        if "Ebs" in mapping:
            yield mapping["DeviceName"], bool(mapping["Ebs"].get("DeleteOnTermination"))


def _settable(instance: Mapping[str, Any]) -> list[str]:
    if instance.get("InstanceLifecycle") == "spot":
        return []
    if instance.get("RootDeviceType") == "instance-store":
        return ["termination protection"]
    return list(_ATTRIBUTES)


def _unprotected(instance: Mapping[str, Any]) -> Iterator[str]:
    if instance.get("InstanceLifecycle") == "spot":
        yield _SPOT
    if instance.get("RootDeviceType") == "instance-store":
        yield _STORE
