"""The Auto Scaling group of an instance, which ends what does not answer, and what it holds."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call
from activities.aws._reading import counted, tags
from firedoor.action import State
from firedoor.model.plan import Call, Change, Check

STANDBY = "Standby"
REPLACED = "Standby, with another in its place"
IN_SERVICE = "InService"

_LIFECYCLE = "lifecycle in "
_PROTECTION = "protection from scale-in by "

# On the way to a state counts as there: the way takes minutes if hooks are heard first.
_ON_THE_WAY = {
    "EnteringStandby": STANDBY,
    "Pending": IN_SERVICE,
    "Pending:Wait": IN_SERVICE,
    "Pending:Proceed": IN_SERVICE,
}


def look_protection(case: Case) -> Look:
    """Keep the group from choosing this instance when it shrinks."""
    member = _member(case)
    if member is None or _state(member) not in (IN_SERVICE, STANDBY):
        return Look()
    if member["ProtectedFromScaleIn"]:
        return Look()
    name = _PROTECTION + member["AutoScalingGroupName"]
    return Look(changes=(Change(resource=case.id, attribute=name, before=False, after=True),))


def look_standby(case: Case) -> Look:
    """Take it out of service, with one less wanted if the group's minimum lets that be."""
    member = _member(case)
    if member is None or _state(member) == STANDBY:
        return Look()
    name = member["AutoScalingGroupName"]
    if _state(member) != IN_SERVICE:
        return Look(preflight=(_cannot(name, member["LifecycleState"]),))
    group = _group(case, name)
    after = STANDBY if group["DesiredCapacity"] > group["MinSize"] else REPLACED
    serving = [i for i in group["Instances"] if i["LifecycleState"] == IN_SERVICE]
    return Look(
        changes=(
            Change(resource=case.id, attribute=_LIFECYCLE + name, before=IN_SERVICE, after=after),
        ),
        blast_radius=(_felt(group, len(serving), replaced=after == REPLACED),),
        lost=(_lost(group),) if after == REPLACED else (),
        fleets={f"autoscaling/{name}": len(serving)},
        resources={f"autoscaling/{name}": tags(group)},
    )


def now_protection(case: Case, changes: Sequence[Change]) -> State:
    """Read whether it is protected; one that left the group is neither."""
    member = _member(case)
    return {
        (c.resource, c.attribute): member["ProtectedFromScaleIn"]
        for c in changes
        if member and c.attribute == _PROTECTION + member["AutoScalingGroupName"]
    }


def now_standby(case: Case, changes: Sequence[Change]) -> State:
    """Read its lifecycle; in standby it is as planned, whether or not another took its place."""
    member = _member(case)
    return {
        (c.resource, c.attribute): c.after if _state(member) == STANDBY else _state(member)
        for c in changes
        if member and c.attribute == _LIFECYCLE + member["AutoScalingGroupName"]
    }


def protect(change: Change) -> tuple[Call, ...]:
    """Protect it from scale-in."""
    return _protect(change, change.after)


def unprotect(change: Change) -> tuple[Call, ...]:
    """Let it be scaled in as before."""
    return _protect(change, change.before)


def enter(change: Change) -> tuple[Call, ...]:
    """Put it into standby."""
    lowered = {"ShouldDecrementDesiredCapacity": change.after == STANDBY}
    return call("autoscaling", "EnterStandby", **_instance(change, _LIFECYCLE), **lowered)


def leave(change: Change) -> tuple[Call, ...]:
    """Put it into service again, which raises the wanted number by one."""
    return call("autoscaling", "ExitStandby", **_instance(change, _LIFECYCLE))


PROTECTION = Part(
    name="protect it from scale-in",
    owns=lambda change: change.attribute.startswith(_PROTECTION),
    look=look_protection,
    now=now_protection,
    make=protect,
    undo=unprotect,
)
LIFECYCLE = Part(
    name="put it into standby",
    owns=lambda change: change.attribute.startswith(_LIFECYCLE),
    look=look_standby,
    now=now_standby,
    make=enter,
    undo=leave,
)


def _member(case: Case) -> dict[str, Any] | None:
    read = partial(
        case.aws.pages,
        "autoscaling",
        "DescribeAutoScalingInstances",
        "AutoScalingInstances",
        InstanceIds=[case.id],
    )
    members = case.once("autoscaling", read)
    return members[0] if members else None


def _group(case: Case, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = case.aws.pages(
        "autoscaling",
        "DescribeAutoScalingGroups",
        "AutoScalingGroups",
        AutoScalingGroupNames=[name],
    )
    return found[0]


def _state(member: Mapping[str, Any]) -> str:
    state = str(member["LifecycleState"])
    return _ON_THE_WAY.get(state, state)


def _cannot(name: str, state: str) -> Check:
    return Check(
        name="stays alive in its Auto Scaling group",
        ok=False,
        detail=f"{name} has it as {state}, from where it cannot go to standby: suspend Terminate"
        " and ReplaceUnhealthy of the group by hand, or its disks may be gone before anybody looks",
    )


def _felt(group: Mapping[str, Any], serving: int, *, replaced: bool) -> str:
    name, least = group["AutoScalingGroupName"], group["MinSize"]
    left = f"Auto Scaling group {name} has {counted(serving - 1, 'instance')} left in service"
    if not replaced:
        return f"{left}, and starts no other for it"
    return (
        f"{left}, and starts another at once, from the same image and user data that may be"
        f" compromised too: its minimum of {least} does not let it go without"
    )


def _lost(group: Mapping[str, Any]) -> str:
    return (
        f"The wanted number of {group['AutoScalingGroupName']}, {group['DesiredCapacity']}: undo"
        " makes it one more, as the instance in its place stays (and needs room below the maximum"
        f" of {group['MaxSize']}): lower it by hand"
    )


def _instance(change: Change, prefix: str) -> dict[str, JsonValue]:
    name = change.attribute.removeprefix(prefix)
    return {"AutoScalingGroupName": name, "InstanceIds": [change.resource]}


def _protect(change: Change, value: JsonValue) -> tuple[Call, ...]:
    what = {**_instance(change, _PROTECTION), "ProtectedFromScaleIn": value}
    return call("autoscaling", "SetInstanceProtection", **what)
