"""Logs: read them into the store, ask them, and turn them on where they are off."""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firedoor.cli import _lake, output, render
from firedoor.cli._lake import (
    Account,
    Engine,
    Fields,
    Format,
    Limit,
    Logs,
    Params,
    Place,
    Region,
    Since,
    Table,
    Until,
    Where,
)
from firedoor.cli.arguments import Yes
from firedoor.cli.output import Json, document, line, progress, record
from firedoor.discovery import find
from firedoor.errors import BadInput
from firedoor.settings import settings

if TYPE_CHECKING:
    from firedoor.lake.ingest import Given

app = typer.Typer(rich_markup_mode=None)
logs = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(logs, name="logs", help="Read network and API logs, and ask them.")

LEFT_OUT = 1
"""How a command ends that has left something out."""
DAY = timedelta(days=1)
Opened = AbstractContextManager[tuple[Any, list[str]]]
"""What can be asked, and what of it could not be read."""
ALWAYS = {"since": 0, "until": 1 << 62}


def _switches(incomplete: str) -> list[str]:
    from firedoor.switch import Switch

    return [id_ for id_ in find("firedoor.enabling", Switch) if id_.startswith(incomplete)]


Places = Annotated[
    list[str],
    typer.Argument(
        metavar="PLACE...",
        help="Files, folders, s3://, gs://, Azure container URLs, or cloudwatch://GROUP.",
    ),
]


@logs.command()
def ingest(
    places: Places,
    source: Format = None,
    fields: Fields = "",
    account: Account = "",
    region: Region = "",
    since: Since = None,
    again: Annotated[
        bool, typer.Option("--again", help="Try once more what could not be read before.")
    ] = False,
    json: Json = False,
) -> None:
    """Read what is new in places into the store: each object once.

    What cannot be read is named with its reason and kept, the rest goes on, and the exit status is
    1: `firedoor logs refused` shows it.
    """
    from firedoor.lake.ingest import ingest as read
    from firedoor.lake.ingest import tidy

    now = _lake.now()
    from_ = _lake.instant(since, "--since", now)
    given = _lake.given(source, fields, account, region)
    objects = rows = left_out = 0
    with _lake.store() as store:
        with progress("reading"):
            for seen in read(places, store, given, now, from_, again=again):
                objects, rows = objects + 1, rows + seen.rows
                left_out += bool(seen.problem or seen.refused)
                if seen.problem or seen.refused:
                    output.complain(f"{seen.name}: {_problem(seen)}")
                if json:
                    record(seen.__dict__)
        with progress("compacting"):
            tidy(store, settings().log_days, now)
    if not json:
        line(f"{objects} objects with {rows} rows" + (f", {left_out} not whole" * bool(left_out)))
    if left_out:
        raise typer.Exit(LEFT_OUT)


@logs.command()
def query(
    sql: Annotated[str | None, typer.Argument(metavar="[SQL]", help="The question.")] = None,
    saved: Annotated[
        str | None, typer.Option("--saved", metavar="NAME", help="A saved query instead.")
    ] = None,
    param: Params = None,
    since: Since = None,
    until: Until = None,
    logs: Logs = None,
    source: Format = None,
    fields: Fields = "",
    engine: Engine = Where.DUCKDB,
    place: Place = None,
    limit: Limit = 100.0,
    how: Annotated[Table, typer.Option("--output", "-o", help="How to print rows.")] = Table.TABLE,
    json: Json = False,
) -> None:
    """Ask the logs that are kept, or logs where they lie, in SQL.

    `firedoor logs tables` names relations and columns. `:since` and `:until` in the question are
    the bounds of --since and --until, in epoch milliseconds; by default the last 24 hours.
    """
    from firedoor.lake import portable
    from firedoor.lake.engine import addresses

    text, defaults = _question(sql, saved)
    start, end = _lake.span(since, until, DAY)
    values = defaults | _lake.params(param, defaults)
    needed = portable.parameters(text)
    bounds = {"since": int(start.timestamp() * 1000), "until": int(end.timestamp() * 1000)}
    values |= {name: at for name, at in bounds.items() if name in needed}
    bounded = bool(since or until or "since" in needed)
    given = _lake.given(source, fields)
    if logs and engine is Where.ATHENA:
        raise BadInput("--logs", "", "Athena is asked for what was published: leave one out")
    if logs and (since or until) and not needed & bounds.keys():
        raise BadInput("--since", "", "the question has no :since and :until to be put there")
    if engine is Where.ATHENA:
        opened: Opened = nullcontext((_lake.athena(place, limit, (start, end)), []))
    else:
        opened = _engine(logs, given, text, (start, end) if bounded else None)
    with opened as (asked, problems), progress("asking"):
        answer = asked.ask(text, values)
        names, found = answer.column_names, answer.to_pylist()
        keys = [one.name for one in answer.schema if _is_key(one)]
        within = bounds if bounded or engine is Where.ATHENA else ALWAYS
        texts = addresses((row[name] for row in found for name in keys), text, asked, within)
    found = [row | {name: texts.get(row[name], row[name]) for name in keys} for row in found]
    _lake.rows(names, found, Table.JSON if json else how)
    if problems:
        raise typer.Exit(LEFT_OUT)


