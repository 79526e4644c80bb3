"""One worker, with or without the intake, from start to graceful stop."""

import asyncio
import signal
from datetime import timedelta

import structlog
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from firedoor import __version__, telemetry
from firedoor.cloud import aws
from firedoor.errors import BadInput
from firedoor.intake import sqs
from firedoor.model.finding import Finding
from firedoor.settings import settings
from worker.catalogue import arrival, catalogue, policy, require_people
from worker.client import connect, deliver
from worker.plugin import plugin
from workflows import visibility

log = structlog.get_logger()

# How soon another worker takes over the incidents that a dead one had in its cache. A busy worker
# that is late merely reads a history again.
STICKY = timedelta(milliseconds=500)
GRACE = timedelta(seconds=30)
# Most of them wait: an incident for its containment, a containment for its action. Few slots would
# be taken by those that wait, and what they wait for would never get one.
SLOTS = 1000


def worker(client: Client) -> Worker:
    """Return a worker for every workflow and activity, with its build stamped on what it decides.

    The client must carry the plugin.
    """
    return Worker(
        client,
        task_queue=settings().serves or settings().task_queue,
        max_concurrent_activities=SLOTS,
        sticky_queue_schedule_to_start_timeout=STICKY,
        graceful_shutdown_timeout=GRACE,
        deployment_config=WorkerDeploymentConfig(
            version=WorkerDeploymentVersion("firedoor", __version__), use_worker_versioning=False
        ),
    )


async def serve(*, with_intake: bool = True, stop: asyncio.Event | None = None) -> None:
    """Work until told to stop by `stop`, SIGTERM or SIGINT; then finish what is in hand.

    Raises `Unreachable` if there is no server, and `BadInput` if its namespace lacks our search
    attributes.
    """
    stop = stop or asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    # What cannot be used stops the worker here, not an incident later.
    catalogue(), policy()
    require_people()
    client = await connect(plugins=[plugin()], runtime=telemetry.runtime(settings().metrics))
    await _require_search_attributes(client)
    async with worker(client):
        queue = settings().serves or settings().task_queue
        log.info("worker.started", queue=queue, build=__version__)
        warming = asyncio.create_task(asyncio.to_thread(aws.warm_up))
        if with_intake and not settings().serves and (source := settings().queue_url):
            await sqs.run(source, settings().dead_letter_url, _deliver_to(client), stop)
        await stop.wait()
        log.info("worker.stopping")
        await warming


def _deliver_to(client: Client) -> sqs.Deliver:
    async def hand_over(finding: Finding) -> None:
        delivery = await deliver(client, arrival(finding))
        log.info(
            "finding.delivered",
            incident=delivery.incident,
            outcome=delivery.outcome,
            finding=finding.id,
        )

    return hand_over


async def _require_search_attributes(client: Client) -> None:
    """Refuse to work where an incident would wait for ever on an attribute that is not there."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    if missing := [key.name for key in visibility.ALL if key.name not in known]:
        what = f"lacks the search attributes {', '.join(missing)}"
        mend = "create them with `temporal operator search-attribute create`"
        raise BadInput("namespace", client.namespace, f"{what}; {mend}")
