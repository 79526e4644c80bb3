"""Baselines: what is measured, what is normal of whom, and a picture of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from firedoor import baseline as known
from firedoor import baselining, looking
from firedoor.baseline import Span, Verdict
from firedoor.baselining import Measured, Rollup
from firedoor.charting import Chart, html, png
from firedoor.cli import _lake, output, render
from firedoor.cli.output import Json, clean, document, line, progress
from firedoor.errors import BadInput, Refused

app = typer.Typer(rich_markup_mode=None)
baseline = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(baseline, name="baseline", help="Show what is normal, and what is not.")

VERDICTS: dict[Verdict, str] = {
    Verdict.ABOVE: render.BAD,
    Verdict.RAISED: "yellow",
    Verdict.LOW: "yellow",
    Verdict.UNKNOWN: render.QUIET,
}


def _ids(incomplete: str) -> list[str]:
    return [id_ for id_ in baselining.metrics() if id_.startswith(incomplete)]


@baseline.command("list")
def list_(json: Json = False) -> None:
    """List what is measured, and the thresholds that hold until the normal is known."""
    found = baselining.metrics()
    if json:
        document(
            {
                id_: {
                    "title": metric.title, "description": metric.description,
                    "unit": metric.unit, "relation": metric.relation, "period": metric.period,
                    "usual": metric.usual, "alert": metric.alert, "type": metric.type,
                }
                for id_, metric in found.items()
            }
        )  # fmt: skip
        return
    rows = [
        (
            id_,
            metric.description.rstrip("."),
            metric.period,
            known.told(metric.unit, metric.usual),
            known.told(metric.unit, metric.alert),
        )
        for id_, metric in found.items()
    ]
    output.show(render.table(("metric", "what it is", "by", "usual", "alert above"), rows))


@baseline.command()
def show(
    metric: Annotated[
        str | None,
        typer.Argument(metavar="[METRIC]", help="The metric; none: all.", autocompletion=_ids),
    ] = None,
    entity: Annotated[
        str, typer.Option("--entity", help="Only this resource, network or principal, by name.")
    ] = "",
    account: Annotated[str, typer.Option("--account", help="Only this account.")] = "",
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="24h ago, or 2026-01-31T00:00Z; default: now."),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out",
            metavar="SINCE/UNTIL",
            help="Learn nothing from this time, as that of an incident; may be repeated.",
        ),
    ] = None,
    json: Json = False,
    png_file: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw it, if it is one.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="The same as a page.")
    ] = None,
) -> None:
    """Show what is normal of everybody who was seen in the last day, and how it was then.

    That is the last hour or day in which there was something to be measured. Whoever is above the
    threshold comes first. Days that are not measured yet are measured first.
    """
    found = _measured(metric, entity, account, at, leave_out or [])
    if entity and not found:
        raise Refused(f"nothing was measured of {entity} in the {known.HISTORY.days} days before")
    if png_file or html_file:
        _draw(found, png_file, html_file)
    elif json:
        document([_plain(one) for one in found])
    else:
        heads = ("metric", "entity", "account", "from", "normal", "now", "threshold", "verdict", "")
        output.show(render.table(heads, [_row(one) for one in found]))


@baseline.command()
def rebuild(json: Json = False) -> None:
    """Measure all days anew that are kept: what was measured of them is thrown away."""
    with _lake.store() as store, progress("measuring"):
        count = Rollup(store).rebuild(_lake.now())
    if json:
        document({"files": count})
    else:
        line(f"{count} days of metrics measured")


def _measured(
    id_: str | None, entity: str, account: str, at: str | None, leave_out: list[str]
) -> list[Measured]:
    metrics = baselining.metrics()
    if id_ is not None and id_ not in metrics:
        raise BadInput("METRIC", id_, f"expected one of {', '.join(metrics)}")
    now = _lake.now()
    until = _lake.instant(at, "--at", now) or now
    with _lake.store() as store, progress("measuring"):
        spans = [*looking.spans_of(store), *map(_span, leave_out)]
        rollup = Rollup(store)
        return [
            one
            for wanted in ([id_] if id_ else metrics)
            for one in baselining.shown(
                wanted, rollup, until, account=account, entity=entity, spans=spans
            )
        ]


def _span(text: str) -> Span:
    begin, slash, end = text.partition("/")
    now = _lake.now()
    since, until = (_lake.instant(part or None, "--leave-out", now) for part in (begin, end))
    if not slash or since is None or until is None or since >= until:
        raise BadInput("--leave-out", text, "expected two times, as 2026-01-30/2026-01-31T12:00Z")
    return Span(since, until)


def _draw(found: list[Measured], png_file: Path | None, html_file: Path | None) -> None:
    if len(found) != 1:
        what = f"expected one metric of one entity, but there are {len(found)}"
        raise BadInput("a picture", "", f"{what}: name METRIC, --entity and --account")
    (one,) = found
    chart = Chart(one.metric, clean(str(one.entity)), one.start, one.course)
    drawings: list[tuple[Path | None, Callable[[], bytes]]] = [
        (png_file, lambda: png(chart)),
        (html_file, lambda: html(chart).encode()),
    ]
    for file, draw in drawings:
        if file is not None:
            _write(file, draw())
            line(f"{file}: {chart.title}")


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadInput("a picture", str(file), f"cannot be written: {error.strerror}") from error


def _row(one: Measured) -> tuple[Any, ...]:
    unit, normal = one.metric.unit, one.normal
    return (
        one.id,
        clean(one.entity.name) or "(all of it)",
        clean(one.entity.account),
        f"{baselining.instant(one.start):%Y-%m-%d %H:%M}",
        known.band_of(unit, normal),
        known.told(unit, one.value),
        known.told(unit, normal.threshold),
        Text(one.verdict, VERDICTS.get(one.verdict, "")),
        known.warmth(one.metric, normal),
    )


def _plain(one: Measured) -> dict[str, Any]:
    entity, normal = one.entity, one.normal
    return {
        "metric": one.id, "cloud": entity.cloud, "account": entity.account,
        "region": entity.region, "kind": entity.kind, "entity": entity.name,
        "start": baselining.instant(one.start), "period": one.metric.period,
        "unit": one.metric.unit, "value": one.value, "low": normal.low, "middle": normal.middle,
        "high": normal.high, "threshold": normal.threshold, "verdict": one.verdict,
        "samples": normal.samples, "days": normal.days, "learned": normal.warm,
        "known": known.warmth(one.metric, normal),
    }  # fmt: skip
