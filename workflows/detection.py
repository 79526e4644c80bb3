"""A run of the detections: what is new is read, and what is wrong in it is handed over."""

from datetime import datetime, timedelta

from temporalio import workflow

from firedoor.model.watch import Detected, Found, Ingested, Look, Watch
from workflows.calls import call

PATIENCE = timedelta(hours=6)
ONE_ATTEMPT = timedelta(hours=1)  # a worker that dies is noticed by its heartbeat
# Logs come late, but what comes later than this is for a person to look at.
LATEST = timedelta(days=1)


@workflow.defn(name="Detection")
class DetectionWorkflow:
    """Read new logs and look at them; the schedule that starts it has one run at a time."""

    @workflow.run
    async def run(self, watch: Watch) -> Detected:
        """Go on from where the last run ended, or where what came late since then begins."""
        now = workflow.now()
        read = await self._ingest(watch)
        since = max(now - LATEST, min(self._last_end(now), read.first or now))
        look = Look(watch=watch, since=since, until=now)
        found = await call(
            "detections.look", look, Found, PATIENCE, "look for what is wrong", attempt=ONE_ATTEMPT
        )
        return Detected(until=now, read=read, found=found)

    async def _ingest(self, watch: Watch) -> Ingested:
        read = Ingested(more=True)
        while read.more:
            summary = f"read what is new, after {read.objects} objects"
            read += await call(
                "logs.ingest", watch, Ingested, PATIENCE, summary, attempt=ONE_ATTEMPT
            )
        return read

    def _last_end(self, now: datetime) -> datetime:
        """Return until when the run before this one looked."""
        last = workflow.get_last_completion_result(Detected)
        return last.until if last else now
