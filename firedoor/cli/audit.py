"""Audit: check what happened, against the code that decided it."""

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from firedoor.audit import replay as replays
from firedoor.audit import votes as hearings
from firedoor.audit.votes import Hearing, Spoken
from firedoor.cli import output, remote, render
from firedoor.cli.output import Json, document, line, progress
from firedoor.errors import BadInput, Refused
from firedoor.model.responder import Roster
from firedoor.model.warden import warden_id
from worker.plugin import workflows

WARDEN = warden_id("")
HEADS = ("time", "who", "kind", "step", "answer", "means", "key", "proof", "ruling")

Histories = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|ID...",
        help="Exported histories, or incidents and containments on the server.",
    ),
]

app = typer.Typer(rich_markup_mode=None)
audit = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(audit, name="audit", help="Check what happened.")


@audit.command()
def replay(
    histories: Histories,
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


@audit.command()
def votes(
    histories: Histories,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write what `ssh-keygen -Y verify` needs there."),
    ] = None,
    signers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Check with the keys of this `allowed_signers`, not with those of the history.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List every word that people said, with its proof checked again.

    Files need no server. With --directory each history has a directory there, with the canonical
    JSON and the signature of each word, and `allowed_signers`. A file that is there already is
    never written over.
    """
    keys = _keys(signers) if signers else None
    with progress("checking"):
        heard = remote.run(_hear(histories, keys))
    for one in heard if directory else ():
        _lay_out(one, Path(directory or ""))
    if json:
        document(heard)
    else:
        for one in heard:
            _list(one)
    words = [word for one in heard for word in one.words]
    if broken := [word for word in words if word.breaks]:
        raise Refused(f"{len(broken)} of {len(words)} words counted, and their proof is not good")


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
    _write_new(file, history.to_json())
    return file


def _write_new(file: Path, content: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8", newline="") as opened:
            opened.write(content)
    except OSError as error:
        raise BadInput(str(file), "", (error.strerror or "cannot be written").lower()) from error


async def _replay(histories: list[str], save: Path | None) -> list[replays.Replay]:
    found = [await _history(name, save) for name in histories]
    return [await replays.replay(history, workflows()) for history in found]


async def _history(name: str, save: Path | None) -> WorkflowHistory:
    """Return the history in a file, or else that of a workflow on the server, which is kept."""
    file = Path(name)
    if file.is_file():
        return read(file)
    client = await remote.connect()
    whole = name.startswith((remote.CONTAINMENT, WARDEN))
    id = name if whole else await remote.find(client, name)
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


async def _hear(histories: list[str], keys: Roster | None) -> list[Hearing]:
    heard = []
    for name in histories:
        history = await _history(name, None)
        try:
            heard.append(hearings.hear(history, keys))
        except ValueError as error:
            said = output.one_line(str(error))
            raise BadInput(name, "", f"expected a history of this version: {said}") from error
    return heard


def _keys(file: Path) -> Roster:
    try:
        return hearings.keys_in(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise BadInput(str(file), "", (error.strerror or "cannot be read").lower()) from error
    except ValueError as error:
        raise BadInput("--signers", "", str(error)) from error


def _lay_out(heard: Hearing, directory: Path) -> None:
    """Write each word that an SSH key signed, its signature, and the keys.

    Names of files are numbers: what people are called in a history can be anything.
    """
    place = directory / f"{heard.workflow}/{heard.run}".replace("/", "_")
    files = {"allowed_signers": heard.allowed_signers}
    for number, word in enumerate(heard.words, 1):
        if word.signature:
            files |= {f"{number:03}.json": word.signed, f"{number:03}.sig": word.signature}
    for name, content in files.items():
        _write_new(place / name, content)


def _list(heard: Hearing) -> None:
    under = f", policy {heard.policy}" if heard.policy else ""
    line(f"{heard.workflow} run {heard.run}{under}")
    if heard.words:
        output.show(render.table(HEADS, [_row(word) for word in heard.words]))
    else:
        line("nobody has said anything")


def _row(word: Spoken) -> tuple[str, ...]:
    good = f"good; {word.doubt}" if word.doubt else "good"
    if word.accepted is None:
        ruling = "not on record"
    else:
        ruling = "accepted" if word.accepted else "refused"
    return (
        render.instant(word.at),
        word.by,
        word.kind,
        word.step,
        word.answer,
        word.means,
        word.key,
        word.problem or good,
        f"{ruling}: {word.ruling}" if word.ruling else ruling,
    )


def _tell(replayed: replays.Replay) -> None:
    builds = f", decided by {', '.join(replayed.builds)}" if replayed.builds else ""
    outcome = "the code decides the same" if replayed.ok else "the code decides otherwise"
    line(f"{replayed.workflow}: {outcome}, {replayed.events} events{builds}")
    for difference in replayed.differences:
        line(f"  {difference}")
