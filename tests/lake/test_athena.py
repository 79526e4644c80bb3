"""Athena's protocol, by an emulator that hands out answers it was given and runs no SQL.

What the SQL of ours means there is another matter: `tests/ministack/test_athena.py`.
"""

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pyarrow as pa
import pytest

from firedoor import detecting, errors
from firedoor.cloud import aws as cloud
from firedoor.detection import Detection
from firedoor.discovery import find
from firedoor.lab.server import EmulatedAws
from firedoor.lake import athena, portable
from firedoor.lake.athena import Athena, Estimate
from firedoor.lake.duck import Duck

BUCKET = "logs.example.com"
PLACE = f"s3://{BUCKET}/firedoor"
RESULTS = f"s3://{BUCKET}/results/"
DAY = 86_400_000
SINCE = 1_769_817_600_000  # 2026-01-31
WINDOW = {"since": SINCE, "until": SINCE + DAY}
SQL = "SELECT count(*) AS rows_seen FROM dns_activity WHERE time >= :since AND time < :until"
COLUMNS = {"n": "bigint", "name": "varchar", "share": "double", "denied": "boolean"}
DETECTIONS = find("firedoor.detections", Detection)


@pytest.fixture
def engine(aws: cloud.Aws) -> Athena:
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return Athena(PLACE, output=RESULTS)


def queue(
    lab: EmulatedAws, columns: Mapping[str, str], rows: Sequence[Sequence[str | None]]
) -> None:
    """Let the next query have this answer, its first row the names, as Athena has it."""
    every = [[*columns], *rows]
    told = [
        {"Data": [{} if value is None else {"VarCharValue": value} for value in row]}
        for row in every
    ]
    info = [
        {"Name": name, "Type": type_, "Precision": 38, "Scale": 0}
        for name, type_ in columns.items()
    ]
    body = json.dumps({"results": [{"rows": told, "column_info": info}]}).encode()
    url = f"{lab.endpoint}/moto-api/static/athena/query-results"
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).close()


