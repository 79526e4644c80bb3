"""Findings: hand them over, or only read them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from firedoor.cli.output import Json, document, line, progress, record
from firedoor.errors import BadInput
from firedoor.model.finding import Finding
from firedoor.reading import read as parse
from firedoor.settings import settings

app = typer.Typer(rich_markup_mode=None)
findings = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(findings, name="findings", help="Read findings without starting anything.")

STDIN = "-"
File = Annotated[
    str, typer.Argument(metavar="FILE", help="A file with findings; - is standard input.")
]
Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files with findings; - is standard input.")
]


@app.command()
def submit(file: File, json: Json = False) -> None:
    """Hand findings over, for incidents to respond.

    Nothing is started unless all findings of the file can be read and answered.
    """
    from firedoor.cli import remote  # reading findings needs no server, so `read` does without
    from worker import catalogue

    with progress("reading"):
        catalogue.require_people()
        who = settings().responder
        arrivals = [catalogue.arrival(finding, who) for finding in from_file(file)]
    deliveries = remote.run(remote.deliver(arrivals))
    if json:
        document(deliveries)
    else:
        for delivery in deliveries:
            line(f"{delivery.incident} {delivery.outcome}")


@findings.command()
def read(files: Files, json: Json = False) -> None:  # noqa: ARG001 - for programs it always is
    """Print each finding as one line of JSON, as Firedoor understands it."""
    for file in files:
        for finding in list(from_file(file)):
            record(finding)


def from_file(file: str) -> Iterator[Finding]:
    """Return the findings of a file or of standard input.

    Raises `BadInput` that names the place.
    """
    if file == STDIN:
        return parse(sys.stdin.buffer.read(), "standard input")
    try:
        return parse(Path(file).read_bytes(), file)
    except OSError as error:
        raise BadInput(file, "", (error.strerror or "cannot be read").lower()) from error
