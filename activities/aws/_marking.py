"""The tags that say on an instance which incident contains it: a warning to whoever looks at it.

They also say that applying a plan has begun, so that an attempt that goes on where another stopped
finishes rather than asks again.
"""

from collections.abc import Sequence

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call, members
from activities.aws._reading import tags
from firedoor.action import State
from firedoor.model.plan import Call, Change, Target

INCIDENT, STEP, SINCE = "firedoor:incident", "firedoor:step", "firedoor:planned-at"

_ATTRIBUTE = "tags of the incident"


def look(case: Case) -> Look:
    """Mark the instance with incident, step and the time of the plan."""
    return Look(changes=(_change(case.id, _marks(case), of(case.target)),))


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


PART = Part(
    name="tags of the incident",
    owns=lambda change: change.attribute == _ATTRIBUTE,
    look=look,
    now=now,
    make=make,
    undo=undo,
)


def _change(instance: str, before: JsonValue, after: JsonValue) -> Change:
    return Change(resource=instance, attribute=_ATTRIBUTE, before=before, after=after)


def _marks(case: Case) -> dict[str, JsonValue]:
    found = tags(case.instance or {})
    return {name: found.get(name) for name in of(case.target)}


def _pairs(values: JsonValue, *, present: bool) -> list[dict[str, JsonValue]]:
    pairs = members(values).items()
    return [{"Key": key, "Value": value} for key, value in pairs if (value is not None) == present]
