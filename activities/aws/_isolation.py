"""What isolation consists of: parts that are looked at, made and taken back alike.

A part owns some kinds of change. It looks at the target and says which of them to make; it reads
the values of given changes; and it turns one change into the calls that make it or take it back.
The order of parts, what to do with what is stale, and which failure stops what is not its business.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._packet import Network
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound, Refused
from firedoor.model.plan import Call, Change, Check


@dataclass(frozen=True)
class Look:
    """What a part would change, and what people should know of it."""

    changes: tuple[Change, ...] = ()
    blast_radius: tuple[str, ...] = ()
    preflight: tuple[Check, ...] = ()
    lost: tuple[str, ...] = ()
    fleets: Mapping[str, int] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that isolation does besides moving interfaces into quarantine."""

    name: str
    owns: Callable[[Change], bool]
    look: Callable[[Case], Look]
    now: Callable[[Case, Sequence[Change]], State]
    make: Callable[[Change], tuple[Call, ...]]
    undo: Callable[[Change], tuple[Call, ...]]
    made: frozenset[str] = frozenset()  # error codes that say that it was so already
    undone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Way:
    """There or back: the calls of a change, and the errors that say that it was so already."""

    calls: Callable[[Part, Change], tuple[Call, ...]]
    so_already: Callable[[Part], frozenset[str]]


MAKING = Way(lambda part, change: part.make(change), lambda part: part.made)
UNDOING = Way(lambda part, change: part.undo(change), lambda part: part.undone)


@dataclass(frozen=True)
class Reading:
    """The values of changes, and which could not be read, and why."""

    state: State
    unread: tuple[Change, ...] = ()
    errors: tuple[CloudError, ...] = ()


def look(case: Case, parts: Iterable[Part]) -> Look:
    """Look at all parts side by side, and put what they say into one."""
    looks = case.aws.together(*(partial(_looked, case, part) for part in parts))
    return Look(
        changes=tuple(change for one in looks for change in one.changes),
        blast_radius=tuple(dict.fromkeys(line for one in looks for line in one.blast_radius)),
        preflight=tuple(dict.fromkeys(check for one in looks for check in one.preflight)),
        lost=tuple(line for one in looks for line in one.lost),
        fleets={name: size for one in looks for name, size in one.fleets.items()},
        resources={id: tags for one in looks for id, tags in one.resources.items()},
        networks=tuple(dict.fromkeys(network for one in looks for network in one.networks)),
    )


def read(case: Case, parts: Iterable[Part], changes: Sequence[Change]) -> Reading:
    """Read the values of changes now; what one part cannot read does not keep the others."""
    owned = [(part, mine) for part in parts if (mine := [c for c in changes if part.owns(c)])]
    answers = case.aws.together(*(partial(_now, case, part, mine) for part, mine in owned))
    return Reading(
        state={k: v for one in answers if not isinstance(one, CloudError) for k, v in one.items()},
        unread=tuple(
            change
            for (_, mine), answer in zip(owned, answers, strict=True)
            if isinstance(answer, CloudError)
            for change in mine
        ),
        errors=tuple(answer for answer in answers if isinstance(answer, CloudError)),
    )


def carry_out(
    aws: Aws, way: Way, parts: Sequence[Part], changes: Iterable[Change]
) -> list[CloudError]:
    """Make or take back what these parts own of the changes, and return the calls that failed."""
    todo = [(part, change) for change in changes for part in parts if part.owns(change)]
    ended = aws.together(*(partial(_attempt, aws, way, part, change) for part, change in todo))
    return [error for error in ended if error is not None]


def calls(way: Way, parts: Sequence[Part], changes: Iterable[Change]) -> tuple[Call, ...]:
    """Return the calls for what these parts own of the changes."""
    return tuple(
        call
        for change in changes
        for part in parts
        if part.owns(change)
        for call in way.calls(part, change)
    )


def call(service: str, operation: str, **parameters: Any) -> tuple[Call, ...]:
    """Return one call, as the ones of a change."""
    return (Call(service=service, operation=operation, parameters=parameters),)


def members(value: JsonValue) -> dict[str, JsonValue]:
    """Return the members of a change's value that is an object; no other value has any."""
    return value if isinstance(value, dict) else {}


def _looked(case: Case, part: Part) -> Look:
    # Containment must not wait for what could not be seen: it goes on without that part.
    try:
        return part.look(case)
    except (CloudError, Refused) as error:
        return Look(preflight=(Check(name=part.name, ok=False, detail=str(error)),))


def _now(case: Case, part: Part, changes: Sequence[Change]) -> State | CloudError:
    try:
        return part.now(case, changes)
    except NotFound:
        return {}  # what does not exist has no value
    except CloudError as error:
        return error


def _attempt(aws: Aws, way: Way, part: Part, change: Change) -> CloudError | None:
    for call in way.calls(part, change):
        try:
            aws.call(call)
        except CloudError as error:
            if error.code not in way.so_already(part):
                return error
    return None
