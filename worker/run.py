"""One worker, with or without the intake, from start to graceful stop."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from firedoor import __version__, telemetry
from firedoor.approvals import lint, sshsig
from firedoor.cloud import aws
from firedoor.errors import BadInput
from firedoor.intake import chat, sqs
from firedoor.model.finding import Finding
from firedoor.settings import settings
from firedoor.signing import load_private
from worker import archive
from worker.catalogue import arrival, catalogue, policy, require_people, roster
from worker.client import bring, connect, deliver
from worker.plugin import patient, plugin
from workflows import visibility

log = structlog.get_logger()

# How soon another worker takes over the incidents that a dead one had in its cache. A busy worker
# that is late merely reads a history again.
STICKY = timedelta(milliseconds=500)
GRACE = timedelta(seconds=30)
# Most of them wait: an incident for its containment, a containment for its action. Few slots would
# be taken by those that wait, and what they wait for would never get one.
SLOTS = 1000


def worker(client: Client, queue: str = "") -> Worker:
    """Return a worker for every workflow and activity, with its build stamped on what it decides.

    The client must carry the plugin. `queue` is another task queue than the one of the settings.
    """
    version = WorkerDeploymentVersion("firedoor", __version__)
    return patient(
        Worker(
            client,
            task_queue=queue or settings().serves or settings().task_queue,
            max_concurrent_activities=SLOTS,
            sticky_queue_schedule_to_start_timeout=STICKY,
            graceful_shutdown_timeout=GRACE,
            deployment_config=WorkerDeploymentConfig(version=version, use_worker_versioning=False),
        )
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
    for problem in lint.problems(policy(), datetime.now(UTC)):
        log.warning("policy.doubtful", problem=problem)
    await asyncio.to_thread(archive.keep)
    client = await connect(plugins=[plugin()], runtime=telemetry.runtime(settings().metrics))
    await _require_search_attributes(client)
    async with AsyncExitStack() as working:
        for queue in _queues():
            await working.enter_async_context(worker(client, queue))
            log.info("worker.started", queue=queue, build=__version__)
        warming = asyncio.create_task(asyncio.to_thread(aws.warm_up))
        await asyncio.gather(*(_intake(client, stop) if with_intake else ()), stop.wait())
        log.info("worker.stopping")
        await warming


def _queues() -> list[str]:
    """Return the task queues of this worker: who keeps logs has one more, for it alone has them."""
    given = settings()
    return [given.serves or given.task_queue, *([given.log_queue] if given.places else [])]


def _intake(client: Client, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
    """Return the ways in that are set up: findings from a queue, votes from chat."""
    given = settings()
    ways: list[Coroutine[Any, Any, None]] = []
    if given.queue_url and not given.serves:
        ways.append(sqs.run(given.queue_url, given.dead_letter_url, _deliver_to(client), stop))
    if given.chat and not given.serves:
        sign = partial(sshsig.sign, load_private(_gateway_key()))
        gateway = chat.gateway(given, roster(), sign)
        ways.append(chat.run(given.chat, gateway, partial(bring, client), stop))
    return ways


def _gateway_key() -> Path:
    file = settings().gateway_key
    if file is None:
        raise BadInput("settings", "FIREDOOR_GATEWAY_KEY", "FIREDOOR_CHAT needs it")
    return file.expanduser()


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
