"""Patterns of names as people write them: * stands for any characters."""

import re


def fits(pattern: str, text: str) -> bool:
    """Tell whether a text fits a pattern in which * stands for any characters.

    Case is ignored: a guard rail that a capital letter opens is none.
    """
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(".*".join(parts), text, re.DOTALL | re.IGNORECASE) is not None
