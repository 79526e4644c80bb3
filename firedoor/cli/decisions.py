"""Decisions: a person's signed yes or no to the exact plans that are shown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer
from temporalio.client import Client

from firedoor.approvals.judge import electorate, rule_for, unratified, waits
from firedoor.cli import output, remote, render
from firedoor.cli._voice import Proof, say, word
from firedoor.cli.arguments import Id, Reason, Step, Yes
from firedoor.cli.output import (
    Json,
    complain,
    confirm,
    document,
    line,
    need_consent,
    need_reason,
    progress,
)
from firedoor.errors import BadInput, Refused
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, StepRecord, StepState
from firedoor.model.word import Answer, Decision, Means, Ratification, Signed
from firedoor.settings import settings

app = typer.Typer(rich_markup_mode=None)

Digest = Annotated[
    str | None,
    typer.Option(help="Decide only if the plan still has this digest, as `show` gave it."),
]
PAST = {Answer.APPROVE: "approved", Answer.DENY: "denied"}

Vote = Decision | Ratification


class Wish(NamedTuple):
    """What a person wants to say, before it is known to which plans."""

    kind: type[Decision] | type[Ratification]
    answer: Answer
    incident: str
    step: str | None
    reason: str | None
    digest: str | None
    proof: Means

    @property
    def update(self) -> str:
        """The name of the message."""
        return "decide" if self.kind is Decision else "ratify"

    @property
    def verb(self) -> str:
        """What the person is asked."""
        if self.kind is Decision:
            return self.answer.value.title()
        return "Ratify" if self.answer is Answer.APPROVE else "Disown"

    def meets(self, record: StepRecord) -> bool:
        """Tell whether a step takes such a word now."""
        if self.kind is Ratification:
            return unratified(record)
        return record.state is StepState.ASKING and record.proposal is not None


@app.command()
def approve(
    id: Id,
    step: Step = None,
    reason: Reason = None,
    yes: Yes = False,
    digest: Digest = None,
    proof: Proof = Means.SSH,
    json: Json = False,
) -> None:
    """Approve plans that wait for a decision.

    Shows each plan first, and signs an approval of exactly what was shown.
    """
    _decide(Wish(Decision, Answer.APPROVE, id, step, reason, digest, proof), yes=yes, json=json)


@app.command()
def deny(
    id: Id,
    step: Step = None,
    reason: Reason = None,
    yes: Yes = False,
    digest: Digest = None,
    proof: Proof = Means.SSH,
    json: Json = False,
) -> None:
    """Deny plans that wait for a decision.

    Shows each plan first, and signs a denial of exactly what was shown.
    """
    _decide(Wish(Decision, Answer.DENY, id, step, reason, digest, proof), yes=yes, json=json)


@app.command()
def ratify(
    id: Id,
    step: Step = None,
    disown: Annotated[
        bool, typer.Option("--deny", help="Say that it should not have been done.")
    ] = False,
    reason: Reason = None,
    yes: Yes = False,
    digest: Digest = None,
    proof: Proof = Means.SSH,
    json: Json = False,
) -> None:
    """Speak on what was done before anybody was asked.

    That is what was done under standing authority. Until somebody speaks, the incident cannot be
    closed. To deny undoes nothing: `release` does.
    """
    answer = Answer.DENY if disown else Answer.APPROVE
    _decide(Wish(Ratification, answer, id, step, reason, digest, proof), yes=yes, json=json)


@app.command()
def pending(
    everybody: Annotated[
        bool, typer.Option("--all", help="Also what waits only for others.")
    ] = False,
    json: Json = False,
) -> None:
    """List what waits for your decision.

    The most urgent comes first.
    """
    found = remote.run(_pending(everybody=everybody))
    if json:
        document(found)
    elif found:
        output.show(render.table(HEADS, [_row(one) for one in found]))
    else:
        line("nothing waits for you" if not everybody else "nothing waits")


HEADS = ("incident", "step", "wants", "rule", "needed", "left", "plan")


def _decide(wish: Wish, *, yes: bool, json: bool) -> None:
    asking = need_consent(yes=yes, reason=wish.reason)
    remote.run(_vote(wish, asking=asking, json=json))


async def _vote(wish: Wish, *, asking: bool, json: bool) -> None:
    """Show what waits, ask, bring the signed votes, and say how each was ruled on."""
    client = await remote.connect()
    incident = await remote.read(client, await remote.find(client, wish.incident))
    rulings = []
    for record in _meant(incident, wish):
        shown = render.step(record, datetime.now(UTC), render.ballot(record, incident))
        output.show(shown, stderr=json or asking)
        if asking and not confirm(f"{wish.verb} {record.key}?"):
            continue
        reason = need_reason(wish.reason, asking=asking)
        said = vote_on(wish.kind, wish.answer, incident, record, reason, wish.proof)
        rulings.append((said.word, await _bring(client, wish.update, said)))
    _report(rulings, json=json)


def _meant(incident: Incident, wish: Wish) -> Sequence[StepRecord]:
    """Return the steps to speak on: the one that is named, or all that wait."""
    step, digest = wish.step, wish.digest
    records = [record for record in incident.steps if step in (None, record.key)]
    if not records:
        raise Refused(f"{incident.id} has no step {step}")
    waiting = [record for record in records if wish.meets(record)]
    if not waiting:
        for_what = "a decision" if wish.kind is Decision else "ratification"
        what = "nothing" if step is None else f"step {step} is {records[0].state}, and nothing"
        raise Refused(f"{incident.id}: {what} waits for {for_what}")
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


def vote_on(
    kind: type[Decision] | type[Ratification],
    answer: Answer,
    incident: Incident,
    record: StepRecord,
    reason: str,
    proof: Means = Means.SSH,
) -> Signed[Any]:
    """Return a signed vote on the plan that was shown, in the name of whoever sits here."""
    said = word(
        kind,
        incident,
        reason,
        step=record.key,
        plan_digest=_shown(record),
        answer=answer,
    )
    hardware = rule_for(record, incident.policy).step_up
    return say(said, incident.policy.roster, proof, hardware=hardware)


async def _bring(client: Client, update: str, said: Signed[Any]) -> Ruling:
    with progress("waiting for the answer"):
        return await remote.tell(client, said.word.incident, update, said, Ruling, id=said.digest)


def _report(rulings: list[tuple[Vote, Ruling]], *, json: bool) -> None:
    if json:
        document([_told(vote, ruling) for vote, ruling in rulings])
    else:
        for vote, ruling in rulings:
            line(f"{vote.step}: {_outcome(vote, ruling)}")
    if not rulings:
        raise Refused("nothing was decided")
    if refused := [vote.step for vote, ruling in rulings if not ruling.accepted]:
        raise Refused(f"the vote on {', '.join(refused)} was refused")


def _outcome(vote: Vote, ruling: Ruling) -> str:
    """Return what came of a vote: refused and why, or accepted and what is still needed."""
    if not ruling.accepted:
        return f"refused: {ruling.reason}"
    said = PAST[vote.answer] + (f" ({ruling.reason})" if ruling.reason else "")
    if vote.answer is Answer.DENY or not ruling.needed:
        return said
    seats = f", among them {' and '.join(ruling.seats)}" if ruling.seats else ""
    return f"{said}; {ruling.needed} more needed{seats}"


def _told(vote: Vote, ruling: Ruling) -> dict[str, Any]:
    return {
        "incident": vote.incident,
        "step": vote.step,
        "answer": vote.answer,
        "plan_digest": vote.plan_digest,
        "accepted": ruling.accepted,
        "reason": ruling.reason,
        "needed": ruling.needed,
        "seats": ruling.seats,
    }


# What waits


async def _pending(*, everybody: bool) -> list[dict[str, Any]]:
    client = await remote.connect()
    with progress("reading what waits"):
        incidents, unread = await remote.read_all(client, await remote.awaiting(client))
    for id in unread:
        complain(f"{id} waits for people, and no worker tells for what")
    found = [
        _waiting(incident, record)
        for incident in incidents
        for record in incident.steps
        if waits(record) and (everybody or _waits_for_me(incident, record))
    ]
    return sorted(found, key=lambda one: str(one["until"] or "9"))


def _waits_for_me(incident: Incident, record: StepRecord) -> bool:
    """Whether whoever sits here may vote on a step, and has not."""
    me = settings().responder
    voters = electorate(record, incident.policy, incident.requester)
    voted = render.votes_now(record, incident)
    return me in voters.voters() and me not in (*voted.approved, *voted.denied)


def _waiting(incident: Incident, record: StepRecord) -> dict[str, Any]:
    tally = render.votes_now(record, incident)
    asking = record.state is StepState.ASKING
    return {
        "incident": incident.id,
        "step": record.key,
        "wants": "decision" if asking else "ratification",
        "rule": rule_for(record, incident.policy).id,
        "needed": tally.needed,
        "seats": tally.seats,
        "approved": tally.approved,
        "until": record.deadline if asking else record.ratify_by,
        "plan_digest": record.plan_digest,
        "plans": [plan.summary for plan in record.proposal.plans] if record.proposal else [],
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    until = one["until"]
    return (
        one["incident"].removeprefix(remote.PREFIX),
        one["step"],
        one["wants"],
        one["rule"],
        str(one["needed"]),
        render.left(until - datetime.now(UTC)) if until else "",
        "; ".join(one["plans"]),
    )
