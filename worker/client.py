"""The client side of Temporal: connecting, and handing findings over."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfigProfile
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.turns import TASK_TIMEOUT, at_rest
from firedoor.errors import BadInput, Refused, Unreachable
from firedoor.model.base import Model
from firedoor.model.finding import Finding
from firedoor.model.incident import Arrival, Incident, Opening, incident_id
from firedoor.model.word import Decision, Signed
from firedoor.settings import login, settings

T = TypeVar("T")

PATIENCE = 10  # seconds
RETRIES = 20
DEFAULT_ADDRESS = "127.0.0.1:7233"


class Handover(StrEnum):
    """What became of a finding that was handed over."""

    STARTED = "started"
    JOINED = "joined"
    REPEATED = "repeated"


class Delivery(Model):
    """The incident that a finding belongs to, and how it came there."""

    incident: str
    outcome: Handover


async def connect(**options: Any) -> Client:
    """Connect with the profile of `temporalio.envconfig` that the settings name.

    Raises `Unreachable` if no server answers, and `BadInput` if the profile cannot be used.
    """
    target = _profile()
    try:
        async with asyncio.timeout(PATIENCE):  # with a server that accepts, and then says nothing
            return await Client.connect(
                **target,
                data_converter=pydantic_data_converter,
                identity=f"firedoor/{login()}@{socket.gethostname()}",
                **options,
            )
    except (RuntimeError, TimeoutError) as error:
        raise Unreachable(f"no Temporal server answers at {target['target_host']}") from error


async def deliver(client: Client, arrival: Arrival) -> Delivery:
    """Bring a finding to its incident, which starts if there is none; durable when it returns.

    A finding that an ended incident has answered already starts nothing. Raises `Unreachable` if
    the server does not take it; it can be delivered again then.
    """
    incident = incident_id(arrival.finding)
    handle = client.get_workflow_handle(incident, result_type=Incident)
    try:
        await at_rest(handle)
        await handle.signal("arrive", arrival)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise Unreachable(
                f"Temporal does not take {arrival.finding.id}: {error.message}"
            ) from error
    else:
        return Delivery(incident=incident, outcome=Handover.JOINED)
    return await _start(client, arrival, handle)


async def ask(
    handle: WorkflowHandle[Any, Any], update: str, message: Model, answer: type[T], ident: str
) -> T:
    """Send a person's message, and return the answer; the same id twice is one message.

    The server drops a message that comes as the workflow ends a turn: it is sent again.
    """
    for _ in range(RETRIES):
        await at_rest(handle)
        try:
            said: T = await handle.execute_update(update, message, id=ident, result_type=answer)
        except RPCError as error:
            if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
            await asyncio.sleep(0.1)
        else:
            return said
    raise Unreachable(f"{handle.id} does not come to rest; try again")


async def bring(client: Client, said: Signed[Decision]) -> None:
    """Bring a vote without waiting for the ruling; durable when it returns.

    Raises `Refused` if there is no such incident, and `Unreachable` if the server does not take it.
    """
    handle = client.get_workflow_handle(said.word.incident)
    try:
        await at_rest(handle)
        await handle.signal("vote", said)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Refused(f"{said.word.incident} is not open") from error
        raise Unreachable(f"Temporal does not take the vote: {error.message}") from error


async def _start(
    client: Client, arrival: Arrival, handle: WorkflowHandle[Any, Incident]
) -> Delivery:
    incident = handle.id
    try:
        await _open(client, arrival, incident, WorkflowIDReusePolicy.REJECT_DUPLICATE)
    except WorkflowAlreadyStartedError:
        if await _was_answered(client, incident, arrival.finding):
            return Delivery(incident=incident, outcome=Handover.REPEATED)
        await _open(client, arrival, incident, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
    return Delivery(incident=incident, outcome=Handover.STARTED)


async def _open(
    client: Client, arrival: Arrival, incident: str, reuse: WorkflowIDReusePolicy
) -> None:
    finding = arrival.finding
    await client.start_workflow(
        "Incident",
        Opening(arrival=arrival),
        id=incident,
        task_queue=settings().task_queue,
        id_reuse_policy=reuse,
        task_timeout=TASK_TIMEOUT,
        # Should another delivery win the race, the finding joins the incident that it started.
        start_signal="arrive",
        start_signal_args=[arrival],
        static_summary=f"{finding.type} (severity {finding.severity:g})",
        static_details=f"{finding.title}\n\n{finding.description}",
    )


async def _was_answered(client: Client, incident: str, finding: Finding) -> bool:
    """Whether an incident of this subject saw the finding, and nothing happened since.

    An incident that was terminated answered nothing.
    """
    async for run in _ended_runs(client, incident):
        ended = client.get_workflow_handle(incident, run_id=run, result_type=Incident)
        answered = (await ended.result(follow_runs=False)).findings
        if any(f.id == finding.id and f.last_seen >= finding.last_seen for f in answered):
            return True
    return False


async def _ended_runs(client: Client, incident: str) -> AsyncIterator[str]:
    """Yield the runs that came to their end; the latest is asked for, since lists come late."""
    latest = await client.get_workflow_handle(incident).describe()
    if latest.status is WorkflowExecutionStatus.COMPLETED:
        yield latest.run_id
    ended = f"WorkflowId = '{incident}' AND ExecutionStatus = 'Completed'"
    async for execution in client.list_workflows(ended):
        if execution.run_id != latest.run_id:
            yield execution.run_id


def _profile() -> dict[str, Any]:
    path = os.environ.get("TEMPORAL_CONFIG_FILE")
    if path and not Path(path).is_file():
        raise BadInput("TEMPORAL_CONFIG_FILE", path, "no such file")
    try:
        profile = ClientConfigProfile.load(settings().temporal_profile, config_file_strict=True)
    except RuntimeError as error:
        raise BadInput(
            "Temporal profile", settings().temporal_profile or "default", str(error)
        ) from error
    target: dict[str, Any] = dict(profile.to_client_connect_config())
    if target.get("api_key") and target.get("tls") is False:
        raise BadInput("Temporal profile", "tls", "an API key is never sent without TLS")
    target.setdefault("target_host", DEFAULT_ADDRESS)
    return target