@logs.command()
def queries(json: Json = False) -> None:
    """List the saved queries."""
    from firedoor.saved_query import SavedQuery

    known = find("firedoor.queries", SavedQuery)
    if json:
        document({id_: one.__dict__ for id_, one in known.items()})
        return
    output.show(render.table(("query", "asks"), [(id_, one.title) for id_, one in known.items()]))


@logs.command()
def sources(json: Json = False) -> None:
    """List the log formats that can be read."""
    from firedoor.log_source import LogSource

    known = find("firedoor.logs", LogSource)
    if json:
        document({id_: [one.title, *one.relations] for id_, one in known.items()})
        return
    rows = [(id_, one.title, ", ".join(one.relations)) for id_, one in known.items()]
    output.show(render.table(("source", "reads", "into"), rows))


@logs.command()
def tables(
    relation: Annotated[str | None, typer.Argument(metavar="[RELATION]")] = None,
    json: Json = False,
) -> None:
    """List the relations, or the columns of one."""
    from firedoor.relations import RELATIONS

    if relation is None:
        if json:
            document({name: one.description for name, one in RELATIONS.items()})
            return
        rows = [(name, str(one.class_uid), one.description) for name, one in RELATIONS.items()]
        output.show(render.table(("relation", "OCSF", "holds"), rows))
        return
    if relation not in RELATIONS:
        raise BadInput("relation", relation, f"expected one of {', '.join(RELATIONS)}")
    columns = RELATIONS[relation].columns
    if json:
        document([column.__dict__ for column in columns])
        return
    cells = [(c.name, c.type.value, c.ocsf, c.description) for c in columns]
    output.show(render.table(("column", "type", "OCSF", "holds"), cells))


