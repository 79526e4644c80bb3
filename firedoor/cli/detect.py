"""Detections: run them over logs, and hand over what they find."""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firedoor.cli import _lake, output, render
from firedoor.cli._lake import (
    Engine,
    Fields,
    Format,
    Limit,
    Logs,
    Params,
    Place,
    Since,
    Until,
    Where,
)
from firedoor.cli.output import Json, document, line, progress, record
from firedoor.detection import Detection, Value
from firedoor.discovery import find
from firedoor.errors import BadInput
from firedoor.model.finding import Finding
from firedoor.ocsf import detection_finding

if TYPE_CHECKING:
    from firedoor.lake import engine as engines
    from firedoor.lake.ingest import Given
    from firedoor.looking import Seen

app = typer.Typer(rich_markup_mode=None)
detect = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(detect, name="detect", help="Find what is wrong in logs.")

LEFT_OUT = 1
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def _known() -> Mapping[str, Detection]:
    return find("firedoor.detections", Detection)


def _ids(incomplete: str) -> list[str]:
    return [id_ for id_ in _known() if id_.startswith(incomplete)]


Rules = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RULE...]", help="Detections; none: all of them.", autocompletion=_ids),
]


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
    since: Since = None,
    until: Until = None,
    param: Params = None,
    logs: Logs = None,
    source: Format = None,
    fields: Fields = "",
    sigma: Annotated[
        Path | None, typer.Option("--sigma", metavar="PATH", help="Sigma rules to run as well.")
    ] = None,
    engine: Engine = Where.DUCKDB,
    place: Place = None,
    limit: Limit = 100.0,
    submit: Annotated[
        bool, typer.Option("--submit", help="Hand the findings over: incidents respond.")
    ] = False,
    ocsf: Annotated[
        bool, typer.Option("--ocsf", help="Print events of OCSF class 2004, a line each.")
    ] = False,
    json: Json = False,
) -> None:
    """Run detections over the logs that are kept, or over logs where they lie.

    Each looks at its own window before --until, which is now, or the last that logs where they lie
    tell of; --since has it look at all windows from there on. Over logs that are kept, baselines
    are compared as well. The exit status is 1 if something could not be read or asked.
    """
    chosen = _chosen(rules)
    values = {id_: _lake.params(param, one.params) for id_, one in chosen.items()} if param else {}
    if sigma is not None and not sigma.exists():
        raise BadInput("--sigma", str(sigma), "expected a file or a folder")
    if engine is Where.ATHENA:
        _refuse_in_athena({"--since": since, "--logs": logs, "--sigma": sigma})
        seen = _in_athena(chosen, values, until, place, limit)
    elif logs:
        told = _lake.given(source, fields)
        seen = _where_they_lie(chosen, values, logs, told, since, until, sigma)
    else:
        seen = _kept(values, rules, since, until, sigma)
    for problem in seen.problems:
        output.complain(problem)
    found = [*seen.findings.values()]
    if ocsf:
        for finding in found:
            record(detection_finding(finding))
    else:
        _print(found, json=json)
    if submit and found:
        _submit(found)
    if seen.problems:
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


Values = Mapping[str, Mapping[str, Value]]


def _kept(
    values: Values,
    rules: list[str] | None,
    since: str | None,
    until: str | None,
    sigma: Path | None,
) -> "Seen":
    """Look at the logs that are kept."""
    from firedoor import looking

    end = _lake.instant(until, "--until", _lake.now()) or _lake.now()
    begin = _lake.instant(since, "--since", end) or end
    with _lake.store() as store, progress("looking"):
        return looking.over(store, begin, end, tuple(rules or ()), sigma, values)


def _where_they_lie(
    chosen: Mapping[str, Detection],
    values: Values,
    places: list[str],
    given: "Given",
    since: str | None,
    until: str | None,
    sigma: Path | None,
) -> "Seen":
    """Look at logs without keeping them."""
    from firedoor import looking
    from firedoor.lake import straight
    from firedoor.lake.duck import Duck

    seen, queries = looking.Seen(), [one.sql for one in chosen.values()]
    if sigma is not None:
        from firedoor.sigma.running import LOOKED_AT

        queries.extend(LOOKED_AT)
    with tempfile.TemporaryDirectory() as spill, Duck(Path(spill)) as duck:
        with progress("reading"):
            seen.problems += straight.fill(duck, places, given, queries)
        told = _lake.instant(until, "--until", _lake.now())
        end = told or straight.last(duck, queries) or _lake.now()
        begin = _lake.instant(since, "--since", end) or end
        with progress("looking"):
            for id_, one in chosen.items():
                for each in looking.ends(begin, end, one.window):
                    _ask(seen, id_, one, duck, each, values)
            if sigma is not None:
                looking.by_sigma(seen, sigma, duck, BEGINNING, end)
    return seen


def _refuse_in_athena(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if value:
            what = "Athena is asked for the last window of what was published: give --until"
            raise BadInput(name, "", what)


def _in_athena(
    chosen: Mapping[str, Detection],
    values: Values,
    until: str | None,
    place: str | None,
    limit: float,
) -> "Seen":
    """Ask Athena, and say before each question how much it may read, and after it what it did."""
    from firedoor import looking

    seen = looking.Seen()
    end = _lake.instant(until, "--until", _lake.now()) or _lake.now()
    athena = _lake.athena(place, limit)
    for id_, one in chosen.items():
        with progress(f"asking for {id_}"):
            _ask(seen, id_, one, athena.named(id_), end, values)
    return seen


def _ask(
    seen: "Seen", id_: str, one: Detection, engine: "engines.Engine", end: datetime, values: Values
) -> None:
    from firedoor import detecting

    seen.take(id_, lambda: detecting.findings(id_, one, engine, end, values.get(id_)))
