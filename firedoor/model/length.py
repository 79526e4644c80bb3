"""Lengths of time as people write them, with their unit."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
SHORT = re.compile(r"(\d{1,6})([smhd])")
ISO = re.compile(r"-?P[0-9A-Z.]{2,30}")


def _length(value: object) -> object:
    """Read a length of time with its unit, since 900 says nothing at 03:00."""
    if isinstance(value, str):
        if short := SHORT.fullmatch(value):
            return timedelta(**{UNITS[short[2]]: int(short[1])})
        if ISO.fullmatch(value):
            return value
    if isinstance(value, timedelta):
        return value
    raise PydanticCustomError("length", "expected a length of time with its unit: 15m, 4h or 1d")


Length = Annotated[timedelta, BeforeValidator(_length)]
"""A length of time as people write it, `15m`, or as ISO 8601 does, `PT15M`."""
