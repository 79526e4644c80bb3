"""The command `firedoor`: what there is, loaded only when it is called, and how it ends."""

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from firedoor import __version__
from firedoor.errors import FiredoorError

STATUSES = (
    "Exit status: 0 done; 1 refused, failed, not found, or problems found; 2 bad input;"
    " 3 no server answers; 130 interrupted."
)


class Place(NamedTuple):
    """Where a command is, and what the list of commands says of it."""

    module: str
    help: str


PLACES: dict[str, Place] = {
    "up": Place("firedoor.cli.server", "Run all of it here: server, worker and intake."),
    "worker": Place("firedoor.cli.server", "Run a worker for a server that is there."),
    "demo": Place("firedoor.cli.demo", "Live through two incidents in an emulated account."),
    "submit": Place("firedoor.cli.findings", "Hand findings over, for incidents to respond."),
    "incidents": Place("firedoor.cli.incidents", "List incidents, newest first."),
    "show": Place("firedoor.cli.incidents", "Show all that is known of an incident."),
    "watch": Place("firedoor.cli.incidents", "Follow an incident until it is closed."),
    "approve": Place("firedoor.cli.decisions", "Approve plans that wait for a decision."),
    "deny": Place("firedoor.cli.decisions", "Deny plans that wait for a decision."),
    "pending": Place("firedoor.cli.decisions", "List what waits for your decision."),
    "ratify": Place("firedoor.cli.decisions", "Speak on what was done before anybody was asked."),
    "release": Place("firedoor.cli.containments", "Let containments go, undoing their changes."),
    "close": Place("firedoor.cli.incidents", "Close an incident that holds nothing any more."),
    "pause": Place("firedoor.cli.rails", "Stop every change until somebody resumes."),
    "resume": Place("firedoor.cli.rails", "Let changes go on where they wait."),
    "rails": Place("firedoor.cli.rails", "Show whether changes are paused, and the limits."),
    "findings": Place("firedoor.cli.findings", "Read findings without starting anything."),
    "logs": Place("firedoor.cli.logs", "Read network and API logs, and ask them."),
    "detect": Place("firedoor.cli.detect", "Find what is wrong in logs."),
    "baseline": Place("firedoor.cli.baseline", "Show what is normal, and what is not."),
    "responders": Place("firedoor.cli.responders", "Add, list and check who may decide."),
    "runbooks": Place("firedoor.cli.runbooks", "List, check and try out runbooks."),
    "audit": Place("firedoor.cli.audit", "Check what happened."),
    "iam": Place("firedoor.cli.iam", "Print the IAM policies that Firedoor needs."),
}
"""Every command, in the order of the help; the one list that a new command joins."""


class Commands(TyperGroup):
    """The commands of `PLACES`; listing and completing them imports none."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, place in PLACES.items():
            self.add_command(TyperCommand(name, help=place.help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command itself, loaded, for it is about to be used."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and listed else listed, rest


# Without Rich in its help: importing that costs more than all else that `--help` does.
app = typer.Typer(
    cls=Commands,
    epilog=STATUSES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Run the command that the arguments name, and say in a line what went wrong."""
    # Looking for plugins reads the metadata of every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is imported is never garbage; looking for it there takes a tenth of a short command.
    gc.disable()
    code = _run()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    # The interpreter's own way out aborts now and then (status 134) when threads of Temporal's
    # runtime are still about; there is nothing left to be done on it.
    os._exit(code)


def load(name: str) -> Any:
    """Import the module of a command, and return the command."""
    group = typer.main.get_group(import_module(PLACES[name].module).app)
    gc.freeze()
    gc.enable()
    return group.commands[name]


def _run() -> int:
    try:
        app(prog_name="firedoor")
    except FiredoorError as error:
        _complain(error)
        return error.exit_status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _complain(error: FiredoorError) -> None:
    """Say what is wrong, one line for each problem."""
    from firedoor.cli.output import one_line  # `--help` needs none of it

    for problem in (str(error), *getattr(error, "__notes__", ())):
        sys.stderr.write(f"firedoor: {one_line(problem)}\n")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"firedoor {__version__}")
        raise typer.Exit


@app.callback()
def firedoor(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Respond to findings in the cloud: durable, approved, and reversible."""
