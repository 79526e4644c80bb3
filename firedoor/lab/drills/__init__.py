"""Fault drills: for each action one or more stages, on which everything goes wrong that can."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from boto3 import Session
from pydantic import JsonValue

from firedoor.lab.server import ACCOUNT, REGION
from firedoor.model.finding import Cloud, Kind, Principal, PrincipalType, Resource, Subject

Params = Mapping[str, Any]
"""What a runbook says below `with`."""

Hand = Callable[[Session, Subject], object]
"""What somebody else does to a subject."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One subject of an action, in surroundings that need as many of its calls as can be.

    `kept` says, by a pattern of paths, what undo does not bring back, and why; where the pattern
    begins with a plus, only what was not there before stays.
    """

    build: Callable[[Session], Subject]
    params: Callable[[Session], Params] | Params = field(default_factory=dict)
    spared: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    change: Hand | None = None  # so that the plan is stale
    remove: Hand | None = None  # so that the target is gone
    fill: Hand | None = None  # so that a quota is full
    limits: Mapping[str, str] = field(default_factory=dict)  # call to what AWS says when it is full
    part: str = ""  # the operation that is made for each of several parts
    kept: Mapping[str, str] = field(default_factory=dict)

    def keeps(self, path: str, before: JsonValue) -> bool:
        """Whether what stands at a path now need not be what it was."""
        patterns = (p for p in self.kept if before is None or not p.startswith("+"))
        return any(fnmatchcase(path, pattern.removeprefix("+")) for pattern in patterns)


@dataclass(frozen=True, kw_only=True)
class Drill:
    """The stages of one action, by name; its id is that of the action."""

    stages: Mapping[str, Stage]


def resource(kind: Kind, id: str, account: str = ACCOUNT, region: str = REGION) -> Resource:
    """Return a resource of the emulated account."""
    where = {"cloud": Cloud.AWS, "account": account, "region": region}
    return Resource.model_validate({**where, "kind": kind, "id": id})


def principal(kind: PrincipalType, name: str) -> Principal:
    """Return a user or role of the emulated account."""
    return Principal(cloud=Cloud.AWS, account=ACCOUNT, type=kind, name=name, id=f"{kind}/{name}")
