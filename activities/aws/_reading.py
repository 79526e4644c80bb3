"""What all actions read alike: instances, tags, and what need not be there."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import JsonValue

from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, NotFound
from firedoor.model.plan import Check

T = TypeVar("T")
U = TypeVar("U")

GONE = "does not exist any more"
"""What every action says of an instance with which nothing can be done."""

NAMED = 5
"""How many of several are named."""


class Blind:
    """What we may not look at and can do without; threads may share it."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}

    def tried(self, what: str, read: Callable[[], T], otherwise: U) -> T | U:
        """Read, or remember why that was denied: containment must not wait for a right to look."""
        try:
            return read()
        except AccessDenied as error:
            self._why[what] = str(error)
            return otherwise

    @property
    def checks(self) -> tuple[Check, ...]:
        """What approvers are told of it."""
        return tuple(Check(name=k, ok=False, detail=v) for k, v in sorted(self._why.items()))


def or_none(read: Callable[[], T]) -> T | None:
    """Read what need not be there."""
    try:
        return read()
    except NotFound:
        return None


def instance(aws: Aws, id: str) -> dict[str, Any] | None:
    """Read an instance; None if it does not exist."""
    described = partial(aws.pages, "ec2", "DescribeInstances", "Reservations", InstanceIds=[id])
    return next((one for r in or_none(described) or () for one in r["Instances"]), None)


def terminated(instance: Mapping[str, Any]) -> bool:
    """Return whether an instance is only listed: AWS does so for about an hour after its end."""
    return bool(instance["State"]["Name"] == "terminated")


def tags(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource; interfaces call them TagSet."""
    return {
        tag["Key"]: tag["Value"] for tag in resource.get("Tags") or resource.get("TagSet") or ()
    }


def strings(value: JsonValue) -> list[str]:
    """Return a plan's list of strings as such; what is no list holds none."""
    return [str(item) for item in value] if isinstance(value, list) else []


def counted(number: int, noun: str) -> str:
    """Return `1 subnet`, `2 subnets`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def named(names: Sequence[str]) -> str:
    """Return `a, b and 3 more`: how many there are is said beside it, so a few names will do."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
