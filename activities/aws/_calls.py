"""Planned calls, to be made with the values that could not be known when they were planned."""

from collections.abc import Sequence
from typing import Any

from firedoor.errors import PlanStale
from firedoor.model.plan import Call


def planned(calls: Sequence[Call], operation: str) -> Call:
    """Return the call of an operation.

    Raises `PlanStale` if there is none: what it makes was there, and is not any more.
    """
    for call in calls:
        if call.operation == operation:
            return call
    raise PlanStale(f"what {operation} makes was there when it was planned, and is gone")


def filled(call: Call, **values: Any) -> Call:
    """Return a call with values in the place of what was to be known later."""
    return call.model_copy(update={"parameters": {**call.parameters, **values}})
