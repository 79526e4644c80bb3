"""What stands in a decoded record: at a path, at the first of several, or anywhere."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

Getter = Callable[[Any], Sequence[str]]
"""Return the values of a field in a decoded record: none, one, or those of a list."""
Path = tuple[str, ...]


def values(value: Any, path: Path, *, any_case: bool = False) -> tuple[str, ...]:
    """Return the texts at a path, looking into every element of a list on the way.

    What is null, or not there, has none. An object at the end is its JSON.
    """
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(text for one in value for text in values(one, path, any_case=any_case))
    if not path:
        return (_text(value),)
    if not isinstance(value, dict):
        return ()
    member = value.get(path[0])
    if member is None and any_case:
        wanted = path[0].lower()
        member = next((one for key, one in value.items() if key.lower() == wanted), None)
    return values(member, path[1:], any_case=any_case)


def straight(path: Path) -> Getter:
    """Return `values` for a path, quicker where there is no list on the way."""

    def get(record: Any) -> Sequence[str]:
        value = record
        for depth, key in enumerate(path):
            if type(value) is not dict:
                return values(value, path[depth:])
            value = value.get(key)
        return (value,) if type(value) is str else values(value, ())

    return get


def first(*names: str) -> Getter:
    """Return what gets the first of several paths at which there is something."""
    paths = [tuple(name.split(".")) for name in names]

    def get(record: Any) -> Sequence[str]:
        found = (values(record, path, any_case=True) for path in paths)
        return next((texts for texts in found if texts), ())

    return get


def members(value: Any, path: Path) -> Iterator[Any]:
    """Return what stands at a path, looking into lists."""
    if isinstance(value, list):
        for one in value:
            yield from members(one, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        yield from members(value.get(path[0]), path[1:])


def everything(record: Any) -> tuple[str, ...]:
    """Return every value in a record, and its JSON, where the names of members stand too."""
    return (written(record), *_leaves(record))


def written(value: Any) -> str:
    """Return a value as JSON."""
    return msgspec.json.encode(value).decode()


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if math.isfinite(value) and value.is_integer():
            return str(int(value))
        case dict():
            return written(value)
    return str(value)


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case None:
            return
        case dict():
            for one in value.values():
                yield from _leaves(one)
        case list():
            for one in value:
                yield from _leaves(one)
        case _:
            yield _text(value)
