"""How an activity does synchronous work: in a thread, with a heartbeat, its errors translated."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.heartbeat import beating
from firedoor import telemetry
from firedoor.channel import Busy
from firedoor.errors import FiredoorError, Throttled, Unavailable
from firedoor.model.plan import Failure

T = TypeVar("T")

log = structlog.get_logger()


async def perform(
    threads: ThreadPoolExecutor, incident: str, step: str, work: Callable[[], T]
) -> T:
    """Run a function in one of the threads, with a heartbeat, and translate its errors."""
    with telemetry.bind(incident=incident, step=step):
        context = copy_context()
    loop = asyncio.get_running_loop()
    try:
        return await beating(loop.run_in_executor(threads, context.run, work))
    except FiredoorError as error:
        raise _failure(error) from error
    except Exception as bug:
        # Trying again does not mend our own code, and a person waits: the step fails at once.
        log.exception("action.broken", incident=incident, step=step)
        failed = Failure(attempt=activity.info().attempt)
        told = f"{type(bug).__name__}: {bug}"
        raise ApplicationError(told, failed, type="Bug", non_retryable=True) from bug


def _failure(error: FiredoorError) -> ApplicationError:
    later = isinstance(error, Throttled | Unavailable)
    return ApplicationError(
        str(error),
        Failure(attempt=activity.info().attempt, made=error.made),
        type=type(error).__name__,
        non_retryable=not error.retryable,
        next_retry_delay=error.after if isinstance(error, Busy) else None,
        category=ApplicationErrorCategory.BENIGN if later else ApplicationErrorCategory.UNSPECIFIED,
    )
