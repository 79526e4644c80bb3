"""How workflows call activities: the timeouts and retries, in one place."""

from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from firedoor.model.action import Nature
from firedoor.model.plan import Failure

T = TypeVar("T")

# Activities beat by themselves, so a worker that dies is noticed after this long, whatever it did.
HEARTBEAT = timedelta(seconds=4)
ONE_ATTEMPT = timedelta(minutes=2)
RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=1)
)

# For how long a failing call is tried again. Evidence gives up soon, for containment waits for it
# to have started; opening a door again is tried for days.
PATIENCE = {
    Nature.EVIDENCE: timedelta(minutes=1),
    Nature.CONTAINMENT: timedelta(hours=1),
    Nature.RECORD: timedelta(minutes=10),
    Nature.TASK: timedelta(minutes=10),
}
PATIENCE_TO_VERIFY = timedelta(minutes=1)  # another look comes soon anyway
PATIENCE_TO_FOLLOW = timedelta(hours=1)
PATIENCE_TO_REVERT = timedelta(days=7)
PATIENCE_TO_DELIVER = timedelta(minutes=10)
PATIENCE_TO_ASK = timedelta(seconds=30)  # a person waits for the answer

UNKNOWN = 2  # no first attempt: something may have been done


async def call(
    activity: str,
    argument: BaseModel,
    result: type[T],
    patience: timedelta,
    summary: str = "",
    queue: str = "",
    attempt: timedelta = ONE_ATTEMPT,
) -> T:
    """Call an activity by name, and return its result as `result`.

    `queue` is that of the workers that may act there, if not all may.
    """
    answer: T = await workflow.execute_activity(
        activity,
        argument,
        result_type=result,
        start_to_close_timeout=min(attempt, patience),
        schedule_to_close_timeout=patience,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RETRIES,
        summary=summary or None,
        task_queue=queue or None,
    )
    return answer


def reason(error: ActivityError) -> str:
    """Return what a person should read of a failed activity."""
    cause = error.cause
    return cause.message if isinstance(cause, ApplicationError) else str(cause or error)


def kind(error: ActivityError) -> str:
    """Return the name of the Firedoor error behind a failed activity, or an empty string."""
    cause = error.cause
    return cause.type or "" if isinstance(cause, ApplicationError) else ""


def failure(error: ActivityError) -> Failure:
    """Return which attempt failed last and what it did before; unknown counts as a late attempt."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        return Failure.model_validate(cause.details[0])
    return Failure(attempt=UNKNOWN)
