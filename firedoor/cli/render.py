"""What people read: plans as differences, steps, incidents and lists, for a terminal or as text.

Names, tags and descriptions come from the account that is under attack, so nothing of them is
taken for markup, and no control character of theirs reaches the terminal.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from difflib import unified_diff

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from firedoor.approvals.judge import counted, electorate, rule_for, unratified, waits
from firedoor.approvals.quorum import Tally
from firedoor.cli.output import clean
from firedoor.model.action import Nature
from firedoor.model.approval import Rule
from firedoor.model.decision import Vote
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Finding
from firedoor.model.incident import Entry, Incident, Status, StepRecord, StepState
from firedoor.model.plan import (
    Call,
    CallRecord,
    Change,
    Check,
    Outcome,
    Plan,
    Proof,
    Receipt,
    Residual,
    Verdict,
)
from firedoor.model.word import Answer, Means

ADDED, REMOVED, GOOD, BAD, QUIET = "green", "red", "green", "bold red", "dim"
ABSENT = "(not there)"
CONTEXT = 2  # unchanged lines around a difference in a document
SHORT = 72  # characters; longer documents are shown line by line

STATES: dict[str, str] = {
    StepState.ASKING: "bold yellow",
    StepState.PROVEN: GOOD,
    StepState.DONE: GOOD,
    StepState.UNPROVEN: "yellow",
    StepState.DRIFTED: BAD,
    StepState.DENIED: "red",
    StepState.EXPIRED: "red",
    StepState.REFUSED: "red",
    StepState.FAILED: BAD,
    StepState.HELD_BACK: "bold yellow",
    StepState.SKIPPED: QUIET,
    StepState.GONE: QUIET,
    StepState.SHADOWED: QUIET,
    StepState.RELEASED: "cyan",
}
STATUSES: dict[str, str] = {
    Status.AWAITING_APPROVAL: "bold yellow",
    Status.CONTAINED: GOOD,
    Status.UNPROVEN: "yellow",
    Status.INCOMPLETE: BAD,
    Status.HELD_BACK: "bold yellow",
    Status.SHADOWED: QUIET,
    Status.RELEASED: "cyan",
    Status.CLOSED: QUIET,
    Status.SAMPLE: QUIET,
}


def plan(shown: Plan) -> RenderableType:
    """Render a plan: one sentence, the difference, and all that speaks against it."""
    parts: list[RenderableType] = [_text(shown.summary, "bold")]
    subject = shown.target.subject
    parts.append(_text(f"{shown.action} on {subject.path}", QUIET))
    if not shown.calls:
        parts.append(_text("changes nothing in the account", QUIET))
    parts += _section("Must not be done", [_marked("x", BAD, why) for why in shown.refusals], BAD)
    parts += _section("Changes", [change(c) for c in shown.changes])
    parts += _section("Calls", _calls(shown.calls))
    parts += _section(
        "Who will feel it", [_marked("-", "yellow", who) for who in shown.blast_radius]
    )
    parts += _section(
        "Cannot be brought back", [_marked("!", BAD, what) for what in shown.lost], BAD
    )
    parts += _section(
        "Undo", _calls(shown.undo) or ([_text("there is none")] if shown.calls else [])
    )
    parts += _section("Checked before", [_check(check) for check in shown.preflight])
    parts += _section("Left to people", [_marked("-", "yellow", task) for task in shown.tasks])
    return Group(*parts)


def undo(shown: Plan) -> RenderableType:
    """Render what taking a plan back brings back, and what it cannot."""
    back = [c.model_copy(update={"before": c.after, "after": c.before}) for c in shown.changes]
    parts = _section("Changes back", [change(c) for c in reversed(back)])
    parts += _section("Calls", _calls(shown.undo))
    parts += _section(
        "Cannot be brought back", [_marked("!", BAD, what) for what in shown.lost], BAD
    )
    return Padding.indent(Group(*parts), 2)


def change(shown: Change) -> RenderableType:
    """Render one change: the lines that go with a minus, those that come with a plus."""
    head = _text(f"{shown.resource}  {shown.attribute}", "bold")
    return Group(head, Padding.indent(_difference(shown.before, shown.after), 2))


def votes_now(shown: StepRecord, incident: Incident) -> Tally:
    """Return how the votes on a step stand."""
    return counted(shown, incident.policy, incident.requester)


def ballot(shown: StepRecord, incident: Incident) -> list[RenderableType]:
    """Render who decides on a step, by which rule, and what is still needed."""
    if not waits(shown):
        return []
    rule, tally = rule_for(shown, incident.policy), votes_now(shown, incident)
    voters = electorate(shown, incident.policy, incident.requester)
    voted = {*tally.approved, *tally.denied}
    lines = [
        _text(f"rule {rule.id}: {_terms(rule)}"),
        _text(f"{tally.needed} more needed" + "".join(f", {seat}" for seat in tally.seats), "bold"),
        _text(f"may still vote: {', '.join(n for n in voters.voters() if n not in voted) or '-'}"),
    ]
    if unratified(shown):
        lines.insert(0, _text("done under standing authority; ratify it, or deny and release it"))
    lines += [
        _text(f"then for {span(tier.within)} also {', '.join(tier.to)}", QUIET)
        for tier in rule.escalation[shown.tier :]
    ]
    return _section("Who decides", [*lines])


def _terms(rule: Rule) -> str:
    """Return what a rule wants, in a few words."""
    whom = ", ".join(rule.groups) or "the responders"
    parts = [f"{rule.quorum} of {whom}"]
    parts += [f"a seat each for {', '.join(rule.seats)}"] if rule.seats else []
    parts += ["hardware keys only"] if rule.step_up else []
    parts += [f"by {', '.join(rule.accepts)}"] if rule.accepts != (Means.SSH,) else []
    return "; ".join(parts)


def step(shown: StepRecord, now: datetime, ballot: Iterable[RenderableType] = ()) -> RenderableType:
    """Render a step with all that happened in it, and who decides on it now."""
    head = Text.assemble(
        _text(shown.key, "bold"), "  ", _text(shown.state, STATES.get(shown.state, ""))
    )
    if shown.deadline is not None and shown.state is StepState.ASKING:
        head.append_text(_text(f"  {left(shown.deadline - now)}", "bold yellow"))
    if shown.reason:
        head.append_text(_text(f"  {shown.reason}"))
    parts: list[RenderableType] = []
    for each in shown.proposal.plans if shown.proposal else ():
        parts += [plan(each), Text()]
    if shown.proposal and shown.proposal.term:
        term = f"holds for {span(shown.proposal.term)}, then people are asked to open it again"
        parts.append(_text(term))
    if shown.state is StepState.ASKING and shown.capability.nature is Nature.TASK:
        parts.append(_text("approve it when it is done; deny it if it will not be done"))
    if shown.plan_digest:
        parts.append(_text(f"digest {shown.plan_digest}", QUIET))
    parts += ballot
    parts += _section("Votes", [_vote(vote) for vote in shown.votes])
    parts += _section("Done", receipts(shown.receipts))
    parts += _section("Read back", [_proof(proof) for proof in shown.proofs])
    parts += _section("Evidence", [_evidence(item) for item in shown.evidence])
    parts += _section("Holds", [_text(lease) for lease in shown.leases])
    return Group(head, *(Padding.indent(part, 2) for part in parts), Text())


def incident(shown: Incident, now: datetime) -> RenderableType:
    """Render an incident: how it stands first, then the findings, every step, and the timeline."""
    return Group(
        overview(shown, now),
        *_section("Findings", [_finding(finding) for finding in shown.findings]),
        Text(),
        *(step(record, now, ballot(record, shown)) for record in shown.steps),
        *_section("Timeline", [timeline(shown.timeline)]),
    )


def overview(shown: Incident, now: datetime) -> RenderableType:
    """Render how an incident stands, in a few lines."""
    life = f"opened {instant(shown.opened_at)}"
    if shown.closed_at is not None:
        life += f", closed {instant(shown.closed_at)}"
    steps = _table("step", "state", "", fixed=2)
    for record in shown.steps:
        waits = record.state is StepState.ASKING and record.deadline is not None
        note = left(record.deadline - now) if waits and record.deadline else record.reason
        style = STATES.get(record.state, "")
        steps.add_row(_text(record.key), _text(record.state, style), _text(note))
    return Group(
        Text.assemble(_text(shown.id, "bold"), "  ", status(shown.status)),
        _text(f"{life}, runbooks {', '.join(shown.runbooks) or 'none'}", QUIET),
        *_section("", [steps] if shown.steps else []),
    )


def proposals(shown: Incident, now: datetime) -> RenderableType:
    """Render the steps of an incident: what waits for a decision, of whom, and for how long."""
    return Group(*(step(record, now, ballot(record, shown)) for record in shown.steps))


def receipts(shown: Iterable[Receipt]) -> list[RenderableType]:
    """Render what was done: each call with its request id, and what was left alone."""
    lines: list[RenderableType] = []
    for receipt in shown:
        lines += [_made(call) for call in receipt.calls]
        lines += [_marked("!", "yellow", f"left alone: {why}") for why in receipt.left]
        if not (receipt.calls or receipt.left or receipt.evidence):
            lines.append(_text(f"{instant(receipt.at)}  nothing had to be changed", QUIET))
    return lines


def timeline(shown: Iterable[Entry]) -> RenderableType:
    """Render a timeline, one line an event."""
    table = _table("", "", "", "", fixed=3)
    for entry in shown:
        table.add_row(
            _text(instant(entry.at), QUIET),
            _text(entry.event),
            _text(entry.step, "bold"),
            _text(entry.detail),
        )
    return table


def table(heads: tuple[str, ...], rows: Iterable[tuple[str | Text, ...]]) -> RenderableType:
    """Render rows under their heads, without lines, so that other programs can read them too."""
    made = _table(*heads)
    for row in rows:
        made.add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def status(shown: str) -> Text:
    """Render how an incident stands."""
    return _text(shown, STATUSES.get(shown, ""))


def instant(shown: datetime) -> str:
    """Return an instant as people read it everywhere here: in UTC, to the second."""
    return f"{shown:%Y-%m-%d %H:%M:%SZ}"


def left(time: timedelta) -> str:
    """Return how much time is left, in words."""
    seconds = int(time.total_seconds())
    if seconds <= 0:
        return "time is up"
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours} h {minutes} min left"
    return f"{minutes} min {seconds % 60} s left" if minutes else f"{seconds} s left"


def span(time: timedelta) -> str:
    """Return a length of time in words."""
    hours, seconds = divmod(int(time.total_seconds()), 3600)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (seconds // 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or f"{seconds} s"


def _text(text: str, style: str = "") -> Text:
    return Text(clean(text), style)


def _section(name: str, lines: list[RenderableType], style: str = "bold") -> list[RenderableType]:
    if not lines:
        return []
    head = [_text(name, style)]
    return [*head, *(Padding.indent(line, 2) for line in lines)]


def _marked(mark: str, style: str, text: str) -> Text:
    return Text.assemble((f"{mark} ", style), _text(text))


def _table(*heads: str, fixed: int = 0) -> Table:
    """Return a table whose first columns keep their width, however long the others are."""
    table = Table(box=None, show_header=any(heads), pad_edge=False, padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        keeps = number < fixed
        table.add_column(head.upper(), overflow="fold", no_wrap=keeps, header_style=QUIET)
    return table


# Differences


def _difference(before: JsonValue, after: JsonValue) -> Text:
    """Return two values as lines that go and lines that come; of documents only what differs."""
    old, new = _opened(before), _opened(after)
    short = max(len(_on_one_line(old)), len(_on_one_line(new))) <= SHORT
    before_lines, after_lines = (_lines(value, short=short) for value in (old, new))
    lines = Text()
    if len(before_lines) == 1 or len(after_lines) == 1:
        _append(lines, "-", before_lines, REMOVED)
        _append(lines, "+", after_lines, ADDED)
    else:
        for text in list(unified_diff(before_lines, after_lines, n=CONTEXT, lineterm=""))[2:]:
            style = {"-": REMOVED, "+": ADDED, "@": QUIET}.get(text[0], "")
            _append(lines, text[0], ["..." if text[0] == "@" else text[1:]], style)
    lines.rstrip()
    return lines


def _append(lines: Text, mark: str, values: list[str], style: str) -> None:
    for value in values:
        lines.append(f"{' ' if mark == '@' else mark} {clean(value)}\n", style)


def _lines(value: JsonValue, *, short: bool) -> list[str]:
    if value is None:
        return [ABSENT]
    if isinstance(value, str):
        return value.splitlines() or ["(empty)"]
    if short:
        return [_on_one_line(value)]
    # Sorted, so that a document that only came back in another order shows no difference.
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).splitlines()


def _on_one_line(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _opened(value: JsonValue) -> JsonValue:
    """Return the document that a string holds, as policies are kept, or else the value itself."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        opened: JsonValue = json.loads(value)
    except ValueError:
        return value
    return opened


