"""Reading logs and looking at them, as activities of the worker that keeps the logs."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

import structlog
from temporalio import activity

from activities.heartbeat import beating
from firedoor.errors import BadInput, CloudError, Unreachable
from firedoor.model.finding import Finding
from firedoor.model.watch import Episode, Found, Ingested, Look, Watch
from firedoor.settings import settings
from worker.catalogue import arrival
from worker.client import deliver
from worker.performing import perform

log = structlog.get_logger()

AT_ONCE = 60  # seconds, after which reading pauses: what was read until then is kept and counted
PAUSE = timedelta(minutes=10)  # before what was not given out is asked for again
LEARNED = timedelta(days=90)  # of which baselines know
ONE = ThreadPoolExecutor(1, thread_name_prefix="logs")
"""Reads and looks: the store is for one at a time."""


@activity.defn(name="logs.ingest")
async def ingest(watch: Watch) -> Ingested:  # noqa: ARG001
    """Read what is new in the places of this worker, as far as it goes in a minute."""
    return await perform(ONE, "", "logs", _ingest)


@activity.defn(name="detections.look")
async def look(asked: Look) -> Found:
    """Run the detections over what is kept, and hand over what they find and have not told yet."""
    incidents = await beating(_incidents(asked.until))
    findings, problems = await perform(ONE, "", "detections", partial(_look, asked, incidents))
    return await beating(_hand_over(findings, problems))


def _ingest() -> Ingested:
    from firedoor.lake.ingest import Given, ingest, tidy
    from firedoor.lake.store import Store

    given = settings()
    now, started, read = datetime.now(UTC), monotonic(), Ingested()
    told = Given(networks=given.own_networks)
    reading = partial(ingest, given.places, now=now, given=told, pause=PAUSE)
    with Store(given.store) as store, closing(reading(store=store)) as found:
        if activity.info().attempt > 1:
            # What an attempt that was killed has read is not new to this one.
            read += Ingested(first=store.earliest(activity.info().scheduled_time))
        try:
            for seen in found:
                read += Ingested(
                    objects=1,
                    rows=seen.rows,
                    left_out=int(bool(seen.problem or seen.refused)),
                    first=seen.first,
                )
                if seen.problem or seen.refused:
                    log.warning("log.left_out", object=seen.name, problem=seen.problem)
                if monotonic() - started > AT_ONCE:
                    return read.model_copy(update={"more": True})
        except (BadInput, CloudError, Unreachable) as error:
            # The other places were read: what came from them is looked at all the same.
            problems = (str(error), *getattr(error, "__notes__", ()))
            log.warning("log.places_left_out", problems=problems)
            read += Ingested(left_out=len(problems))
        tidy(store, given.log_days, now)
    return read


async def _incidents(now: datetime) -> list[Episode]:
    """Return when there were incidents, of the time that baselines learn from."""
    oldest = (now - LEARNED).isoformat()
    asked = f"WorkflowType = 'Incident' AND StartTime > '{oldest}'"
    return [
        Episode(id=one.id, since=one.start_time, until=one.close_time or now)
        async for one in activity.client().list_workflows(asked)
    ]


def _look(asked: Look, incidents: list[Episode]) -> tuple[list[Finding], list[str]]:
    """Return what was not told yet, and which rules could not be asked."""
    from firedoor import looking
    from firedoor.lake.store import Store

    with Store(settings().store) as store:
        store.note_incidents(incidents)
        given = asked.watch.rules, settings().sigma
        seen = looking.over(store, asked.since, asked.until, *given)
        found = [one for one in seen.findings.values() if store.is_news(one.id, one.last_seen)]
        return found, seen.problems


async def _hand_over(findings: list[Finding], problems: list[str]) -> Found:
    from firedoor.lake.store import Store

    incidents = []
    with Store(settings().store) as store:
        for finding in findings:
            delivery = await deliver(activity.client(), arrival(finding))
            incidents.append(delivery.incident)
            # Only now: whoever is killed before tells it again, and that starts nothing.
            store.note_told(finding.id, finding.last_seen)
            log.info(
                "finding.delivered",
                incident=delivery.incident,
                outcome=delivery.outcome,
                finding=finding.id,
            )
    return Found(
        findings=len(findings), incidents=tuple(dict.fromkeys(incidents)), problems=tuple(problems)
    )
