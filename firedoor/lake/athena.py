"""Athena: the engine that asks, with the text that DuckDB gets, what is published to a bucket.

Athena reads a whole table unless a query names days, and ours bound `time` alone. So a query is put
behind a WITH in which each relation is its rows of the days in question, under its own name.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Any, Final
from urllib.parse import urlparse

import pyarrow as pa
import sqlglot
from botocore.exceptions import BotoCoreError
from pyarrow import csv
from sqlglot import TokenType, exp

from firedoor.cloud import aws
from firedoor.errors import (
    AccessDenied,
    BadQuery,
    CloudError,
    FiredoorError,
    NotFound,
    QuotaExceeded,
    Refused,
    Unavailable,
)
from firedoor.lake import portable
from firedoor.lake.ddl import DATABASE, bucket_and_prefix
from firedoor.relations import RELATIONS

PERMISSIONS: Final = (
    "athena:GetQueryExecution",
    "athena:GetQueryResults",
    "athena:GetWorkGroup",
    "athena:StartQueryExecution",
    "athena:StopQueryExecution",
    "glue:GetDatabase",
    "glue:GetTable",
    "s3:AbortMultipartUpload",
    "s3:GetBucketLocation",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
)
"""What one needs to ask; of the rights to S3, writing is for the place of the results alone."""
PRICE: Final = 5.0
"""US dollars for a terabyte that is read, in most regions."""
BILLED: Final = 10 << 20
"""What a query costs at least, in bytes."""
LIMIT: Final = 100 * 10**9
"""How much a query may read where nothing else is said, in bytes."""
PAGE: Final = 1000
"""How many rows Athena hands out itself; where there are more, they are read from the bucket."""
FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0

TYPES: Final[Mapping[str, pa.DataType]] = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float64(),
    "real": pa.float64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}
"""What is not here is text."""

# What begins the reason of a failure whose cause is the query. https://trino.io/docs/current/
_WRONG: Final = {
    "SYNTAX_ERROR", "COLUMN_NOT_FOUND", "TYPE_MISMATCH", "FUNCTION_NOT_FOUND", "AMBIGUOUS_NAME",
    "AMBIGUOUS_FUNCTION_CALL", "COLUMN_TYPE_UNKNOWN", "DIVISION_BY_ZERO", "DUPLICATE_COLUMN_NAME",
    "DUPLICATE_NAMED_QUERY", "EXPRESSION_NOT_AGGREGATE", "EXPRESSION_NOT_IN_DISTINCT",
    "EXPRESSION_NOT_SCALAR", "INVALID_ARGUMENTS", "INVALID_CAST_ARGUMENT",
    "INVALID_COLUMN_REFERENCE", "INVALID_FUNCTION_ARGUMENT", "INVALID_LITERAL",
    "INVALID_WINDOW_FRAME", "MISMATCHED_COLUMN_ALIASES", "MISSING_GROUP_BY", "MISSING_OVER",
    "NESTED_AGGREGATION", "NESTED_WINDOW", "NOT_SUPPORTED", "NUMERIC_VALUE_OUT_OF_RANGE",
    "SUBQUERY_MULTIPLE_ROWS", "TOO_MANY_ARGUMENTS",
}  # fmt: skip
_NO_TABLE: Final = re.compile(
    r"(TABLE|SCHEMA|CATALOG)_NOT_FOUND|(Table|Schema) '?\S+'? does not exist"
    r"|EntityNotFoundException"
)
_DENIED: Final = re.compile(
    r"access ?denied|not authorized|insufficient permission|PERMISSION_DENIED", re.IGNORECASE
)
_TOO_MUCH: Final = re.compile(r"EXCEEDED_\w+|exhausted resources|query timeout", re.IGNORECASE)
_MALFORMED: Final = re.compile(r"line \d+:\d+|Queries of this type|Only one sql statement")

Days = tuple[date, date]
"""The first day and the last."""


@dataclass(frozen=True)
class Estimate:
    """How much a query reads at most: all columns of all files of its days."""

    bytes: int
    cutoff: int | None
    """Where the work group ends a query, in bytes."""

    @property
    def cost(self) -> float:
        """What that costs, in US dollars."""
        return max(self.bytes, BILLED) / 10**12 * PRICE

    def __str__(self) -> str:
        cents = math.ceil(self.cost * 100) / 100
        return f"up to {_told(self.bytes)}, {cents:.2f} USD"


class Athena:
    """The tables over one place `s3://bucket/prefix`, as `firedoor.lake.ddl` makes them.

    Work group and `output` say where Athena puts its results; "" leaves that to the work group.
    `days` are those of queries whose parameters do not say them. `beat` is called while a query
    runs; whatever it raises, like Ctrl-C, ends the query there too. Sizes are listed once: make
    another engine for what is published later.
    """

    def __init__(
        self,
        place: str,
        *,
        database: str = DATABASE,
        work_group: str = "primary",
        output: str = "",
        region: str = "",
        limit: int = LIMIT,
        days: Days | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.limit = limit
        self.scanned = 0
        """How many bytes Athena has read for us, as it says itself."""
        self._bucket, self._prefix = bucket_and_prefix(place)
        self._database, self._work_group, self._output = database, work_group, output
        self._days, self._beat = days, beat
        self._athena, self._s3 = aws.own("athena", region), aws.own("s3", region)
        self._sizes: dict[tuple[str, Days], int] = {}

    def ask(self, sql: str, params: Mapping[str, portable.Value] | None = None) -> pa.Table:
        """Return the answer to a query with its parameters.

        Raises `BadQuery`, `Refused` for one that may read more than `limit`, and `CloudError`.
        """
        estimate = self.estimate(sql, params)
        if estimate.bytes > self.limit:
            raise Refused(
                f"the query reads {estimate}, and the limit is {_told(self.limit)}: ask for fewer"
                " days, or raise the limit"
            )
        text = within(portable.bound(sql, params or {}), self._days_of(params), self._database)
        return self._answer(self._run(text, {"Database": self._database}))

    def estimate(self, sql: str, params: Mapping[str, portable.Value] | None = None) -> Estimate:
        """Return how much a query reads at most, without asking it; raises `BadQuery`."""
        portable.check(sql)
        days = self._days_of(params)
        text = portable.bound(sql, params or {})
        read = sum(times * self._size(name, days) for name, times in _scans(text).items())
        return Estimate(read, self._cutoff)

    def execute(self, statement: str) -> None:
        """Run a statement that makes or drops a table."""
        self._run(statement)

    def _days_of(self, params: Mapping[str, portable.Value] | None) -> Days:
        found = days(params or {}) or self._days
        if found is None:
            what = "expected :since and :until: without them Athena reads all days that there are"
            raise BadQuery("query", "", what)
        return found

    def _size(self, relation: str, wanted: Days) -> int:
        """Return the size of the files of a relation of some days."""
        if (relation, wanted) not in self._sizes:
            folder = "/".join(filter(None, (self._prefix, relation))) + "/"
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{folder}day=", StartAfter=f"{folder}day={wanted[0]}"
            )
            end = f"{folder}day={wanted[1] + timedelta(days=1)}"
            size = 0
            for page in pages:
                found = [one for one in page.get("Contents", ()) if one["Key"] < end]
                size += sum(one["Size"] for one in found)
                if len(found) < len(page.get("Contents", ())):
                    break
            self._sizes[relation, wanted] = size
        return self._sizes[relation, wanted]

    @cached_property
    def _cutoff(self) -> int | None:
        group = self._athena.get_work_group(WorkGroup=self._work_group)["WorkGroup"]
        found: int | None = group.get("Configuration", {}).get("BytesScannedCutoffPerQuery")
        return found

    def _run(self, text: str, context: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run a statement to its end, and return what Athena says of it then."""
        start = partial(
            self._athena.start_query_execution, QueryString=text, WorkGroup=self._work_group
        )
        options: dict[str, Any] = {"QueryExecutionContext": dict(context)} if context else {}
        if self._output:
            options["ResultConfiguration"] = {"OutputLocation": self._output}
        with _malformed():
            id_ = start(**options)["QueryExecutionId"]
        try:
            execution = self._ended(id_)
        except BaseException:  # Ctrl-C too: what nobody waits for would be paid for all the same
            with suppress(FiredoorError):
                self._athena.stop_query_execution(QueryExecutionId=id_)
            raise
        self.scanned += execution.get("Statistics", {}).get("DataScannedInBytes", 0)
        if execution["Status"]["State"] != "SUCCEEDED":
            raise _failure(execution)
        return execution

    def _ended(self, id_: str) -> dict[str, Any]:
        wait = FIRST_WAIT
        while True:
            execution: dict[str, Any] = self._athena.get_query_execution(QueryExecutionId=id_)[
                "QueryExecution"
            ]
            if execution["Status"]["State"] not in ("QUEUED", "RUNNING"):
                return execution
            self._beat()
            time.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT)

    def _answer(self, execution: Mapping[str, Any]) -> pa.Table:
        asked = {"QueryExecutionId": execution["QueryExecutionId"], "MaxResults": PAGE}
        page = self._athena.get_query_results(**asked)
        columns = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
        names, types = [one["Name"] for one in columns], [_type(one) for one in columns]
        place = (execution.get("ResultConfiguration") or {}).get("OutputLocation")
        if "NextToken" in page and place:
            return self._from_bucket(place, types).rename_columns(names)
        rows = page["ResultSet"]["Rows"][1:]  # the first holds the names
        while "NextToken" in page:  # Athena keeps the answer itself
            page = self._athena.get_query_results(**asked, NextToken=page["NextToken"])
            rows += page["ResultSet"]["Rows"]
        texts = [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows]
        arrays = [
            pa.array([row[number] for row in texts], pa.string()).cast(type_)
            for number, type_ in enumerate(types)
        ]
        return pa.table(arrays, names=names)

    def _from_bucket(self, place: str, types: Sequence[pa.DataType]) -> pa.Table:
        """Return the answer from the file that Athena wrote of it, in one go."""
        url = urlparse(place)
        found = self._s3.get_object(Bucket=url.netloc, Key=url.path.lstrip("/"))
        numbered = [str(number) for number in range(len(types))]  # two columns may have one name
        try:
            return csv.read_csv(
                found["Body"],
                csv.ReadOptions(column_names=numbered, skip_rows=1, block_size=32 << 20),
                csv.ParseOptions(newlines_in_values=True),
                # An empty text has quotes, and null has none.
                csv.ConvertOptions(
                    column_types=dict(zip(numbered, types, strict=True)),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except BotoCoreError as error:
            raise Unavailable(type(error).__name__, str(error), "GetObject") from error


def within(sql: str, wanted: Days, schema: str) -> str:
    """Return a query that sees of each relation in a schema the rows of some days, and no others.

    Its own text stays as it is.
    """
    first, last = (f"'{day.isoformat()}'" for day in wanted)
    views = []
    for name in _scans(sql):
        columns = ", ".join(column.name for column in RELATIONS[name].columns)
        views.append(
            f"{name} AS (SELECT {columns} FROM {schema}.{name}"  # noqa: S608
            f" WHERE day BETWEEN {first} AND {last})"
        )
    text = sql.strip().removesuffix(";")
    if not views:
        return text
    first_word = sqlglot.tokenize(text, read="duckdb")[0]
    if first_word.token_type is TokenType.WITH:
        end = first_word.end + 1
        return f"{text[:end]} {', '.join(views)},{text[end:]}"
    return f"WITH {', '.join(views)}\n{text}"


def days(params: Mapping[str, portable.Value]) -> Days | None:
    """Return the days that a query with these parameters looks at, if they say that.

    They are from :earlier, or else :since, to before :until.
    """
    first, until = params.get("earlier", params.get("since")), params.get("until")
    if not isinstance(first, int) or not isinstance(until, int):
        return None
    return _instant(first).date(), _instant(max(first, until - 1)).date()


def _scans(sql: str) -> Mapping[str, int]:
    """Return how often a query reads each relation.

    What a name in WITH stands for is read as often as the name is used: Athena works it out anew
    each time. Raises `BadQuery` for what is no relation, or only looks like one.
    """
    tree = sqlglot.parse_one(sql, read="duckdb")
    named = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    tables = [(table.name.lower(), _owner(table)) for table in tree.find_all(exp.Table)]

    def times(owner: str) -> int:
        uses = [user for name, user in tables if name == owner and user != owner]
        return sum(map(times, uses)) if owner else 1

    found: dict[str, int] = {}
    for name, owner in tables:
        if name not in named:
            found[name] = found.get(name, 0) + times(owner)
    for name in [*(found.keys() - RELATIONS.keys()), *(named & RELATIONS.keys())]:
        raise BadQuery("query", name, f"expected one of {', '.join(RELATIONS)}, and under no WITH")
    return found


def _owner(table: exp.Expression) -> str:
    """Return the name in WITH that a table is read for; nothing if it is the query itself."""
    cte = table.find_ancestor(exp.CTE)
    return cte.alias.lower() if cte else ""


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _type(column: Mapping[str, Any]) -> pa.DataType:
    if column["Type"] == "decimal":
        return pa.decimal128(column["Precision"], column["Scale"])
    return TYPES.get(column["Type"], pa.string())


@contextmanager
def _malformed() -> Iterator[None]:
    """Let a query that Athena does not even begin be a bad one."""
    try:
        yield
    except CloudError as error:
        if error.code == "InvalidRequestException" and _MALFORMED.search(str(error)):
            raise BadQuery("query", "", str(error)) from error
        raise


def _failure(execution: Mapping[str, Any]) -> FiredoorError:
    """Return the error of a query that did not succeed."""
    status = execution["Status"]
    reason = status.get("StateChangeReason", "")
    code = reason.partition(":")[0]
    told = (status["State"], reason, "StartQueryExecution", execution["QueryExecutionId"])
    detail = status.get("AthenaError", {})
    if "Bytes scanned limit" in reason:
        what = "the work group ended the query, which read more than it allows: ask for fewer days"
        return Refused(f"{what} (query {execution['QueryExecutionId']})")
    if _NO_TABLE.search(reason):
        hint = f"{reason}; `firedoor logs ddl` shows how to make the tables"
        return NotFound(told[0], hint, *told[2:])
    if code in _WRONG:
        return BadQuery("query", "", reason)
    if _DENIED.search(reason):
        return AccessDenied(*told)
    if _TOO_MUCH.search(reason):
        return QuotaExceeded(*told)
    if detail.get("Retryable") or detail.get("ErrorCategory") == 1:
        return Unavailable(*told)
    return CloudError(*told)


def _told(size: int) -> str:
    """Return a size as people read it."""
    for unit, one in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size / 1000:.1f} kB"
