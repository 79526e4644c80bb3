"""Incidents: list them, look at one, follow it, close it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text
from temporalio.client import Client, WorkflowExecution

from firedoor.cli import output, remote, render
from firedoor.cli._voice import Proof, say, word
from firedoor.cli.arguments import Id, Reason
from firedoor.cli.output import (
    Json,
    can_ask,
    console,
    document,
    line,
    need_reason,
    progress,
    record,
)
from firedoor.errors import Refused, Unreachable
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, Status
from firedoor.model.word import Close, Means
from workflows import visibility

app = typer.Typer(rich_markup_mode=None)

PAUSE = timedelta(seconds=1)  # between two looks of `watch`
MISSES = 30  # looks without an answer after which `watch` gives up
LATEST = 15  # lines of the timeline that `watch` shows

HEADS = ("status", "severity", "incident", "types", "runbooks", "opened")


@app.command()
def incidents(
    status: Annotated[Status | None, typer.Option(help="Only those that stand so.")] = None,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    of_type: Annotated[
        str | None, typer.Option("--type", help="Only those with a finding of this type.")
    ] = None,
    severity: Annotated[
        float | None,
        typer.Option("--severity-at-least", min=0, max=10, help="Only the graver ones."),
    ] = None,
    awaiting: Annotated[
        bool, typer.Option("--awaiting", help="Only those that wait for a decision.")
    ] = False,
    is_open: Annotated[
        bool | None, typer.Option("--open/--closed", help="Default: --open.")
    ] = None,
    any_age: Annotated[bool, typer.Option("--all", help="Open and closed ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    json: Json = False,
) -> None:
    """List incidents, newest first."""
    conditions = [remote.INCIDENTS]
    if status is not None:
        conditions.append(f"{visibility.STATUS.name} = {_quoted(status)}")
    if account is not None:
        conditions.append(f"{visibility.ACCOUNT.name} = {_quoted(account)}")
    if of_type is not None:
        conditions.append(f"{visibility.TYPES.name} = {_quoted(of_type)}")
    if severity is not None:
        conditions.append(f"{visibility.SEVERITY.name} >= {severity}")
    if awaiting:
        conditions.append(f"{visibility.AWAITING.name} = true")
    if not any_age:
        conditions.append(f"ExecutionStatus {'!=' if is_open is False else '='} 'Running'")
    found = remote.run(_list(" AND ".join(conditions), limit))
    if json:
        document(found)
    elif not found:
        output.show("no incidents", stderr=True)
    else:
        output.show(render.table(HEADS, [_row(incident) for incident in found]))


@app.command()
def show(
    id: Id,
    plan: Annotated[bool, typer.Option("--plan", help="Only the steps and their plans.")] = False,
    timeline: Annotated[bool, typer.Option("--timeline", help="Only what happened when.")] = False,
    json: Json = False,
) -> None:
    """Show all that is known of an incident."""
    shown = remote.run(_read(id))
    now = datetime.now(UTC)
    if json:
        document(shown)
    elif plan:
        output.show(render.proposals(shown, now))
    elif timeline:
        output.show(render.timeline(shown.timeline))
    else:
        output.show(render.incident(shown, now))


@app.command()
def watch(id: Id, json: Json = False) -> None:
    """Follow an incident until it is closed."""
    if json:
        follow = _as_json(id)
    elif sys.stdout.isatty():
        follow = _live(id)
    else:
        follow = _as_lines(id)
    remote.run(follow)


@app.command()
def close(id: Id, reason: Reason = None, proof: Proof = Means.SSH, json: Json = False) -> None:
    """Close an incident that holds nothing any more."""
    why = need_reason(reason, asking=can_ask())
    incident, ruling = remote.run(_close(id, why, proof))
    if json:
        document({"incident": incident, "accepted": ruling.accepted, "reason": ruling.reason})
    if not ruling.accepted:
        raise Refused(f"{incident} stays open: {ruling.reason}")
    if not json:
        line(f"closed {incident}")


# Listing


async def _list(query: str, limit: int) -> list[dict[str, Any]]:
    client = await remote.connect()
    found = client.list_workflows(
        query, limit=limit, page_size=min(limit, 1000), rpc_timeout=remote.PATIENCE
    )
    return [_listed(execution) async for execution in found]


def _listed(execution: WorkflowExecution) -> dict[str, Any]:
    """Return what the search attributes say: no incident is asked for it."""
    said = execution.typed_search_attributes
    closed_at = execution.close_time
    return {
        "id": execution.id,
        "status": said.get(visibility.STATUS),
        "open": closed_at is None,
        "awaiting": said.get(visibility.AWAITING, False),
        "severity": said.get(visibility.SEVERITY),
        "subject": said.get(visibility.SUBJECT),
        "account": said.get(visibility.ACCOUNT),
        "types": said.get(visibility.TYPES, []),
        "runbooks": said.get(visibility.RUNBOOKS, []),
        "opened_at": execution.start_time.isoformat(),
        "closed_at": closed_at.isoformat() if closed_at else None,
    }


def _row(listed: dict[str, Any]) -> tuple[str | Text, ...]:
    severity = listed["severity"]
    return (
        render.status(listed["status"] or "starting"),
        "" if severity is None else f"{severity:g}",
        listed["id"].removeprefix(remote.PREFIX),
        ", ".join(listed["types"]),
        ", ".join(listed["runbooks"]),
        render.instant(datetime.fromisoformat(listed["opened_at"])),
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# Reading and following


async def _read(wanted: str) -> Incident:
    client = await remote.connect()
    with progress("reading"):
        return await remote.read(client, await remote.find(client, wanted))


async def _looks(wanted: str) -> AsyncIterator[Incident]:
    """Read an incident once a second, for the last time when it is closed."""
    client = await remote.connect()
    id = await remote.find(client, wanted)
    misses = MISSES  # before the first answer none is forgiven
    while True:
        try:
            over = await _is_over(client, id)
            yield await remote.read(client, id)
        except Unreachable:
            misses += 1
            if misses > MISSES:
                raise
        else:
            misses = 0
            if over:
                return
        await asyncio.sleep(PAUSE.total_seconds())


async def _is_over(client: Client, id: str) -> bool:
    return (await remote.describe(client, id)).close_time is not None


async def _as_json(wanted: str) -> None:
    last = None
    async for incident in _looks(wanted):
        if incident != last:
            record(incident)
        last = incident


async def _as_lines(wanted: str) -> None:
    told = 0
    async for incident in _looks(wanted):
        if incident.timeline[told:]:
            output.show(render.timeline(incident.timeline[told:]))
        told = len(incident.timeline)


async def _live(wanted: str) -> None:
    with Live(console=console(), auto_refresh=False) as screen:
        async for incident in _looks(wanted):
            screen.update(
                Group(
                    render.overview(incident, datetime.now(UTC)),
                    Text(),
                    render.timeline(incident.timeline[-LATEST:]),
                ),
                refresh=True,
            )


# Closing


async def _close(wanted: str, reason: str, proof: Means) -> tuple[str, Ruling]:
    client = await remote.connect()
    incident = await remote.read(client, await remote.find(client, wanted))
    said = say(word(Close, incident, reason), incident.policy.roster, proof)
    with progress("closing"):
        ruling = await remote.tell(client, incident.id, "close", said, Ruling, id=said.digest)
    return incident.id, ruling
