"""Audit: check what happened."""

import typer

app = typer.Typer(rich_markup_mode=None)
audit = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(audit, name="audit", help="Check what happened.")
