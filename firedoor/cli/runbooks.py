"""Runbooks: list them, show one, check files, and try one out without doing anything."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from firedoor import runbooks as known
from firedoor.cli import output, render
from firedoor.cli.findings import File, from_file
from firedoor.cli.output import Json, clean, document, line, progress
from firedoor.errors import FiredoorError, Refused
from firedoor.model.finding import Finding
from firedoor.model.incident import Order, StepRecord, incident_id
from firedoor.model.plan import Plan, Target
from firedoor.model.policy import Policy
from firedoor.model.runbook import Approval, Runbook, Step
from firedoor.triage import steps_for
from worker import catalogue

app = typer.Typer(rich_markup_mode=None)
runbooks = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(runbooks, name="runbooks", help="List, check and try out runbooks.")

WORDS = ("message", "what", "how")
"""Parameters that are said to people."""


class Planned(NamedTuple):
    """A step that would be taken, with its plans or the reason why there can be none."""

    step: StepRecord
    plans: tuple[Plan, ...]
    problem: str


class Simulation(NamedTuple):
    """What a finding would lead to."""

    finding: Finding
    runbook: Runbook
    steps: tuple[Planned, ...]


def _ids(incomplete: str) -> list[str]:
    return [id for id in catalogue.catalogue() if id.startswith(incomplete)]


@runbooks.command("list")
def list_(json: Json = False) -> None:
    """List the runbooks that there are."""
    found = catalogue.catalogue()
    if json:
        document(found.values())
        return
    heads = ("runbook", "answers", "steps")
    rows = [(id, _answers(runbook), str(len(runbook.steps))) for id, runbook in found.items()]
    output.show(render.table(heads, rows))


@runbooks.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The runbook.", autocompletion=_ids)],
    json: Json = False,
) -> None:
    """Show the steps of a runbook, who must approve them, and what their actions do."""
    runbook = catalogue.catalogue().get(id)
    if runbook is None:
        raise Refused(f"there is no runbook {id}; `firedoor runbooks list` lists them")
    if json:
        document({**runbook.model_dump(mode="json", by_alias=True), "actions": _actions(runbook)})
        return
    output.show(_described(runbook))


@runbooks.command()
def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Runbook files; none: those that are installed."),
    ] = None,
    json: Json = False,
) -> None:
    """Say what is wrong with runbooks, and how to mend it.

    Looks at files as if they were installed: one with the name of an installed file stands for it.
    """
    installed = known.files(*catalogue.directories())
    named = {file.name for file in files or ()}
    others = {str(file): known.text(file) for file in installed if file.name not in named}
    texts = {str(file): known.text(file) for file in files} if files else others
    problems = [
        p for file, text in texts.items() for p in known.lint(text, file, catalogue.actions())
    ]
    problems += known.clashes({**others, **texts})
    if json:
        document(problems)
    else:
        for problem in problems:
            line(str(problem))
    if problems:
        raise Refused(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in runbooks")


@runbooks.command()
def simulate(file: File, json: Json = False) -> None:
    """Show which runbooks would answer findings, and what would be planned.

    Reads the cloud account as planning does, changes nothing, and starts nothing.
    """
    with progress("planning"):
        simulations = [_simulate(finding) for finding in from_file(file)]
    if json:
        document([simulation._asdict() for simulation in simulations])
        return
    for simulation in simulations:
        said = f"{simulation.finding.type} is answered by {simulation.runbook.id}"
        output.show(Text(clean(said), "bold"))
        for planned in simulation.steps:
            output.show(_planned(planned))


def _simulate(finding: Finding) -> Simulation:
    arrival = catalogue.arrival(finding)
    at = datetime.now(UTC)
    records = () if finding.sample else steps_for(arrival, ())
    return Simulation(
        finding=finding,
        runbook=arrival.runbook,
        steps=tuple(_plan(record, finding, arrival.policy, at) for record in records),
    )


def _plan(record: StepRecord, finding: Finding, policy: Policy, at: datetime) -> Planned:
    """Plan a step for all its subjects, as a worker would."""
    from worker.actions import plan_all  # no other command here performs actions

    id, plans = record.capability.action, list[Plan]()
    for subject in record.subjects:
        target = Target(subject=subject, incident=incident_id(finding), step=record.key, at=at)
        order = Order(target=target, params=record.params, policy=policy)
        try:
            plans += plan_all(id, catalogue.actions()[id], order)
        except FiredoorError as error:
            return Planned(record, tuple(plans), str(error))
    return Planned(record, tuple(plans), "")


def _planned(planned: Planned) -> RenderableType:
    record = planned.step
    head = Text.assemble(
        (f"\n{record.key}", "bold"),
        f"  {record.capability.action}  {record.step.approval}",
        f", holds for {render.span(record.step.term)} or longer" if record.step.term else "",
    )
    parts: list[RenderableType] = [render.plan(plan) for plan in planned.plans]
    if planned.problem:
        parts.append(Text(clean(f"cannot be planned: {planned.problem}"), render.BAD))
    elif not parts:
        parts.append(Text("there is nothing to do", render.QUIET))
    return Group(head, *(Padding(part, (0, 0, 0, 2)) for part in parts))


def _described(runbook: Runbook) -> RenderableType:
    heads = ("step", "does", "on", "needs", "approval", "deadline", "term")
    rows = [
        (
            step.id,
            step.do,
            step.on or "",
            ", ".join(step.needs),
            step.approval,
            _deadline(step),
            render.span(step.term) if step.term else "",
        )
        for step in runbook.steps
    ]
    actions = _actions(runbook)
    return Group(
        Text(clean(f"{runbook.id}: {runbook.title}"), "bold"),
        Text(clean(runbook.description)),
        Text(f"\nanswers {clean(_answers(runbook))}\ndigest {runbook.digest}\n", render.QUIET),
        render.table(heads, rows),
        *(_explained(step, actions[step.id]) for step in runbook.steps),
    )


def _explained(step: Step, actions: list[dict[str, Any]]) -> RenderableType:
    lines = [Text(f"\n{step.id}", "bold"), *_told(step)]
    for action in actions:
        tags = [
            f"{catalogue} {', '.join(ids)}"
            for catalogue, ids in (
                ("ATT&CK", action["techniques"]),
                ("D3FEND", action["countermeasures"]),
                ("CSF", (action["function"],)),
            )
            if ids
        ]
        lines.append(Text(f"  {action['action']}: {action['summary']}"))
        lines.append(Text(f"  {'; '.join(tags)}", render.QUIET))
    return Group(*lines)


def _told(step: Step) -> list[Text]:
    """Return what the runbook tells people at a step, and what it gives up and why."""
    words = (step.params.get(name) for name in WORDS)
    lines = [Text(clean(f"  {word}")) for word in words if isinstance(word, str)]
    if step.because:
        waived = f"gives up {', '.join(step.waives)}: " if step.waives else ""
        lines.append(Text(clean(f"  {waived}{step.because}")))
    return lines


def _actions(runbook: Runbook) -> dict[str, list[dict[str, Any]]]:
    """Return what the actions of each step do, one a cloud, by step."""
    return {
        step.id: [
            {
                "action": id,
                "nature": action.nature,
                "summary": action.summary,
                "function": action.function,
                "techniques": action.techniques,
                "countermeasures": action.countermeasures,
            }
            for id, action in known.meant(step, catalogue.actions()).items()
        ]
        for step in runbook.steps
    }


def _deadline(step: Step) -> str:
    return render.span(step.deadline) if step.approval is Approval.ASK else ""


def _answers(runbook: Runbook) -> str:
    if runbook.when is None:
        return "all that no other answers"
    kinds = f" on {', '.join(runbook.when.kinds)}" if runbook.when.kinds else ""
    return ", ".join(runbook.when.types) + kinds
