"""Which names a place means: one object, a folder with all below it, or a pattern with stars."""

import re
from collections.abc import Callable


def has_star(pattern: str) -> bool:
    """Return whether it is a pattern."""
    return "*" in pattern


def root(pattern: str) -> str:
    """Return what all names that are meant begin with."""
    return pattern.partition("*")[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a name is meant.

    `*` is anything within a folder, `**` also goes through folders. A name without a star means
    itself and what is in the folder of this name; no name at all means everything.
    """
    if has_star(pattern):
        return re.compile(_expression(pattern), re.DOTALL).fullmatch  # type: ignore[return-value]
    folder = pattern if pattern.endswith("/") or not pattern else f"{pattern}/"
    return lambda name: name == pattern or name.startswith(folder)


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*+)", pattern)
    wild = {"**/": "(?:.*/)?", "*": "[^/]*"}
    return "".join(
        wild.get(part, ".*") if part.startswith("*") else re.escape(part) for part in parts
    )
