"""Things that several change at once: read again and try again when somebody was faster."""

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from firedoor.errors import CloudError, Throttled

T = TypeVar("T")

TRIES = 6

PAUSE = 0.25
"""Seconds before the second try; each further one waits twice as long."""


def retried(work: Callable[[], T], codes: Collection[str]) -> T:
    """Do work that reads and then changes, again and again while an error has one of the codes.

    Raises `Throttled` after some tries, so that the whole activity is tried again later.
    """
    for attempt in range(TRIES):
        try:
            return work()
        except CloudError as error:
            if error.code not in codes:
                raise
            last = error
        time.sleep(PAUSE * 2**attempt)
    raise Throttled(last.code, "others keep changing the same thing", last.operation) from last


def awaited(look: Callable[[], T | None], what: str) -> T:
    """Look until there is an answer.

    Raises `Throttled` if there is none after some looks, so that somebody looks again later.
    """
    for attempt in range(TRIES):
        answer = look()
        if answer is not None:
            return answer
        time.sleep(PAUSE * 2**attempt)
    raise Throttled("StillChanging", what, "waiting")