# Lines


def _calls(calls: Iterable[Call]) -> list[RenderableType]:
    return [
        Text.assemble(
            (f"{number}  ", QUIET), _text(_name(call)), "  ", _text(_parameters(call), QUIET)
        )
        for number, call in enumerate(calls, 1)
    ]


def _name(call: Call | CallRecord) -> str:
    return f"{call.service}:{call.operation}"


def _parameters(call: Call | CallRecord) -> str:
    shown = ((k, v if isinstance(v, str) else json.dumps(v)) for k, v in call.parameters.items())
    return " ".join(f"{name}={value}" for name, value in shown)


def _made(call: CallRecord) -> Text:
    style = GOOD if call.outcome is Outcome.OK else BAD
    line = Text.assemble(
        (instant(call.at), QUIET), "  ", _text(_name(call)), "  ", (call.outcome, style)
    )
    told = (part for part in (call.detail, call.request_id) if part)
    return line.append_text(_text("".join(f"  {part}" for part in told), QUIET))


def _check(check: Check) -> Text:
    said = f"{check.name}: {check.detail}" if check.detail else check.name
    return _marked("ok", GOOD, said) if check.ok else _marked("no", BAD, said)


def _vote(vote: Vote) -> Text:
    word, ruling = vote.word, vote.ruling
    style = GOOD if word.answer is Answer.APPROVE else "red"
    line = Text.assemble((instant(vote.received_at), QUIET), "  ", _text(word.by, "bold"), "  ")
    line.append_text(_text(word.answer, style)).append_text(_text(f"  {word.reason}"))
    how = f"{vote.means}, hardware" if vote.hardware else vote.means
    line.append_text(_text(f"  {word.kind} by {how}", QUIET))
    if not ruling.accepted:
        line.append_text(_text(f"  refused: {ruling.reason}", BAD))
    return line


