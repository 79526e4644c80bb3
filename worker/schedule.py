"""The schedule by which detections run: begun, changed and ended."""

from datetime import UTC, datetime, timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
)
from temporalio.service import RPCError, RPCStatusCode

from firedoor.errors import Refused
from firedoor.model.base import Model, UtcDatetime
from firedoor.model.watch import SCHEDULE, Watch
from firedoor.settings import settings
from worker.client import connect

# After a pause only the last run that was missed is made up for: it looks back as far as needed.
CATCH_UP = timedelta(minutes=1)


class Scheduled(Model):
    """What is scheduled."""

    every: timedelta
    next: UtcDatetime
    watch: Watch


async def begin(watch: Watch, every: timedelta, *, now: bool) -> Scheduled:
    """Run the detections again and again; what was scheduled before is replaced."""
    client, schedule = await connect(), _schedule(watch, every)
    try:
        handle = await client.create_schedule(SCHEDULE, schedule, trigger_immediately=now)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(SCHEDULE)
        await handle.update(lambda _: ScheduleUpdate(schedule))
        if now:
            await handle.trigger()
    coming = (await handle.describe()).info.next_action_times
    return Scheduled(every=every, next=coming[0] if coming else datetime.now(UTC), watch=watch)


async def end() -> None:
    """Schedule it no longer; a run that has begun goes on. Raises `Refused` if there is none."""
    client: Client = await connect()
    try:
        await client.get_schedule_handle(SCHEDULE).delete()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Refused("detections are not scheduled") from error
        raise


def _schedule(watch: Watch, every: timedelta) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "Detection", watch, id=SCHEDULE, task_queue=settings().log_queue
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )
