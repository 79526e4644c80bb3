"""Containments: let them go."""

import asyncio

import typer
from rich.console import Group, RenderableType
from rich.text import Text
from temporalio.client import Client

from firedoor.cli import output, remote, render
from firedoor.cli._voice import Proof, say, word
from firedoor.cli.arguments import Id, Reason, Step, Yes
from firedoor.cli.output import (
    Json,
    clean,
    confirm,
    document,
    line,
    need_consent,
    need_reason,
    progress,
)
from firedoor.errors import Refused
from firedoor.model.containment import Lease
from firedoor.model.incident import Incident, Released, StepRecord, StepState
from firedoor.model.word import Means, Release

app = typer.Typer(rich_markup_mode=None)


@app.command()
def release(
    id: Id,
    step: Step = None,
    reason: Reason = None,
    yes: Yes = False,
    proof: Proof = Means.SSH,
    json: Json = False,
) -> None:
    """Let containments go, undoing their changes.

    What another incident holds too stays as it is. What somebody changed since is left alone.
    """
    asking = need_consent(yes=yes, reason=reason)
    remote.run(_release(id, step, reason, proof, asking=asking, json=json))


async def _release(
    wanted: str, step: str | None, reason: str | None, proof: Means, *, asking: bool, json: bool
) -> None:
    """Show what will be undone, ask, let go, and say what came of it."""
    client = await remote.connect()
    incident = await remote.read(client, await remote.find(client, wanted))
    holding = _holding(incident, step)
    leases = await asyncio.gather(*(_lease(client, id) for r in holding for id in r.leases))
    ours = {(incident.id, record.key) for record in holding}
    output.show(_prospect(ours, list(leases)), stderr=json or asking)
    if asking and not confirm(f"Release {', '.join(record.key for record in holding)}?"):
        raise Refused("nothing was released")
    release = word(
        Release,
        incident,
        need_reason(reason, asking=asking),
        steps=() if step is None else (step,),
    )
    said = say(release, incident.policy.roster, proof)
    with progress("letting go; Ctrl-C stops the waiting, not the release"):
        released = await remote.tell(
            client, incident.id, "release", said, Released, id=said.digest, patience=None
        )
    _report(incident, released, json=json)


def _holding(incident: Incident, step: str | None) -> list[StepRecord]:
    records = [record for record in incident.steps if step in (None, record.key)]
    if not records:
        raise Refused(f"{incident.id} has no step {step}")
    holding = [record for record in records if record.leases]
    if not holding:
        raise Refused(f"{incident.id}: nothing of this is held")
    return holding


async def _lease(client: Client, id: str) -> Lease:
    return await remote.ask(client, id, "lease", Lease)


def _prospect(ours: set[tuple[str, str]], leases: list[Lease]) -> RenderableType:
    """Return what releasing will do: what is undone, and what others keep closed."""
    parts: list[RenderableType] = []
    for lease in leases:
        others = [h for h in lease.holders if (h.incident, h.step) not in ours]
        parts.append(Text(clean(lease.id), "bold"))
        for other in others:
            who = clean(f"step {other.step} of {other.incident}")
            parts.append(Text(f"  stays: {who} holds it too", "yellow"))
        if not others:
            parts += [render.undo(plan) for plan in reversed(lease.applied)]
        parts.append(Text())
    return Group(*parts)


def _report(before: Incident, released: Released, *, json: bool) -> None:
    if json:
        document(released)
    if not released.ruling.accepted:
        raise Refused(f"not released: {released.ruling.reason}")
    if not json:
        known = {record.key: len(record.receipts) for record in before.steps}
        for record in released.steps:
            line(f"{record.key}: {record.state} {record.reason}".rstrip())
            for made in render.receipts(record.receipts[known.get(record.key, 0) :]):
                output.show(made)
        for incident in released.still_held:
            line(f"still held by {incident}")
    failed = [record.key for record in released.steps if record.state is StepState.FAILED]
    if failed:
        raise Refused(f"not all was undone: {', '.join(failed)}")