@logs.command()
def refused(
    name: Annotated[
        str | None, typer.Argument(metavar="[OBJECT]", help="An object: its lines, with reasons.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what could not be read, and why."""
    with _lake.store() as store:
        if name is not None:
            seen = store.seen(name)
            if seen is None:
                raise BadInput("object", name, "it was never read: `logs refused` lists them")
            if not json and seen.problem:
                line(seen.problem)
            for one in store.refusals(name):
                text = one.text.decode("utf-8", "replace")
                if json:
                    record({"number": one.number, "reason": one.reason, "text": text})
                else:
                    line(f"{one.number}: {one.reason}: {output.one_line(text)[:200]}")
            return
        found = store.problems()
        if json:
            document([seen.__dict__ for seen in found])
            return
        rows = [(seen.name, seen.source or "", _problem(seen)) for seen in found]
        output.show(render.table(("object", "source", "problem"), rows))


@logs.command()
def status(json: Json = False) -> None:
    """Show what is kept: rows, bytes and days of each relation."""
    kept: dict[str, dict[str, Any]] = {}
    with _lake.store() as store:
        for file in store.files():
            one = kept.setdefault(
                file.relation,
                {"rows": 0, "bytes": 0, "files": 0, "first": file.day, "last": file.day},
            )
            one["rows"] += file.rows
            one["bytes"] += file.size
            one["files"] += 1
            one["first"], one["last"] = min(one["first"], file.day), max(one["last"], file.day)
    if json:
        document({name: {k: str(v) if k in ("first", "last") else v for k, v in one.items()}
                  for name, one in kept.items()})  # fmt: skip
        return
    rows = [
        (name, f"{one['rows']:,}", f"{one['bytes'] / 1e6:,.1f} MB", str(one["files"]),
         str(one["first"]), str(one["last"]))
        for name, one in kept.items()
    ]  # fmt: skip
    output.show(render.table(("relation", "rows", "size", "files", "from", "to"), rows))


@logs.command()
def ddl(
    place: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where logs lie.")],
    account: Annotated[
        list[str] | None,
        typer.Option("--account", help="An account whose rows are found; default: those kept."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Let Athena run it.")] = False,
    json: Json = False,
) -> None:
    """Print the tables over published logs, for Athena: it finds new days by itself.

    Run it again when there is an account more: rows of others are not found.
    """
    from firedoor.lake import ddl as tables

    with _lake.store() as store:
        accounts = account or sorted({file.account for file in store.files()})
    statements = tables.statements(place, accounts)
    if json:
        document(statements)
    else:
        for statement in statements:
            for text in f"{statement};".splitlines():
                line(text)
    if run:
        athena = _lake.athena(place, 0).athena
        for statement in statements:
            with progress("making tables"):
                athena.execute(statement)


@logs.command()
def publish(
    place: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where to put them.")],
    json: Json = False,
) -> None:
    """Put the logs that are kept into a bucket, as they are here, for Athena to ask."""
    from firedoor.cloud import aws
    from firedoor.lake.publishing import publish as put

    with _lake.store() as store, progress("publishing"):
        done = put(store.root, [file.path for file in store.files()], place, aws.own("s3"))
    if json:
        document(done.__dict__)
    else:
        line(f"{done.sent} files sent, {done.there} were there, {done.deleted} deleted")


@logs.command()
def enable(
    switches: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SWITCH...]",
            help="What to turn on; none lists what there is.",
            autocompletion=_switches,
        ),
    ] = None,
    account: Annotated[
        str, typer.Option("--account", help="Account, subscription or project.")
    ] = "",
    region: Annotated[str, typer.Option("--region", help="Region or location.")] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="PLACE", help="s3://..., gs://..., a storage account.")
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ID", help="Only these networks ...")
    ] = None,
    fields: Annotated[
        str, typer.Option("--fields", help="Fields of flow logs: usual, or all.")
    ] = "usual",
    organization: Annotated[
        str, typer.Option("--organization", help="Number of the organization in Google Cloud.")
    ] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Do it, once you have read it.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Show what turns logs and detectors on, and with --apply do it.

    Azure and Google Cloud are never changed: their commands are printed for you to run.
    """
    from firedoor.switch import Order, Switch

    known = find("firedoor.enabling", Switch)
    if not switches:
        rows = [
            (id_, one.title, "applied" if one.apply else "printed") for id_, one in known.items()
        ]
        output.show(render.table(("switch", "turns on", ""), rows))
        return
    if fields not in ("usual", "all"):
        raise BadInput("--fields", fields, "expected usual or all")
    order = Order(
        account=account, region=region, destination=to, only=tuple(only or ()),
        all_fields=fields == "all", organization=organization,
    )  # fmt: skip
    planned = [(_switch(id_, known), id_) for id_ in switches]
    with progress("looking"):
        steps = [(switch, id_, step) for switch, id_ in planned for step in switch.plan(order)]
    if json:
        document([{"switch": id_, **step.__dict__} for _, id_, step in steps])
    else:
        for _, id_, step in steps:
            _show(id_, step)
    todo = [(switch, step) for switch, _, step in steps if not step.done and switch.apply]
    if not apply or not todo:
        return
    if output.can_ask() and not yes:
        if not output.confirm(f"Make these {len(todo)} changes?"):
            raise typer.Exit(LEFT_OUT)
    elif not yes:
        raise BadInput("no terminal to ask on", "", "give --yes")
    for switch, step in todo:
        with progress(step.title):
            switch.apply(step, order)
        line(f"done: {step.title}")


def _switch(id_: str, known: Any) -> Any:
    if id_ not in known:
        raise BadInput("switch", id_, "no such switch: `firedoor logs enable` lists them")
    return known[id_]


def _show(id_: str, step: Any) -> None:
    """Print a step: what is there, what it would do, how to take it back, and what it costs."""
    line(f"{id_}: {step.title}" + (" (there already)" if step.done else ""))
    if step.found:
        line(f"  found: {step.found}")
    for command in step.commands:
        line(f"  $ {command}")
    for command in step.undo if not step.done else ():
        line(f"  undo: {command}")
    for told in filter(None, (step.cost, step.note)):
        line(f"  {told}")


def _is_key(column: Any) -> bool:
    return column.name.endswith("_key") and str(column.type) in ("int64", "uint64", "int32")


def _problem(seen: Any) -> str:
    lines = f"{seen.refused} lines refused" if seen.refused else ""
    return "; ".join(filter(None, (seen.problem, lines)))


def _question(sql: str | None, saved: str | None) -> tuple[str, dict[str, Any]]:
    """Return the SQL and the defaults of its parameters; raises `BadInput`."""
    from firedoor.saved_query import SavedQuery

    if (sql is None) == (saved is None):
        raise BadInput("query", "", "give one question: SQL, or --saved NAME")
    if sql is not None:
        return sql, {}
    known = find("firedoor.queries", SavedQuery)
    if saved not in known:
        raise BadInput("--saved", str(saved), f"expected one of {', '.join(known)}")
    return known[saved].sql, dict(known[saved].params)


@contextmanager
def _engine(
    places: list[str] | None,
    given: "Given",
    sql: str,
    bounds: tuple[datetime, datetime] | None,
) -> Iterator[tuple[Any, list[str]]]:
    """Open what a question is put to, and say what of it could not be read."""
    if not places:
        with _lake.store() as store, store.duck(*(bounds or ())) as duck:
            yield duck, []
        return
    from firedoor.lake.duck import Duck
    from firedoor.lake.straight import fill

    with tempfile.TemporaryDirectory() as spill, Duck(Path(spill)) as duck:
        problems = []
        with progress("reading"):
            for problem in fill(duck, places, given, [sql]):
                output.complain(problem)
                problems.append(problem)
        yield duck, problems
