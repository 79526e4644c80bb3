"""Talking to a Temporal server: finding incidents, reading them, and bringing a person's word."""

import asyncio
import secrets
import signal
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from firedoor.errors import BadInput, FiredoorError, Refused, Unreachable
from firedoor.model.base import Model
from firedoor.model.incident import Arrival, Incident
from firedoor.settings import settings
from worker import client as clients

T = TypeVar("T")

INCIDENTS = "WorkflowType = 'Incident'"
OPEN = "ExecutionStatus = 'Running'"
PREFIX = "incident/"
CONTAINMENT = "containment/"

# A server that is there answers within milliseconds, and a worker well below a second.
PATIENCE = timedelta(seconds=10)
PATIENCE_WITH_WORKER = timedelta(seconds=15)

AT_ONCE = 20  # incidents that are read side by side

_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work, and translate what the server says into our errors."""
    # With Python's own handler in place asyncio would only ask the work to end, which it does not
    # while it waits at a prompt.
    signal.signal(signal.SIGINT, lambda number, frame: signal.default_int_handler(number, frame))
    try:
        return asyncio.run(work)
    except RPCError as error:
        raise _ours(error) from error


@cache
def quiet() -> Runtime:
    """Return the SDK's runtime with its own log off: it would write between the lines of ours."""
    return Runtime(telemetry=TelemetryConfig(logging=None))


async def connect() -> Client:
    """Connect to the server that the profile names.

    Raises `Unreachable`.
    """
    return await clients.connect(runtime=quiet())


async def find(client: Client, wanted: str) -> str:
    """Return the workflow id of the incident that a full id or the end of one names.

    Raises `Refused` if there is none, and `BadInput` if there are several or if it is the id of a
    containment.
    """
    if wanted.startswith(PREFIX):
        return wanted
    if wanted.startswith(CONTAINMENT):
        raise BadInput(wanted, "", "this is a containment; expected an incident that holds it")
    found = {
        execution.id: None
        async for execution in client.list_workflows(INCIDENTS, rpc_timeout=PATIENCE)
        if execution.id.endswith(wanted)
    }
    exact = [id for id in found if id.endswith(f"/{wanted}")]
    match exact or list(found):
        case []:
            raise Refused(f"there is no incident {wanted}; `firedoor incidents --all` lists them")
        case [id]:
            return id
        case several:
            raise BadInput(wanted, f"fits {len(several)} incidents", ", ".join(sorted(several)))


async def awaiting(client: Client) -> list[str]:
    """Return the ids of this installation's incidents in which something waits for people."""
    ours = settings().task_queue.replace("'", "''")
    query = f"{INCIDENTS} AND TaskQueue = '{ours}' AND {OPEN} AND FiredoorAwaiting = true"
    return [found.id async for found in client.list_workflows(query, rpc_timeout=PATIENCE)]


async def read(client: Client, id: str) -> Incident:
    """Return an incident as it stands; one that has ended is read even if no worker is there."""
    try:
        return await ask(client, id, "incident", Incident)
    except Unreachable:
        if (await describe(client, id)).status is not WorkflowExecutionStatus.COMPLETED:
            raise
        handle = client.get_workflow_handle(id, result_type=Incident)
        ended: Incident = await handle.result(rpc_timeout=PATIENCE)
        return ended


async def read_all(client: Client, ids: Sequence[str]) -> tuple[list[Incident], list[str]]:
    """Return incidents as they stand, and the ids of those that no worker tells of."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(id: str) -> Incident | None:
        async with turns:
            try:
                return await read(client, id)
            except (Refused, Unreachable):
                return None

    read_ones = await asyncio.gather(*map(one, ids))
    found = [incident for incident in read_ones if incident is not None]
    return found, [id for id, one in zip(ids, read_ones, strict=True) if one is None]


async def ask(client: Client, id: str, query: str, result: type[T]) -> T:
    """Return the answer of a workflow to a query.

    Raises `Refused` if there is no such workflow and `Unreachable` if no worker answers.
    """
    try:
        answer: T = await client.get_workflow_handle(id).query(
            query, result_type=result, rpc_timeout=PATIENCE
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Refused(f"there is no {id}; `firedoor incidents --all` lists them") from error
        raise _no_worker(id) from error
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise _no_worker(f"{id} ({error})") from error
    return answer


async def deliver(arrivals: Sequence[Arrival]) -> list[clients.Delivery]:
    """Bring findings to their incidents, in order."""
    client = await connect()
    return [await clients.deliver(client, arrival) for arrival in arrivals]


async def describe(client: Client, id: str) -> WorkflowExecutionDescription:
    """Return what the server itself knows of a workflow."""
    return await client.get_workflow_handle(id).describe(rpc_timeout=PATIENCE)


async def tell(
    client: Client,
    incident: str,
    update: str,
    message: Model,
    result: type[T],
    *,
    id: str | None = None,
    patience: timedelta | None = PATIENCE_WITH_WORKER,
) -> T:
    """Bring a person's word to an incident, and return the answer.

    `id` makes a repeat of the same message the same message. Raises `Refused` if the incident has
    ended, and `Unreachable` if no worker answers: the message then may count or not.
    """
    handle = client.get_workflow_handle(incident)
    try:
        async with asyncio.timeout(patience.total_seconds() if patience else None):
            return await clients.ask(handle, update, message, result, id or secrets.token_hex(16))
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise Unreachable(
            f"no worker has answered for {incident}; whether it was heard is unknown,"
            f" see `firedoor show {incident}`"
        ) from error
    except WorkflowUpdateFailedError as error:
        raise Refused(str(error.cause)) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Refused(f"{incident} is not open: {error.message}") from error
        raise


def complete(incomplete: str) -> list[str]:
    """Return the open incidents whose shortened id begins so; none if no server answers."""
    try:
        return run(_complete(incomplete))
    except FiredoorError:
        return []


async def _complete(incomplete: str) -> list[str]:
    client = await connect()
    query = f"{INCIDENTS} AND {OPEN}"
    ids = [
        found.id async for found in client.list_workflows(query, limit=1000, rpc_timeout=PATIENCE)
    ]
    names = [name for id in ids for name in (id, _short(id))]
    return [name for name in names if name.startswith(incomplete)]


def _short(id: str) -> str:
    """Return the end of an id that is enough for a person: `user/alice`, `i-0abc`."""
    kind, _, name = id.removeprefix(PREFIX).split("/", 3)[3].partition("/")
    return name or kind


def _no_worker(id: str) -> FiredoorError:
    return Unreachable(f"no worker answers for {id}; is `firedoor worker` running?")


def _ours(error: RPCError) -> FiredoorError:
    if error.status in _AWAY:
        return Unreachable(f"the Temporal server does not answer: {error.message}")
    return Refused(f"the Temporal server refuses: {error.message}")
