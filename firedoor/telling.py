"""What people are told of a step: made from the record, for every channel the same. Pure."""

from datetime import datetime

from firedoor.approvals.quorum import Electorate
from firedoor.model.finding import Severity
from firedoor.model.incident import StepRecord
from firedoor.model.message import Addressee, Message, Occasion
from firedoor.model.word import Means

# Who is told what can be decided, and by which command.
COMMANDS = {
    Occasion.ASKED: "approve",
    Occasion.ESCALATED: "approve",
    Occasion.RATIFY: "ratify",
}
TITLES = {
    Occasion.ASKED: "Decide on {step}: {what}",
    Occasion.ESCALATED: "Nobody has decided on {step}: {what}",
    Occasion.EXPIRED: "Not done, as nobody decided on {step}: {what}",
    Occasion.RATIFY: "Done under standing authority, to be ratified: {step}: {what}",
    Occasion.ALARM: "ALARM about {step}: {what}",
    Occasion.TOLD: "{step}: {what}",
}


def message(
    record: StepRecord,
    occasion: Occasion,
    text: str,
    *,
    id: str,
    at: datetime,
    incident: str,
    run: str,
    subject: str,
    severity: Severity,
    voters: Electorate,
) -> Message:
    """Return what to tell people of a step, and to whom."""
    plans = record.proposal.plans if record.proposal else ()
    decides = occasion in COMMANDS
    command = f"firedoor {COMMANDS[occasion]} {incident} {record.key}" if decides else ""
    names = voters.newly_asked() if occasion is Occasion.ESCALATED else voters.voters()
    return Message(
        id=id,
        occasion=occasion,
        at=at,
        incident=incident,
        run=run,
        step=record.key,
        subject=subject,
        severity=severity,
        title=TITLES[occasion].format(step=record.key, what=subject),
        text=text,
        plans=tuple(plan.summary for plan in plans),
        blast_radius=tuple(dict.fromkeys(who for plan in plans for who in plan.blast_radius)),
        lost=tuple(dict.fromkeys(what for plan in plans for what in plan.lost)),
        plan_digest=record.plan_digest,
        deadline=record.ratify_by if occasion is Occasion.RATIFY else record.deadline,
        how=command,
        chat=Means.CHAT in voters.rule.accepts
        and not voters.rule.step_up
        and occasion in (Occasion.ASKED, Occasion.ESCALATED),
        to=tuple(_addressee(name, voters) for name in names),
    )


def _addressee(name: str, voters: Electorate) -> Addressee:
    person = voters.roster.people[name]
    return Addressee(name=name, email=person.email, slack=person.slack, teams=person.teams)
