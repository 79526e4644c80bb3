"""The demo's voice: numbered acts, plans, ticks, and what was not as it should be."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from firedoor.cli import output, render
from firedoor.cli._stage import State, changed
from firedoor.cli.output import clean
from firedoor.model.incident import Incident, StepRecord
from firedoor.model.plan import Call, Plan

INDENT = 3
NAMES = 8  # the least width of the names that facts stand under


class Teller:
    """Tells the story to a person, or to nobody, and remembers what went wrong."""

    def __init__(self, *, silent: bool) -> None:
        self.problems: list[str] = []
        self._silent = silent
        self._acts = 0

    def title(self, title: str, more: str = "") -> None:
        """Say what begins, or what has ended."""
        if not self._silent:
            output.show(Text.assemble((title, "bold"), more))

    def act(self, title: str, what: str) -> None:
        """Begin the next act, with one line of what it is about."""
        self._acts += 1
        self.gap()
        self.title(f"{self._acts}  {title}")
        self.say(Text(what, render.QUIET))

    def say(self, what: RenderableType) -> None:
        """Tell something."""
        if not self._silent:
            output.show(Padding.indent(what, INDENT))

    def gap(self) -> None:
        """Leave a line empty."""
        if not self._silent:
            output.line("")

    def facts(self, *facts: tuple[str, str]) -> None:
        """Tell several things, each under its name."""
        rows = ((Text(name, render.QUIET), _text(fact)) for name, fact in facts)
        self.say(_grid(rows, NAMES))

    def check(self, ok: bool, fact: str, otherwise: str) -> None:
        """Tick off what is so; what is not is remembered until the end."""
        if not ok:
            self.problems.append(otherwise)
        mark = Text("ok", render.GOOD) if ok else Text("no", render.BAD)
        self.say(_grid([(mark, _text(fact if ok else otherwise))]))

    def incident(self, incident: Incident, seconds: float) -> None:
        """Tell what was found, and what it led to."""
        finding = incident.findings[0]
        self.facts(
            ("finding", f"{finding.type}, severity {finding.severity:g}"),
            ("", finding.title),
            ("incident", incident.id),
            ("runbook", f"{', '.join(incident.runbooks)}, plan made in {seconds:.1f} s"),
        )

    def plan(self, step: str, plan: Plan) -> None:
        """Tell what a plan would change, who would feel it, and how it is undone."""
        self.gap()
        self.say(Text.assemble((f"{step}: ", "bold"), _text(plan.summary, "bold")))
        self.say(Padding.indent(Group(*map(render.change, plan.changes)), 2))
        doubts = [check.detail or check.name for check in plan.preflight if not check.ok]
        remarks = (
            ("felt by", plan.blast_radius),
            ("beware", doubts),
            ("lost", plan.lost),
            ("calls", _names(plan.calls)),
            ("undo", _names(plan.undo)),
        )
        rows = (
            (Text("" if number else name, render.QUIET), _text(remark))
            for name, said in remarks
            for number, remark in enumerate(said)
        )
        self.say(_grid(rows, NAMES))

    def proofs(self, record: StepRecord) -> None:
        """Tick off what was read back to prove a step, and name what a proof leaves open."""
        checks = {check.name: check for proof in record.proofs for check in proof.checks}
        ticks = [(Text("ok", render.GOOD), _text(c.name)) for c in checks.values() if c.ok]
        for check in (check for check in checks.values() if not check.ok):
            said = f"{check.name}: {check.detail}" if check.detail else check.name
            ticks.append((Text("--", "yellow"), _text(f"open: {said}")))
        self.say(Padding.indent(_grid(ticks), 4))

    def timeline(self, incident: Incident) -> None:
        """Tell what happened when, in seconds since the incident was opened."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(justify="right", style=render.QUIET)
        for _ in range(3):
            grid.add_column(overflow="fold")
        for entry in incident.timeline:
            since = (entry.at - incident.opened_at).total_seconds()
            grid.add_row(f"{since:.2f}", entry.event, _text(entry.step), _text(entry.detail))
        self.gap()
        self.say(_text(incident.id, "bold"))
        self.say(grid)

    def difference(self, before: State, after: State) -> None:
        """Tell the lines that went, and those that came, by resource."""
        for resource, (was, now) in changed(before, after).items():
            gone = [_line(f"- {line}", render.REMOVED) for line in was if line not in now]
            come = [_line(f"+ {line}", render.ADDED) for line in now if line not in was]
            self.say(Padding.indent(Group(_text(resource), *gone, *come), 4))


def _names(calls: Iterable[Call]) -> Iterable[str]:
    """Return what is called, each operation once, with how often."""
    counted = Counter(f"{call.service}:{call.operation}" for call in calls)
    return [f"{name} x {number}" if number > 1 else name for name, number in counted.items()]


def _grid(rows: Iterable[tuple[Text, Text]], width: int | None = None) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=width)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _line(text: str, style: str) -> Text:
    """Return a text that is cut where the terminal ends."""
    return Text(clean(text), style, no_wrap=True, overflow="ellipsis")


def _text(text: str, style: str = "") -> Text:
    return Text(clean(text), style)
