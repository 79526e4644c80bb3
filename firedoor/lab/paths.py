"""Dotted paths into findings, by which services filter and sort them."""

from collections.abc import Iterator
from typing import Any


def values(value: Any, path: str) -> Iterator[Any]:
    """Yield what stands at a dotted path; a list's members all count."""
    if isinstance(value, list):
        for item in value:
            yield from values(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        name, _, rest = path.partition(".")
        if name in value:
            yield from values(value[name], rest)