def answering(engine: Athena, operation: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what an operation of Athena answers."""
    engine._athena.meta.events.register_first(
        f"after-call.athena.{operation}", lambda parsed, **_: change(parsed)
    )


def asked(engine: Athena) -> list[str]:
    """Return the texts that were asked."""
    client = boto3.client("athena")
    ids = client.list_query_executions()["QueryExecutionIds"]
    return [client.get_query_execution(QueryExecutionId=i)["QueryExecution"]["Query"] for i in ids]


def test_answer_has_the_types_of_its_columns(engine: Athena, lab: EmulatedAws) -> None:
    queue(lab, COLUMNS, [["5000000000", "a", "1.5E10", "true"], [None, None, None, None]])

    answer = engine.ask(SQL, WINDOW)

    types = [pa.int64(), pa.string(), pa.float64(), pa.bool_()]
    assert answer.schema == pa.schema([*zip(COLUMNS, types, strict=True)])
    assert answer.to_pylist() == [
        {"n": 5_000_000_000, "name": "a", "share": 1.5e10, "denied": True},
        dict.fromkeys(COLUMNS),
    ]


def test_answer_without_rows_has_its_columns(engine: Athena, lab: EmulatedAws) -> None:
    queue(lab, COLUMNS, [])

    answer = engine.ask(SQL, WINDOW)

    assert (answer.num_rows, answer.column_names) == (0, [*COLUMNS])


def test_long_answer_is_read_from_the_bucket_and_is_the_same(
    engine: Athena, lab: EmulatedAws
) -> None:
    rows = [
        ["1", "", "NaN", "false"],
        ["2", None, "-Infinity", None],
        ["3", 'two\nlines, ""quoted""', None, "true"],  # the emulator does not escape quotes
    ]
    queue(lab, COLUMNS, rows)
    answering(engine, "GetQueryResults", lambda parsed: parsed.update(NextToken="more"))

    answer = engine.ask(SQL, WINDOW).to_pylist()

    assert [row["name"] for row in answer] == ["", None, 'two\nlines, "quoted"']
    assert [row["n"] for row in answer] == [1, 2, 3]
    assert [row["denied"] for row in answer] == [False, None, True]
    assert str([row["share"] for row in answer]) == "[nan, -inf, None]"


def test_long_answer_that_is_in_no_bucket_is_read_page_by_page(
    engine: Athena, lab: EmulatedAws
) -> None:
    managed = Athena(PLACE)
    pages: list[dict[str, Any]] = []

    def page(parsed: dict[str, Any]) -> None:
        if pages:
            del parsed["ResultSet"]["Rows"][0]  # the names are in the first one alone
        else:
            parsed["NextToken"] = "more"
        pages.append(parsed)

    queue(lab, {"n": "bigint"}, [["1"], ["2"]])
    answering(managed, "GetQueryResults", page)

    answer = managed.ask(SQL, WINDOW)

    assert answer.to_pydict() == {"n": [1, 2, 1, 2]}


def test_text_that_is_asked_is_that_of_the_query_behind_its_days(
    engine: Athena, lab: EmulatedAws
) -> None:
    queue(lab, {"rows_seen": "bigint"}, [["1"]])

    engine.ask(SQL, WINDOW)

    (text,) = asked(engine)
    views, _, rest = text.partition("\n")
    assert rest == portable.bound(SQL, WINDOW)
    assert views.startswith("WITH dns_activity AS (SELECT time, day, ")
    assert views.endswith(
        " FROM firedoor.dns_activity WHERE day BETWEEN '2026-01-31' AND '2026-01-31')"
    )


def test_query_without_instants_is_asked_for_the_days_of_the_engine(
    aws: cloud.Aws, engine: Athena, lab: EmulatedAws
) -> None:
    sql = "SELECT count(*) AS n FROM dns_activity"
    days = date(2026, 1, 30), date(2026, 2, 1)
    queue(lab, {"n": "bigint"}, [["1"]])

    with pytest.raises(errors.BadQuery, match=":since and :until"):
        engine.ask(sql)
    Athena(PLACE, output=RESULTS, days=days).ask(sql)

    (text,) = asked(engine)
    assert "day BETWEEN '2026-01-30' AND '2026-02-01'" in text


@pytest.mark.parametrize(
    ("params", "days"),
    [
        ({"since": SINCE, "until": SINCE + DAY}, (date(2026, 1, 31), date(2026, 1, 31))),
        ({"since": SINCE - 1, "until": SINCE + DAY + 1}, (date(2026, 1, 30), date(2026, 2, 1))),
        ({"since": SINCE, "until": SINCE}, (date(2026, 1, 31), date(2026, 1, 31))),
        (
            {"earlier": SINCE - 7 * DAY, "since": SINCE, "until": SINCE + 1},
            (date(2026, 1, 24), date(2026, 1, 31)),
        ),
        ({"since": SINCE}, None),
    ],
)
def test_days_are_those_of_the_first_and_the_last_row_that_is_looked_at(
    params: dict[str, int], days: athena.Days | None
) -> None:
    assert athena.days(params) == days


# What it costs


@pytest.fixture
def published(engine: Athena) -> Athena:
    """The engine over files of 1000 bytes, of one relation for each of five days."""
    s3 = boto3.client("s3")
    for day in range(28, 33):
        name = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(day - 1)).date().isoformat()
        for relation in ("dns_activity", "network_activity"):
            key = f"firedoor/{relation}/day={name}/account=123456789012/a.parquet"
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x" * 1000)
    return engine


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT count(*) AS n FROM dns_activity", 3000),
        ("SELECT count(*) AS n FROM DNS_Activity", 3000),
        (
            "SELECT count(*) AS n FROM dns_activity AS d"
            " JOIN network_activity AS f ON d.src_key = f.src_key",
            6000,
        ),
        (
            "WITH one AS (SELECT src_key FROM dns_activity) SELECT a.src_key FROM one AS a"
            " JOIN one AS b ON a.src_key = b.src_key",
            6000,
        ),
        ("SELECT count(*) AS n FROM http_activity", 0),
    ],
)
def test_estimate_is_the_size_of_the_files_for_each_time_they_are_read(
    published: Athena, sql: str, read: int
) -> None:
    window = {"since": SINCE - 2 * DAY, "until": SINCE + DAY}

    assert published.estimate(sql, window).bytes == read


def test_query_above_the_limit_is_refused_before_it_is_asked(published: Athena) -> None:
    published.limit = 999

    with pytest.raises(errors.Refused, match=r"up to 1\.0 kB, 0\.01 USD.*raise the limit"):
        published.ask(SQL, WINDOW)

    assert asked(published) == []


def test_estimate_says_what_the_work_group_allows(published: Athena) -> None:
    boto3.client("athena").create_work_group(
        Name="firedoor", Configuration={"BytesScannedCutoffPerQuery": 20_000_000}
    )

    estimate = Athena(PLACE, work_group="firedoor").estimate(SQL, WINDOW)

    assert estimate == Estimate(1000, cutoff=20_000_000)


def test_cost_is_that_of_the_bytes_and_at_least_of_ten_megabytes() -> None:
    assert Estimate(2 * 10**12, None).cost == 10
    assert Estimate(0, None).cost == pytest.approx(0.0000524288)
    assert str(Estimate(2 * 10**12, None)) == "up to 2.0 TB, 10.00 USD"


def test_what_was_really_read_is_counted(engine: Athena, lab: EmulatedAws) -> None:
    answering(engine, "GetQueryExecution", _scanned(700))
    for _ in range(2):
        queue(lab, {"rows_seen": "bigint"}, [["1"]])
        engine.ask(SQL, WINDOW)

    assert engine.scanned == 1400


# What goes wrong


@pytest.mark.parametrize(
    ("reason", "detail", "kind"),
    [
        ("SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved", {}, errors.BadQuery),
        ("TYPE_MISMATCH: line 1:8: cannot apply", {}, errors.BadQuery),
        ("TABLE_NOT_FOUND: line 1:15: Table 'a.b.c' does not exist", {}, errors.NotFound),
        ("SYNTAX_ERROR: line 1:15: Schema firedoor does not exist", {}, errors.NotFound),
        ("PERMISSION_DENIED: Access Denied (Service: Amazon S3)", {}, errors.AccessDenied),
        ("Query exhausted resources at this scale factor", {}, errors.QuotaExceeded),
        ("GENERIC_INTERNAL_ERROR: null", {"ErrorCategory": 1}, errors.Unavailable),
        ("Something new", {"Retryable": True}, errors.Unavailable),
        ("HIVE_BAD_DATA: Field bytes", {"ErrorCategory": 2}, errors.CloudError),
    ],
)
def test_failure_becomes_the_error_that_says_what_to_do(
    engine: Athena, reason: str, detail: dict[str, Any], kind: type[errors.FiredoorError]
) -> None:
    answering(engine, "GetQueryExecution", _ended("FAILED", reason, detail))

    with pytest.raises(kind) as failed:
        engine.ask(SQL, WINDOW)

    assert type(failed.value) is kind
    assert reason in str(failed.value)


def test_query_that_the_work_group_ends_is_refused(engine: Athena) -> None:
    answering(engine, "GetQueryExecution", _ended("CANCELLED", "Bytes scanned limit was exceeded"))

    with pytest.raises(errors.Refused, match="more than it allows"):
        engine.ask(SQL, WINDOW)


def test_what_only_duckdb_understands_is_refused_before_it_is_asked(engine: Athena) -> None:
    with pytest.raises(errors.BadQuery):
        engine.ask("SELECT list(src_ip) AS a FROM dns_activity", WINDOW)

    assert asked(engine) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT src_key FROM somewhere WHERE src_key > 0",
        "WITH dns_activity AS (SELECT src_key FROM network_activity)"
        " SELECT src_key FROM dns_activity",
    ],
)
def test_table_that_is_no_relation_is_refused(engine: Athena, sql: str) -> None:
    with pytest.raises(errors.BadQuery, match="expected"):
        engine.ask(sql, WINDOW)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, errors.Unreachable])
def test_query_that_nobody_waits_for_is_ended(
    engine: Athena, interrupt: type[BaseException]
) -> None:
    def beat() -> None:
        raise interrupt

    waiting = Athena(PLACE, output=RESULTS, beat=beat)
    answering(waiting, "GetQueryExecution", _ended("RUNNING", ""))

    with pytest.raises(interrupt):
        waiting.ask(SQL, WINDOW)

    client = boto3.client("athena")
    (id_,) = client.list_query_executions()["QueryExecutionIds"]
    status = client.get_query_execution(QueryExecutionId=id_)["QueryExecution"]["Status"]
    assert status["State"] == "CANCELLED"


# The days before a query, in the engine that is at hand


class Bounded:
    """DuckDB, asked with the text that Athena gets."""

    def __init__(self, duck: Duck) -> None:
        self._duck = duck

    def ask(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        given = dict(params or {})
        days = athena.days(given)
        assert days is not None
        return self._duck.ask(athena.within(portable.bound(sql, given), days, "main"))


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_days_before_a_detection_change_nothing_of_its_answer(id_: str) -> None:
    """An example again, among the same rows of other days.

    It fails for a detection that looks further back than it says, as Athena could not.
    """
    detection = DETECTIONS[id_]
    example = next(one for one in detection.examples if one.matches)
    last = max(row["time"] for rows in example.rows.values() for row in rows)
    until = datetime.fromtimestamp(last / 1000 + 1, UTC)
    rows = {
        name: [
            {**row, "time": row["time"] - back * DAY}
            for back in (0, detection.reach.days + 1, 90)
            for row in given
        ]
        for name, given in example.rows.items()
    }
    with Duck() as duck:
        duck.put(detecting.tables(rows))
        plain = detecting.matches(detection, duck, until)
        bounded = detecting.matches(detection, Bounded(duck), until)

    assert _sorted(bounded) == _sorted(plain)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT src_key FROM dns_activity",
        "-- why\nSELECT src_key FROM dns_activity;",
        "  with a AS (SELECT src_key FROM dns_activity) SELECT src_key FROM a",
        "/* with */ WITH a AS (SELECT src_key FROM dns_activity) SELECT src_key FROM a -- b",
        "(SELECT src_key FROM dns_activity) UNION ALL (SELECT src_key FROM dns_activity)",
        "SELECT src_key FROM (SELECT src_key FROM dns_activity) AS a",
    ],
)
def test_days_stand_before_a_query_of_any_form(sql: str) -> None:
    rows = [{"time": SINCE + number * DAY, "src_ip": f"192.0.2.{number}"} for number in range(3)]
    text = athena.within(sql, (date(2026, 2, 1), date(2026, 2, 1)), "main")
    with Duck() as duck:
        duck.put(detecting.tables({"dns_activity": rows}))
        found = {row["src_key"] for row in duck.ask(text).to_pylist()}

    assert found == {(192 << 24) + (2 << 8) + 1}


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(str, rows))


def _scanned(size: int) -> Callable[[dict[str, Any]], None]:
    def change(parsed: dict[str, Any]) -> None:
        parsed["QueryExecution"]["Statistics"]["DataScannedInBytes"] = size

    return change


def _ended(
    state: str, reason: str, detail: dict[str, Any] | None = None
) -> Callable[[dict[str, Any]], None]:
    def change(parsed: dict[str, Any]) -> None:
        parsed["QueryExecution"]["Status"] |= {
            "State": state,
            "StateChangeReason": reason,
            "AthenaError": detail or {},
        }

    return change
