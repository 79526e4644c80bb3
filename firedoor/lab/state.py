"""All that the emulated accounts hold, as plain values by path.

A path is `service/account/region/attribute/key/…`. It leads through the models themselves rather
than through what their APIs tell, so nothing changes unseen. What is empty counts as not there.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import date
from enum import Enum
from fnmatch import fnmatchcase
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from moto.core.base_backend import AccountSpecificBackend, BackendDict, BaseBackend
from moto.ec2.models.network_acls import NetworkAclEntry
from pydantic import JsonValue

from firedoor.lab import patch
from firedoor.lab.savepoint import Savepoint

State = dict[str, JsonValue]

NOTES = (
    "cloudtrail/*/history",  # which calls were made
    "iam/*/last_used/*",
    "*/seen_busy",  # how often it was asked after what is on its way
    "*/turning",
    "s3/000000000000/*",  # where moto itself keeps the code of functions for download
)
"""Paths of what reading alone changes."""

TAGS = ("ec2/*/tags", "*/tagger/tags", "*/tagging_service/tags")
"""Where tags stand apart from what has them; moto keeps them when that is deleted."""

# What computes, or finds what others hold, and holds nothing of its own.
_IDLE = (BaseBackend, FunctionType, BuiltinFunctionType, MethodType, WeakValueDictionary, type)

_first: WeakKeyDictionary[BaseBackend, State] = WeakKeyDictionary()
"""What each service held when it was asked for the first time, a default VPC for one."""


def install() -> None:
    """Remember what each service holds from the beginning."""
    patch.around(AccountSpecificBackend, "__getitem__", _remembered)


def now() -> State:
    """Return what the accounts hold now."""
    return _told((where, _own(vars(backend))) for where, backend in _backends())


def at(savepoint: Savepoint) -> State:
    """Return what the accounts held at a savepoint."""
    both = zip(savepoint.backends, savepoint.states, strict=True)
    return _told(
        (f"{services.service_name}/{account}/{region}", _own(state))
        for (services, account, region, _), state in both
    )


def since(savepoint: Savepoint) -> State:
    """Return what the services held that were asked for the first time since a savepoint."""
    known = {id(backend) for *_, backend in savepoint.backends}
    found: State = {}
    for _, backend in _backends():
        if id(backend) not in known:
            found |= _first.get(backend, {})
    return found


def differences(before: State, after: State) -> dict[str, list[JsonValue]]:
    """Return the values before and after, by path, of what is not the same."""
    return {
        path: [before.get(path), after.get(path)]
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }


def _backends() -> Iterator[tuple[str, BaseBackend]]:
    for services in list(BackendDict._instances):  # type: ignore[misc]
        for account, region, backend in services.iter_backends():
            yield f"{services.service_name}/{account}/{region}", backend


def _own(state: dict[str, Any]) -> dict[str, Any]:
    """Leave out where a backend is: it is there as soon as somebody asks."""
    return {k: v for k, v in state.items() if k not in {"account_id", "partition", "region_name"}}


def _remembered(get: Any, services: Any, region: str) -> Any:
    is_new = region not in services.keys()  # noqa: SIM118 - `in` also finds what could be made
    backend = get(services, region)
    if is_new and backend not in _first:
        where = f"{services.service_name}/{services.account_id}/{backend.region_name}"
        _first[backend] = _told([(where, _own(vars(backend)))])
    return backend


def _told(roots: Iterable[tuple[str, Any]]) -> State:
    """Walk breadth first, so that what several hold is told where it is nearest.

    The others refer to it: a security group stands under its VPC, and under each interface is `→`
    and the path there.
    """
    told: State = {}
    met: dict[int, str] = {}
    tags: list[tuple[str, str, Any]] = []
    waiting = deque(sorted(roots, key=itemgetter(0)))
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, _IDLE) or _is_one_of(path, NOTES):
            continue
        parts = _parts(value)
        if parts is None:
            told[path] = _plain(value)
        elif hasattr(value, "__dict__") and id(value) in met:
            told[path] = f"→ {met[id(value)]}"
        elif _is_one_of(path, TAGS):
            tags += ((path, owner, own) for owner, own in parts)
        else:
            met[id(value)] = path
            waiting.extend((f"{path}/{name}", part) for name, part in parts)
    return told | _tags(tags, told)


def _tags(found: Iterable[tuple[str, str, Any]], told: State) -> State:
    """Return the tags of what is there."""
    there = {value for value in told.values() if isinstance(value, str)}
    return {
        f"{path}/{owner}/{name}": _plain(value)
        for path, owner, own in found
        if owner in there
        for name, value in own.items()
    }


def _is_one_of(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _parts(value: Any) -> Iterable[tuple[str, Any]] | None:
    """Return what something consists of, by name, or nothing for what is told as it is."""
    match value:
        case Enum() | str() | bytes() | Set():
            return None
        case Mapping():
            return sorted(((str(key), part) for key, part in value.items()), key=itemgetter(0))
        case [NetworkAclEntry(), *_]:  # EC2 shows them in the order of their numbers
            return sorted(((f"{e.egress} {e.rule_number}", e) for e in value), key=itemgetter(0))
        case Sequence() | deque():
            return ((str(index), part) for index, part in enumerate(value))
    if hasattr(value, "seek") or not hasattr(value, "__dict__"):
        return None
    return sorted(vars(value).items(), key=itemgetter(0))


def _plain(value: Any) -> JsonValue:
    match value:
        case Enum():
            return str(value.value)
        case None | bool() | int() | float() | str():
            return value
        case date():
            return value.isoformat()
        case bytes():
            return f"sha256 {hashlib.sha256(value).hexdigest()}"
        case Set():
            return [*sorted(str(_plain(one)) for one in value)]
    if hasattr(value, "seek"):  # the content of an object in S3
        value.seek(0)
        return _plain(value.read())
    return type(value).__name__
