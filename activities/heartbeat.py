"""The heartbeat that tells a long call from a dead worker within seconds."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from temporalio import activity

T = TypeVar("T")

# Well below the heartbeat timeout, so that a busy machine is not taken for a dead one.
BEAT = 0.5


async def beating(work: Awaitable[T]) -> T:
    """Await something, with a heartbeat as long as it takes."""
    done = asyncio.ensure_future(work)
    while not (await asyncio.wait({done}, timeout=BEAT))[0]:
        activity.heartbeat()
    return done.result()
