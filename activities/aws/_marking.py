"""The tags that say which incident contains an instance, and what disks and interfaces it has.

They warn whoever looks at it, and keep cleaners from disks that are in use by nobody any more. On
the instance they also say that applying a plan has begun, so that an attempt that goes on where
another stopped finishes rather than asks again.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call, members
from activities.aws._reading import tags
from firedoor.action import State
from firedoor.model.plan import Call, Change, Target

INCIDENT, STEP, SINCE = "firedoor:incident", "firedoor:step", "firedoor:planned-at"

_ATTRIBUTE = "tags of the incident"
_HELD = f"tag {INCIDENT}"


def look(case: Case) -> Look:
    """Mark the instance with incident, step and the time of the plan."""
    return Look(changes=(_change(case.id, _marks(case), of(case.target)),))


def look_held(case: Case) -> Look:
    """Mark its disks and interfaces with the incident."""
    ids = list(_held(case))
    found, incident = _incidents(case, ids), case.target.incident
    return Look(
        changes=tuple(
            Change(resource=id, attribute=_HELD, before=before, after=incident)
            for id in ids
            if (before := found.get(id)) != incident
        )
    )


def of(target: Target) -> dict[str, JsonValue]:
    """Return the tags of a plan for a target."""
    return {
        INCIDENT: target.incident,
        STEP: target.step,
        SINCE: target.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def begun(case: Case) -> bool:
    """Return whether the instance is marked by the plan of this very target."""
    return _marks(case) == of(case.target)


def now(case: Case, changes: Sequence[Change]) -> State:
    """Read the marks; a tag that is not there is None."""
    return {(change.resource, change.attribute): _marks(case) for change in changes}


def now_held(case: Case, changes: Sequence[Change]) -> State:
    """Read which incident disks and interfaces are marked with."""
    found = _incidents(case, [change.resource for change in changes])
    return {(c.resource, c.attribute): found.get(c.resource) for c in changes}


def make(change: Change) -> tuple[Call, ...]:
    """Set all tags at once."""
    return call(
        "ec2", "CreateTags", Resources=[change.resource], Tags=_pairs(change.after, present=True)
    )


def undo(change: Change) -> tuple[Call, ...]:
    """Put former values back, and remove the tags that were not there."""
    former = _pairs(change.before, present=True)
    absent = {pair["Key"] for pair in _pairs(change.before, present=False)}
    # With its value, so that a tag that somebody changes meanwhile stays.
    ours = [pair for pair in _pairs(change.after, present=True) if pair["Key"] in absent]
    resources = [change.resource]
    return (
        *(call("ec2", "CreateTags", Resources=resources, Tags=former) if former else ()),
        *(call("ec2", "DeleteTags", Resources=resources, Tags=ours) if ours else ()),
    )


def make_held(change: Change) -> tuple[Call, ...]:
    """Set the tag."""
    return _tag("CreateTags", change, change.after)


def undo_held(change: Change) -> tuple[Call, ...]:
    """Put the tag of another incident back, or remove ours."""
    if change.before is None:
        return _tag("DeleteTags", change, change.after)
    return _tag("CreateTags", change, change.before)


PART = Part(
    name="tag it",
    owns=lambda change: change.attribute == _ATTRIBUTE,
    look=look,
    now=now,
    make=make,
    undo=undo,
)
HELD = Part(
    name="tag its disks and interfaces",
    owns=lambda change: change.attribute == _HELD,
    look=look_held,
    now=now_held,
    make=make_held,
    undo=undo_held,
)
PARTS = (PART, HELD)


def _change(instance: str, before: JsonValue, after: JsonValue) -> Change:
    return Change(resource=instance, attribute=_ATTRIBUTE, before=before, after=after)


def _marks(case: Case) -> dict[str, JsonValue]:
    found = tags(case.instance or {})
    return {name: found.get(name) for name in of(case.target)}


def _held(case: Case) -> Iterator[str]:
    for mapping in (case.instance or {}).get("BlockDeviceMappings") or ():
        if volume := mapping.get("Ebs", {}).get("VolumeId"):
            yield volume
    yield from (interface["NetworkInterfaceId"] for interface in case.interfaces)


def _incidents(case: Case, ids: Sequence[str]) -> dict[str, str]:
    wanted = [{"Name": "resource-id", "Values": [*ids]}, {"Name": "key", "Values": [INCIDENT]}]
    read = partial(case.aws.pages, "ec2", "DescribeTags", "Tags", Filters=wanted)
    return {tag["ResourceId"]: tag["Value"] for tag in case.once(("tags", *ids), read)}


def _tag(operation: str, change: Change, value: JsonValue) -> tuple[Call, ...]:
    pair: dict[str, JsonValue] = {"Key": INCIDENT, "Value": value}
    return call("ec2", operation, Resources=[change.resource], Tags=[pair])


def _pairs(values: JsonValue, *, present: bool) -> list[dict[str, JsonValue]]:
    pairs = members(values).items()
    return [{"Key": key, "Value": value} for key, value in pairs if (value is not None) == present]
