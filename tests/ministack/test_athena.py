"""Athena end to end: files published, tables made, and our SQL asked over the network.

The emulator runs SQL with DuckDB. So this proves that tables, files, types, the days before a query
and the protocol fit together, and that the answer comes back as DuckDB gives it at hand. It does
not prove that Trino, which Athena is, understands a query in the same way; that `portable.check`
refuses whatever it would not is our own reading of its documentation. Nor does the emulator project
partitions: it reads all files below the place of a table. It makes no databases, and puts long
answers elsewhere than it says, so those are left to `tests/lake/test_athena.py`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from firedoor import detecting, errors
from firedoor.cloud import aws as cloud
from firedoor.collector import Blob
from firedoor.detection import Detection, Example
from firedoor.discovery import find
from firedoor.lake import ddl
from firedoor.lake.athena import Athena
from firedoor.lake.publishing import publish
from firedoor.lake.store import Store, Written
from firedoor.log_source import Parsed
from firedoor.relations import RELATIONS, Relation, Type
from firedoor.saved_query import SavedQuery

pytestmark = pytest.mark.fetches

BUCKET = "logs.example.com"
RESULTS = f"s3://{BUCKET}/results/"
TIME = 1_780_000_000_000
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 86_400_000
DETECTIONS = find("firedoor.detections", Detection)
QUERIES = find("firedoor.queries", SavedQuery)
# Whom the examples have calls of, where the defaults name others.
OTHERWISE = {"calls_of_principal": {"actor": "config.amazonaws.com"}}
SAMPLES = {
    Type.TEXT: ('a "quoted" text,\nin two lines', ""),
    Type.WORD: ("word", "Wört"),
    Type.INTEGER: (-(2**63), 2**63 - 1),
    Type.SMALL: (-(2**31), 2**31 - 1),
    Type.REAL: (0.1, -1.5e300),
    Type.FLAG: (True, False),
}
"""Values that are hard to carry, for columns of each type."""
Keep = Callable[[str, Iterable[Mapping[str, Any]]], tuple[Store, Athena]]
# Far enough that no query sees the rows of two examples, and whole weeks.
APART = 56 * DAY


@dataclass(frozen=True)
class Case:
    """One example, at an instant where no other is."""

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    until: datetime
    matches: int


def _cases(examples: Iterable[Example]) -> list[Case]:
    cases = []
    for number, example in enumerate(examples):
        rows = {
            relation: [_later(row, number * APART) for row in given]
            for relation, given in example.rows.items()
        }
        last = max(row["time"] for given in rows.values() for row in given)
        until = datetime.fromtimestamp(last / 1000 + 1, UTC)
        cases.append(Case(rows, until, example.matches))
    return cases


def _later(row: Mapping[str, Any], ms: int) -> dict[str, Any]:
    return {
        name: value + ms if name in ("time", "end_time") and value is not None else value
        for name, value in row.items()
    }


def _samples(relation: Relation) -> list[dict[str, Any]]:
    """Return rows in which every column holds each of its samples, and null."""
    given = {"time", "account", "cloud", *(c.name for c in relation.columns if _follows(c.name))}
    return [
        {"time": TIME + number, "account": "123456789012", "src_ip": "2001:db8::1"}
        | {
            c.name: (*SAMPLES[c.type], None)[number]
            for c in relation.columns
            if c.name not in given
        }
        for number in range(3)
    ]


def _follows(column: str) -> bool:
    """Tell whether a column follows from others."""
    return column == "day" or (column.startswith(("src_", "dst_")) and not column.endswith("_port"))


@pytest.fixture(scope="module")
def endpoint(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an emulator with an engine, and for us no other."""
    port = kit.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "LOG_LEVEL": "ERROR",
        "TMPDIR": str(tmp_path_factory.mktemp("ministack")),
    }
    ours = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": kit.HUB,
        "AWS_SECRET_ACCESS_KEY": "unchecked",
        "AWS_DEFAULT_REGION": kit.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = ("python", str(Path(__file__).with_name("serve.py")))
    health = f"{endpoint}/_ministack/health"
    with (
        kit.running(kit.MINISTACK, *command, **environment, extra=kit.DUCKDB, health=health),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in ours.items():
            patch.setenv(name, value)
        cloud.forget()
        yield endpoint
    cloud.forget()


@pytest.fixture(scope="module")
def keep(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Keep:
    """Keep rows in a store, publish it, and make the tables over it."""
    boto3.Session().client("s3").create_bucket(Bucket=BUCKET)

    def kept(name: str, rows: Iterable[Mapping[str, Any]]) -> tuple[Store, Athena]:
        store = Store(tmp_path_factory.mktemp(name))
        written = Written(store.root, Blob(f"{name}.log", "1", 1, NOW))
        for some in rows:
            written.add(Parsed(detecting.tables(some)))
        written.close()
        store.keep(written, NOW)
        files = store.files()
        place = f"s3://{BUCKET}/{name}"
        publish(store.root, [file.path for file in files], place, cloud.own("s3"))
        engine = Athena(place, database=name, output=RESULTS)
        accounts = {file.account for file in files}
        _, *tables = ddl.statements(place, sorted(accounts), database=name)
        boto3.Session().client("glue").create_database(DatabaseInput={"Name": name})
        for statement in tables:
            if any(f".`{file.relation}`" in statement for file in files):
                engine.execute(statement)
        return store, engine

    return kept


@pytest.fixture(scope="module")
def sampled(keep: Keep) -> tuple[Store, Athena]:
    """Rows of all relations, with values that are hard to carry."""
    return keep("samples", [{one.name: _samples(one) for one in RELATIONS.values()}])


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_detection_matches_as_it_does_at_hand(keep: Keep, id_: str) -> None:
    detection, cases = DETECTIONS[id_], _cases(DETECTIONS[id_].examples)
    store, athena = keep(id_, (case.rows for case in cases))

    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda c: detecting.matches(detection, athena, c.until), cases)
        far = [*map(_plain, answers)]

    with store, store.duck() as duck:
        near = [_plain(detecting.matches(detection, duck, case.until)) for case in cases]
    assert far == near
    assert [len(rows) for rows in far] == [case.matches for case in cases]


@pytest.fixture(scope="module")
def everything(keep: Keep) -> tuple[Store, Athena]:
    """The rows of all examples, as they are."""
    return keep("everything", (e.rows for one in DETECTIONS.values() for e in one.examples))


@pytest.mark.parametrize("id_", sorted(QUERIES))
def test_saved_query_answers_as_it_does_at_hand(everything: tuple[Store, Athena], id_: str) -> None:
    store, athena = everything
    query = QUERIES[id_]
    window = {"since": TIME - 7 * DAY, "until": TIME + DAY}
    params = {**query.params, **OTHERWISE.get(id_, {}), **window}
    with store.duck() as duck:
        near = duck.ask(query.sql, params)

    far = athena.ask(query.sql, params)

    assert _plain(far.to_pylist()) == _plain(near.to_pylist())
    assert far.column_names == near.column_names
    assert far.num_rows > 0


def test_finding_names_the_address_whose_key_does_not_tell_it(keep: Keep) -> None:
    detection = DETECTIONS["port_scan"]
    scan = next(one for one in detection.examples if one.matches)
    rows = {
        name: tuple({**row, "src_ip": "2001:db8::7"} for row in given)
        for name, given in scan.rows.items()
    }
    (case,) = _cases([replace(scan, rows=rows)])
    _, athena = keep("version_6", [case.rows])

    (found,) = detecting.findings("port_scan", detection, athena, case.until)

    assert [*map(str, found.addresses)] == ["2001:db8::7"]


def test_tables_have_the_columns_and_partitions_of_the_relation(
    sampled: tuple[Store, Athena],
) -> None:
    table = (
        boto3.Session()
        .client("glue")
        .get_table(DatabaseName="samples", Name="dns_activity")["Table"]
    )

    columns = {one["Name"]: one["Type"] for one in table["StorageDescriptor"]["Columns"]}
    keys = {one["Name"]: one["Type"] for one in table["PartitionKeys"]}
    relation = RELATIONS["dns_activity"]
    assert columns | keys == {one.name: ddl.TYPES[one.type] for one in relation.columns}
    assert [*keys] == ["day", "account"]
    assert table["Parameters"]["projection.account.values"] == "123456789012,unknown"


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=list(RELATIONS))
def test_every_column_comes_back_as_it_is_at_hand(
    sampled: tuple[Store, Athena], relation: Relation
) -> None:
    store, athena = sampled
    names = ", ".join(column.name for column in relation.columns)
    sql = f"SELECT {names} FROM {relation.name} WHERE time >= :since AND time < :until"
    window = {"since": TIME, "until": TIME + 3}
    with store.duck() as duck:
        near = duck.ask(sql, window)

    far = athena.ask(sql, window)

    assert _plain(far.to_pylist()) == _plain(near.to_pylist())
    assert far.schema == near.schema
    assert far.num_rows == 3


def test_query_that_fails_there_says_why(sampled: tuple[Store, Athena]) -> None:
    _, athena = sampled
    with pytest.raises(errors.CloudError, match="no_such_column"):
        athena.execute("SELECT no_such_column FROM samples.dns_activity")


def _plain(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows in one order, numbers as they print in both."""
    return sorted(str({name: _value(value) for name, value in row.items()}) for row in rows)


def _value(value: Any) -> Any:
    if isinstance(value, Decimal) and value == int(value):
        return int(value)
    return round(value, 9) if isinstance(value, float) else value
