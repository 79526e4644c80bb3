"""Runbooks: list them, show one, check files, and try one out without doing anything."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from firedoor import runbooks as known
from firedoor.cli import output, render
from firedoor.cli.findings import File, from_file
from firedoor.cli.output import Json, document, line, progress
from firedoor.errors import BadInput, FiredoorError, Refused
from firedoor.model.finding import Finding
from firedoor.model.incident import Order, StepRecord, incident_id
from firedoor.model.plan import Plan, Target
from firedoor.model.policy import Policy
from firedoor.model.runbook import Approval, Runbook, Step
from firedoor.triage import steps_for
from worker import catalogue
from worker.actions import plan_all

app = typer.Typer(rich_markup_mode=None)
runbooks = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(runbooks, name="runbooks", help="List, check and try out runbooks.")


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
    """Show the steps of a runbook, and who must approve them."""
    runbook = catalogue.catalogue().get(id)
    if runbook is None:
        raise Refused(f"there is no runbook {id}; `firedoor runbooks list` lists them")
    if json:
        document(runbook)
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
    """Say what is wrong with runbooks, and how to mend it."""
    texts = {str(file): _text(file) for file in files or known.files()}
    problems = [
        p for file, text in texts.items() for p in known.lint(text, file, catalogue.actions())
    ]
    problems += known.clashes(texts)
    if json:
        document(problems)
    else:
        for problem in problems:
            line(render.clean(str(problem)))
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
        output.show(Text(render.clean(said), "bold"))
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
        (f"\n{record.key}", "bold"), f"  {record.capability.action}  ", record.step.approval
    )
    parts: list[RenderableType] = [render.plan(plan) for plan in planned.plans]
    if planned.problem:
        parts.append(Text(render.clean(f"cannot be planned: {planned.problem}"), render.BAD))
    elif not parts:
        parts.append(Text("there is nothing to do", render.QUIET))
    return Group(head, *(Padding(part, (0, 0, 0, 2)) for part in parts))


def _described(runbook: Runbook) -> RenderableType:
    heads = ("step", "does", "on", "needs", "approval", "deadline")
    rows = [
        (step.id, step.do, step.on or "", ", ".join(step.needs), step.approval, _deadline(step))
        for step in runbook.steps
    ]
    return Group(
        Text(f"{runbook.id}: {runbook.title}", "bold"),
        Text(runbook.description),
        Text(f"\nanswers {_answers(runbook)}\ndigest {runbook.digest}\n", render.QUIET),
        render.table(heads, rows),
    )


def _deadline(step: Step) -> str:
    return str(step.deadline) if step.approval is Approval.ASK else ""


def _answers(runbook: Runbook) -> str:
    if runbook.when is None:
        return "all that no other answers"
    kinds = f" on {', '.join(runbook.when.kinds)}" if runbook.when.kinds else ""
    return ", ".join(runbook.when.types) + kinds


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(str(file), "", f"cannot be read: {error}") from error