def _proof(proof: Proof) -> RenderableType:
    style = {Verdict.PROVEN: GOOD, Verdict.DRIFTED: BAD}.get(proof.verdict, "yellow")
    head = Text.assemble((instant(proof.at), QUIET), "  ", (proof.verdict, style))
    if proof.since:
        head.append_text(_text(f"  dark since {instant(proof.since)}"))
    lines = [_check(check) for check in proof.checks]
    lines += [_residual(one) for one in proof.residual]
    return Group(head, *(Padding.indent(line, 2) for line in lines))


def _residual(one: Residual) -> Text:
    """Render what one kind of credential can still do."""
    until = f", at the latest until {instant(one.until)}" if one.until else ""
    said = f"{one.credential}: {one.state}{until}"
    return _marked("open", BAD, said) if one.open else _marked("shut", GOOD, said)


def _evidence(item: Evidence) -> Text:
    told = f"  sha256 {item.sha256}" if item.sha256 else ""
    return Text.assemble(
        (instant(item.taken_at), QUIET),
        "  ",
        _text(item.name, "bold"),
        _text(f"  {item.uri}{told}"),
    )


def _finding(finding: Finding) -> RenderableType:
    head = Text.assemble((f"{finding.severity:g}", "bold"), "  ", _text(finding.type, "bold"))
    seen = f"seen {finding.count}x, last {instant(finding.last_seen)}"
    lines = [_text(finding.title), _text(f"{seen}, {finding.source} {finding.id}", QUIET)]
    if finding.addresses:
        lines.insert(1, _text("remote " + ", ".join(str(address) for address in finding.addresses)))
    return Group(head, *(Padding.indent(line, 2) for line in lines))
