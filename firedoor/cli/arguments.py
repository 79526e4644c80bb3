"""Arguments and options that several commands have."""

from typing import Annotated

import typer

from firedoor.cli import remote

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The incident: its id, or the end of it, as in i-0abc or user/alice.",
        autocompletion=remote.complete,
    ),
]
Step = Annotated[
    str | None,
    typer.Argument(metavar="[STEP]", help="The step; none: all of them.", show_default=False),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept with the incident.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
