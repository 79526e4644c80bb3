"""Detections: run them over logs, and hand over what they find."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from firedoor.cli import _lake, output, render
from firedoor.cli._lake import Fields, Format, Logs, Params, Until
from firedoor.cli.output import Json, document, line, progress, record
from firedoor.detection import Detection
from firedoor.discovery import find
from firedoor.errors import BadInput
from firedoor.model.finding import Finding

app = typer.Typer(rich_markup_mode=None)
detect = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(detect, name="detect", help="Find what is wrong in logs.")

LEFT_OUT = 1


def _known() -> Mapping[str, Detection]:
    return find("firedoor.detections", Detection)


def _ids(incomplete: str) -> list[str]:
    return [id_ for id_ in _known() if id_.startswith(incomplete)]


Rules = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RULE...]", help="Detections; none: all of them.", autocompletion=_ids),
]


class Where(StrEnum):
    """Which engine is asked."""

    DUCKDB = "duckdb"
    ATHENA = "athena"


@detect.command()
def rules(json: Json = False) -> None:
    """List the detections."""
    if json:
        document({id_: _described(one) for id_, one in _known().items()})
        return
    rows = [
        (id_, one.title, f"{one.severity:g}", " ".join(one.techniques))
        for id_, one in _known().items()
    ]
    output.show(render.table(("rule", "finds", "severity", "ATT&CK"), rows))


@detect.command()
def show(
    rule: Annotated[str, typer.Argument(metavar="RULE", autocompletion=_ids)], json: Json = False
) -> None:
    """Show a detection: what it asks, its parameters, and what it makes of a match."""
    one = _chosen([rule])[rule]
    if json:
        document(_described(one))
        return
    line(one.title)
    line(one.description)
    line(f"type {one.type}, severity {one.severity:g}, {' '.join(one.techniques)}")
    for name, value in one.params.items():
        line(f"{name} = {value}")
    for text in one.sql.strip("\n").splitlines():
        line(text)


@detect.command()
def run(
    rules: Rules = None,
    until: Until = None,
    param: Params = None,
    logs: Logs = None,
    source: Format = None,
    fields: Fields = "",
    sigma: Annotated[
        Path | None, typer.Option("--sigma", metavar="PATH", help="Sigma rules to run as well.")
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Hand the findings over: incidents respond.")
    ] = False,
    json: Json = False,
) -> None:
    """Run detections over the logs that are kept, or over logs where they lie.

    Each looks at its own window before --until, which is now, or the last that logs where they lie
    tell of. The exit status is 1 if something could not be read.
    """
    from firedoor import detecting

    chosen = _chosen(rules)
    queries = [one.sql for one in chosen.values()]
    with _engine(chosen, logs, source, fields, queries, until) as (engine, end, problems):
        found: list[Finding] = []
        with progress("asking"):
            for id_, one in chosen.items():
                values = _lake.params(param, one.params) if param else None
                found += detecting.findings(id_, one, engine, end, values)
    _print(found, json=json)
    if submit and found:
        _submit(found)
    if problems:
        raise typer.Exit(LEFT_OUT)


@detect.command()
def schedule(
    rules: Rules = None,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="How often: 5m, 1h.")
    ] = "5m",
    off: Annotated[bool, typer.Option("--off", help="End it.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Run it at once as well.")] = False,
    json: Json = False,
) -> None:
    """Read new logs and run detections over them again and again, one run at a time.

    The worker that has FIREDOOR_LOG_PLACES reads from there, and hands over what is found.
    """
    from firedoor.cli import remote
    from firedoor.model.watch import Watch
    from worker import schedule as scheduled

    _chosen(rules)
    if off:
        remote.run(scheduled.end())
        line("ended")
        return
    period = _lake.length(every, "--every")
    told = remote.run(scheduled.begin(Watch(rules=tuple(rules or ())), period, now=now))
    if json:
        document(told)
    else:
        line(f"every {every}, next at {told.next:%Y-%m-%d %H:%M:%SZ}")


def _described(one: Detection) -> dict[str, Any]:
    return {
        name: getattr(one, name)
        for name in ("title", "description", "type", "severity", "techniques", "params", "sql")
    }


def _chosen(ids: list[str] | None) -> dict[str, Detection]:
    known = _known()
    for id_ in ids or ():
        if id_ not in known:
            raise BadInput("rule", id_, "no such detection: `firedoor detect rules` lists them")
    return {id_: one for id_, one in known.items() if not ids or id_ in ids}


def _print(found: list[Finding], *, json: bool) -> None:
    if json:
        for finding in found:
            record(finding)
        return
    rows = [
        (f"{one.severity:g}", one.type, one.subject.id, one.description.partition("\n")[0])
        for one in sorted(found, key=lambda one: -one.severity)
    ]
    output.show(render.table(("severity", "type", "subject", "what"), rows))


def _submit(found: list[Finding]) -> None:
    from firedoor.cli import remote
    from firedoor.settings import settings
    from worker import catalogue

    catalogue.require_people()
    arrivals = [catalogue.arrival(finding, settings().responder) for finding in found]
    for delivery in remote.run(remote.deliver(arrivals)):
        line(f"{delivery.incident} {delivery.outcome}")


@contextmanager
def _engine(
    chosen: Mapping[str, Detection],
    places: list[str] | None,
    source: str | None,
    fields: str,
    queries: list[str],
    until: str | None,
) -> Iterator[tuple[Any, datetime, list[str]]]:
    """Open what is asked, with the end of the windows, and say what could not be read."""
    from firedoor.lake import straight
    from firedoor.lake.duck import Duck

    end = _lake.instant(until, "--until", _lake.now())
    if not places:
        last = end or _lake.now()
        longest = max((one.reach for one in chosen.values()), default=timedelta())
        with _lake.store() as store, store.duck(last - longest, last) as duck:
            yield duck, last, []
        return
    with tempfile.TemporaryDirectory() as spill, Duck(Path(spill)) as duck:
        problems = []
        with progress("reading"):
            for problem in straight.fill(duck, places, _lake.given(source, fields), queries):
                output.complain(problem)
                problems.append(problem)
        yield duck, end or straight.last(duck, queries) or _lake.now(), problems
