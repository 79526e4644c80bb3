"""Audit: check what happened, against the code that decided it."""

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from firedoor.audit import replay as replays
from firedoor.cli import remote
from firedoor.cli.output import Json, document, line, progress
from firedoor.errors import BadInput, Refused
from worker.plugin import workflows

app = typer.Typer(rich_markup_mode=None)
audit = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(audit, name="audit", help="Check what happened.")


@audit.callback()
def _group() -> None:
    """Check what happened."""  # with a callback, a single command stays a command of a group


@audit.command()
def replay(
    histories: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|ID...",
            help="Exported histories, or incidents and containments on the server.",
        ),
    ],
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the histories that the server sends, as files."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that the same events lead the code to the same commands, argument by argument.

    Files need no server. A file that is there already is never written over.
    """
    Runtime.set_default(remote.quiet(), error_if_already_set=False)  # replaying takes the default
    with progress("replaying"):
        replayed = remote.run(_replay(histories, save))
    if json:
        document([{**one.model_dump(mode="json"), "ok": one.ok} for one in replayed])
    else:
        for one in replayed:
            _tell(one)
    if differing := [one.workflow for one in replayed if not one.ok]:
        raise Refused(
            f"{len(differing)} of {len(replayed)} histories are not what the code decides"
        )


def read(file: Path) -> WorkflowHistory:
    """Return the history in a file.

    Raises `BadInput` if there is none in it.
    """
    try:
        return replays.parse(file.read_text(encoding="utf-8"), file.name)
    except (OSError, ParseError, ValueError, LookupError, TypeError) as error:
        raise BadInput(str(file), "", f"expected an exported history: {error}") from error


def write(history: WorkflowHistory, directory: Path) -> Path:
    """Write a history to a file in a directory, and return the file.

    Raises `BadInput` if it cannot be written, or is there already: it may be another run's.
    """
    file = directory / f"{history.workflow_id.replace('/', '_')}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(history.to_json())
    except OSError as error:
        raise BadInput(str(file), "", (error.strerror or "cannot be written").lower()) from error
    return file


async def _replay(histories: list[str], save: Path | None) -> list[replays.Replay]:
    found = [await _history(name, save) for name in histories]
    return [await replays.replay(history, workflows()) for history in found]


async def _history(name: str, save: Path | None) -> WorkflowHistory:
    """Return the history in a file, or else that of a workflow on the server, which is kept."""
    file = Path(name)
    if file.is_file():
        return read(file)
    client = await remote.connect()
    id = name if name.startswith(remote.CONTAINMENT) else await remote.find(client, name)
    try:
        handle = client.get_workflow_handle(id)
        history = await handle.fetch_history(rpc_timeout=remote.PATIENCE)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Refused(f"there is neither a file nor an incident {name}") from error
        raise
    if save is not None:
        write(history, save)
    return history


def _tell(replayed: replays.Replay) -> None:
    builds = f", decided by {', '.join(replayed.builds)}" if replayed.builds else ""
    outcome = "the code decides the same" if replayed.ok else "the code decides otherwise"
    line(f"{replayed.workflow}: {outcome}, {replayed.events} events{builds}")
    for difference in replayed.differences:
        line(f"  {difference}")
