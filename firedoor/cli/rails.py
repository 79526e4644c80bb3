"""The guard rails that count: pausing all changes, letting them go on, and how things stand."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.table import Table
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import warden as wardens
from firedoor.cli import output, remote
from firedoor.cli._voice import Proof, made, say
from firedoor.cli.arguments import Reason, Yes
from firedoor.cli.output import Json, confirm, document, line, need_consent, need_reason, progress
from firedoor.errors import Refused, Unreachable
from firedoor.model.policy import Policy
from firedoor.model.warden import Warden, warden_id
from firedoor.model.word import Instruction, Means, Order, Signed
from firedoor.settings import settings
from worker.catalogue import policy

T = TypeVar("T")

app = typer.Typer(rich_markup_mode=None)

Beyond = Annotated[
    int, typer.Option(min=0, help="Let so many containments through above the limits.")
]


@app.command()
def pause(
    reason: Reason = None, yes: Yes = False, proof: Proof = Means.SSH, json: Json = False
) -> None:
    """Stop every change until somebody resumes.

    What is being done at this moment comes to its end; nothing else begins: no containment, no
    snapshot, no release. Incidents go on to plan and to ask, and say that they are held back.
    """
    asking = need_consent(yes=yes, reason=reason)
    if asking and not confirm("Stop every change in all incidents?"):
        raise Refused("nothing was paused")
    said = _said(Order.PAUSE, need_reason(reason, asking=asking), proof)
    remote.run(_instruct(said, json=json))


@app.command()
def resume(
    reason: Reason = None,
    beyond: Beyond = 0,
    yes: Yes = False,
    proof: Proof = Means.SSH,
    json: Json = False,
) -> None:
    """Let changes go on where they wait.

    With `--beyond` as many containments as are said go above the limits of the policy.
    """
    asking = need_consent(yes=yes, reason=reason)
    what = f"Let changes go on, {beyond} containments above the limits?"
    if asking and not confirm(what if beyond else "Let changes go on?"):
        raise Refused("nothing was resumed")
    said = _said(Order.RESUME, need_reason(reason, asking=asking), proof, beyond)
    remote.run(_instruct(said, json=json))


@app.command()
def rails(json: Json = False) -> None:
    """Show whether changes are paused, and the limits."""
    remote.run(_show(json=json))


def _said(order: Order, reason: str, proof: Means, beyond: int = 0) -> Signed[Instruction]:
    warden = warden_id(settings().task_queue)
    said = made(Instruction, warden, "", reason, order=order, beyond=beyond)
    return say(said, policy().roster, proof)


async def _instruct(said: Signed[Instruction], *, json: bool) -> None:
    client = await remote.connect()
    with progress("waiting for the answer"):
        answer = await _answered(wardens.instruct(client, settings().task_queue, said))
    if not answer.ruling.accepted:
        raise Refused(f"nothing has changed: {answer.ruling.reason}")
    _tell(answer.warden, json=json)


async def _show(*, json: bool) -> None:
    _tell(await _read(await remote.connect()), json=json)


async def _read(client: Client) -> Warden:
    """Return how the warden stands; before the first change there is none."""
    handle = client.get_workflow_handle(warden_id(settings().task_queue))
    try:
        return await _answered(handle.query("warden", result_type=Warden))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return Warden()


async def _answered(answer: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(answer, remote.PATIENCE_WITH_WORKER.total_seconds())
    except TimeoutError as error:
        raise Unreachable("no worker answers; as long as none runs, nothing is changed") from error


def _tell(warden: Warden, *, json: bool) -> None:
    if json:
        document(warden.model_dump(mode="json"))
        return
    rules, now = policy(), datetime.now(UTC)
    if warden.paused:
        since = f"{warden.since:%Y-%m-%d %H:%M:%SZ}"
        line(f"All changes are paused by {warden.paused.by} since {since}: {warden.paused.reason}")
    else:
        line("Changes go on.")
    output.show(_limits(warden, rules, now))
    for incident in warden.waiting:
        line(f"waits: {incident}")


def _limits(warden: Warden, rules: Policy, now: datetime) -> Table:
    table = Table("limit", "now", "at most", box=None, pad_edge=False)
    lately = sum(now - at < rules.limits.window for at in warden.admitted)
    window = f"containments within {rules.limits.window}"
    table.add_row(window, str(lately), str(rules.limits.containments))
    if warden.beyond:
        table.add_row("of them above the limits", "", f"{warden.beyond} more")
    fleets = sorted({fleet for one in warden.held for fleet in one.fleets})
    for fleet in fleets:
        held = sum(fleet in one.fleets for one in warden.held)
        table.add_row(f"contained of {fleet}", str(held), f"{rules.limits.fleet_share:.0%} of it")
    return table
