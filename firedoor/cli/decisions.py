"""Decisions: a person's yes or no to the exact plans that are shown."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer
from temporalio.client import Client

from firedoor.cli import output, remote, render
from firedoor.cli.arguments import Id, Reason, Step, Yes
from firedoor.cli.output import (
    Json,
    confirm,
    document,
    line,
    need_consent,
    need_reason,
    progress,
)
from firedoor.errors import BadInput, Refused
from firedoor.model.decision import Answer, Decision, Ruling
from firedoor.model.incident import Incident, StepRecord, StepState
from firedoor.settings import settings

app = typer.Typer(rich_markup_mode=None)

Digest = Annotated[
    str | None,
    typer.Option(help="Decide only if the plan still has this digest, as `show` gave it."),
]
PAST = {Answer.APPROVE: "approved", Answer.DENY: "denied"}


class Wish(NamedTuple):
    """What a person wants to say, before it is known to which plans."""

    answer: Answer
    incident: str
    step: str | None
    reason: str | None
    digest: str | None


@app.command()
def approve(
    id: Id,
    step: Step = None,
    reason: Reason = None,
    yes: Yes = False,
    digest: Digest = None,
    json: Json = False,
) -> None:
    """Approve plans that wait for a decision.

    Shows each plan first, and binds the approval to exactly what was shown.
    """
    _decide(Wish(Answer.APPROVE, id, step, reason, digest), yes=yes, json=json)


@app.command()
def deny(
    id: Id,
    step: Step = None,
    reason: Reason = None,
    yes: Yes = False,
    digest: Digest = None,
    json: Json = False,
) -> None:
    """Deny plans that wait for a decision.

    Shows each plan first, and binds the denial to exactly what was shown.
    """
    _decide(Wish(Answer.DENY, id, step, reason, digest), yes=yes, json=json)


def _decide(wish: Wish, *, yes: bool, json: bool) -> None:
    asking = need_consent(yes=yes, reason=wish.reason)
    remote.run(_vote(wish, asking=asking, json=json))


async def _vote(wish: Wish, *, asking: bool, json: bool) -> None:
    """Show what waits, ask, bring the votes, and say how each was ruled on."""
    client = await remote.connect()
    incident = await remote.read(client, await remote.find(client, wish.incident))
    rulings = []
    for record in _waiting(incident, wish.step, wish.digest):
        output.show(render.step(record, datetime.now(UTC)), stderr=json or asking)
        if asking and not confirm(f"{wish.answer.value.title()} {record.key}?"):
            continue
        reason = need_reason(wish.reason, asking=asking)
        decision = decision_on(wish.answer, incident, record, reason)
        rulings.append((decision, await _bring(client, decision)))
    _report(rulings, json=json)


def _waiting(incident: Incident, step: str | None, digest: str | None) -> Sequence[StepRecord]:
    """Return the steps to decide on: the one that is named, or all that wait."""
    records = [record for record in incident.steps if step in (None, record.key)]
    if not records:
        raise Refused(f"{incident.id} has no step {step}")
    waiting = [record for record in records if record.state is StepState.ASKING and record.proposal]
    if not waiting:
        what = "nothing" if step is None else f"step {step} is {records[0].state}, and nothing"
        raise Refused(f"{incident.id}: {what} waits for a decision")
    if digest is None:
        return waiting
    meant = [record for record in waiting if _shown(record) == digest]
    if not meant:
        now = ", ".join(f"{record.key} {_shown(record)}" for record in waiting)
        raise Refused(f"{incident.id}: no plan with the digest {digest} waits; these do: {now}")
    return meant


def _shown(record: StepRecord) -> str:
    """Return the digest of what the person sees, not of what the server says that it is."""
    if record.proposal is None:
        raise BadInput("step", record.key, "has no plan")
    return record.proposal.digest


def decision_on(answer: Answer, incident: Incident, record: StepRecord, reason: str) -> Decision:
    """Return a vote on the plan that was shown, in the name of whoever sits here."""
    return Decision(
        incident=incident.id,
        step=record.key,
        plan_digest=_shown(record),
        answer=answer,
        responder=settings().responder,
        reason=reason,
        at=datetime.now(UTC),
        nonce=secrets.token_hex(16),
    )


async def _bring(client: Client, decision: Decision) -> Ruling:
    with progress("waiting for the answer"):
        return await remote.tell(
            client, decision.incident, "decide", decision, Ruling, id=decision.digest
        )


def _report(rulings: list[tuple[Decision, Ruling]], *, json: bool) -> None:
    if json:
        document([_told(decision, ruling) for decision, ruling in rulings])
    else:
        for decision, ruling in rulings:
            outcome = PAST[decision.answer] if ruling.accepted else f"refused: {ruling.reason}"
            line(f"{decision.step}: {outcome}")
    if not rulings:
        raise Refused("nothing was decided")
    if refused := [decision.step for decision, ruling in rulings if not ruling.accepted]:
        raise Refused(f"the decision on {', '.join(refused)} was refused")


def _told(decision: Decision, ruling: Ruling) -> dict[str, Any]:
    return {
        "incident": decision.incident,
        "step": decision.step,
        "answer": decision.answer,
        "plan_digest": decision.plan_digest,
        "decision": decision.digest,
        "accepted": ruling.accepted,
        "reason": ruling.reason,
    }
