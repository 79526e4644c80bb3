"""What the commands about logs share: options, the store, and how an answer is printed."""

import csv
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from firedoor.cli import output, render
from firedoor.detection import Value
from firedoor.errors import BadInput
from firedoor.model.length import Length
from firedoor.settings import settings

if TYPE_CHECKING:
    import pyarrow as pa

    from firedoor.lake.athena import Athena
    from firedoor.lake.ingest import Given
    from firedoor.lake.store import Store

Logs = Annotated[
    list[str] | None,
    typer.Option(
        "--logs",
        metavar="PLACE",
        help="Ask the logs in this file, folder or bucket, instead of those that are kept.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="SOURCE", help="Their format, as `logs sources` names it."),
]
Fields = Annotated[
    str,
    typer.Option(
        "--fields", metavar="NAMES", help="The columns of flow logs without a header, in order."
    ),
]
Account = Annotated[
    str, typer.Option("--account", help="The account of logs that do not tell theirs.")
]
Region = Annotated[str, typer.Option("--region", help="Their region, likewise.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="24h, 7d or 2026-01-31T00:00Z."),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Likewise; default: now.")
]
Place = Annotated[
    str | None,
    typer.Option(
        "--place", metavar="s3://...", help="Where `logs publish` put them; else FIREDOOR_ATHENA."
    ),
]
Limit = Annotated[
    float, typer.Option("--limit", metavar="GB", help="How much one question may read, at most.")
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Set a parameter; may be repeated."),
]


EARLIEST, LATEST = 1970, 9000
"""The years of times that can be reckoned with."""


class Where(StrEnum):
    """Which engine is asked."""

    DUCKDB = "duckdb"
    ATHENA = "athena"


Engine = Annotated[Where, typer.Option("--engine", help="Which engine is asked.")]


class Table(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def given(
    source: str | None = None, fields: str = "", account: str = "", region: str = ""
) -> "Given":
    """Return what the options say about logs; raises `BadInput`."""
    from firedoor.discovery import find
    from firedoor.lake.ingest import Given
    from firedoor.log_source import LogSource

    known = find("firedoor.logs", LogSource)
    if source is not None and source not in known:
        raise BadInput("--format", source, f"expected one of {', '.join(known)}")
    return Given(source, fields, account, region, settings().own_networks)


def store() -> "Store":
    """Return the store of this installation."""
    from firedoor.lake.store import Store

    return Store(settings().store)


def now() -> datetime:
    """Return the instant that a command is about."""
    return datetime.now(UTC)


def instant(text: str | None, option: str, at: datetime) -> datetime | None:
    """Return a time that an option says: a date, an instant, or how long before `at`."""
    if text is None:
        return None
    try:
        found = _ago(text, option, at) or datetime.fromisoformat(text)
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        what = "expected how long ago, as 24h or 7d, or a time, as 2026-01-31T08:00Z"
        raise BadInput(option, text, what) from error
    if not EARLIEST <= found.year <= LATEST:
        raise BadInput(option, text, f"expected a time from {EARLIEST} to {LATEST}")
    return found


def _ago(text: str, option: str, at: datetime) -> datetime | None:
    with suppress(BadInput):
        return at - length(text, option)
    return None


def length(text: str, option: str) -> timedelta:
    """Return a length of time that an option says; raises `BadInput`."""
    try:
        return TypeAdapter(Length).validate_python(text)
    except ValidationError as error:
        raise BadInput(option, text, str(error.errors()[0]["msg"])) from error


def span(since: str | None, until: str | None, default: timedelta) -> tuple[datetime, datetime]:
    """Return the time between two options."""
    end = instant(until, "--until", now()) or now()
    return instant(since, "--since", end) or end - default, end


def params(texts: Iterable[str] | None, known: Mapping[str, Value]) -> dict[str, Value]:
    """Return parameters as they are set on the command line, each of the type of its default."""
    found: dict[str, Value] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput("--param", text, "expected NAME=VALUE")
        if known and name not in known:
            raise BadInput("--param", name, f"expected one of {', '.join(known) or 'none'}")
        found[name] = _typed(value, known.get(name), name)
    return found


def _typed(text: str, default: Value | None, name: str) -> Value:
    for kind in (int, float):
        try:
            if default is None or isinstance(default, kind):
                return kind(text)
        except ValueError:
            if isinstance(default, kind):
                raise BadInput("--param", f"{name}={text}", "expected a number") from None
    return text


def rows(names: list[str], found: list[dict[str, Any]], how: Table) -> None:
    """Print rows: for people, as JSON lines, or as CSV."""
    match how:
        case Table.JSON:
            for row in found:
                output.record(row)
        case Table.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_cell(row[name]) for name in names] for row in found)
        case Table.TABLE:
            cells = [tuple(output.one_line(_cell(row[name])) for name in names) for row in found]
            output.show(render.table(tuple(names), cells))


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def athena(
    place: str | None, limit: float, span: tuple[datetime, datetime] | None = None
) -> "Telling":
    """Return Athena over what was published; raises `BadInput` where nobody says where that is.

    `span` is the time of questions that do not say theirs.
    """
    from firedoor.lake.athena import Athena

    given = settings()
    where = place or given.athena
    if where is None:
        what = "name the place of `logs publish`, here or in FIREDOOR_ATHENA"
        raise BadInput("--place", "", what)
    return Telling(
        Athena(
            where,
            work_group=given.athena_work_group,
            output=given.athena_results,
            limit=round(limit * 1e9),
            days=(span[0].date(), span[1].date()) if span else None,
        )
    )


class Telling:
    """Athena, saying before each question what it may cost, and after it what it read."""

    def __init__(self, athena: "Athena", name: str = "the question") -> None:
        self.athena, self._name = athena, name

    def named(self, name: str) -> "Telling":
        """Return the same for a question of another name."""
        return Telling(self.athena, name)

    def ask(self, sql: str, params: Mapping[str, Value] | None = None) -> "pa.Table":
        """Return the answer to a query."""
        output.complain(f"{self._name}: {self.athena.estimate(sql, params)}")
        before = self.athena.scanned
        answer = self.athena.ask(sql, params)
        output.complain(f"{self._name}: read {(self.athena.scanned - before) / 1e6:.1f} MB")
        return answer
