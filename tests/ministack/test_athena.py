"""Athena end to end: files published, tables made, and our SQL asked over the network.

The emulator runs SQL with DuckDB. So this proves that tables, files, types, the days before a query
and the protocol fit together, and that the answer comes back as DuckDB gives it at hand. It does
not prove that Trino, which Athena is, understands a query in the same way; that `portable.check`
refuses whatever it would not is our own reading of its documentation. Nor does the emulator project
partitions: it reads all files below the place of a table. It makes no databases, and puts long
answers elsewhere than it says, so those are left to `tests/lake/test_athena.py`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
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

pytestmark = pytest.mark.fetches

BUCKET = "logs.example.com"
PLACE = f"s3://{BUCKET}/firedoor"
RESULTS = f"s3://{BUCKET}/results/"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DETECTIONS = find("firedoor.detections", Detection)
SAMPLES = {
    Type.TEXT: ('a "quoted" text,\nin two lines', ""),
    Type.WORD: ("word", "Wört"),
    Type.INTEGER: (-(2**63), 2**63 - 1),
    Type.SMALL: (-(2**31), 2**31 - 1),
    Type.REAL: (0.1, -1.5e300),
    Type.FLAG: (True, False),
}
"""Values that are hard to carry, for columns of each type."""
IPV6 = {"src_ip": "2001:db8::7"}
# Far enough that no query sees the rows of two examples, and whole weeks.
APART = 56 * 86_400_000


@dataclass(frozen=True)
class Case:
    """One example, at an instant where no other is."""

    name: str
    detection: Detection
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    until: datetime
    matches: int


def _cases() -> list[Case]:
    examples: list[tuple[str, Detection, Example]] = [
        (f"{id_}: {example.name}", detection, example)
        for id_, detection in DETECTIONS.items()
        for example in detection.examples
    ]
    scan = next(one for one in DETECTIONS["port_scan"].examples if one.matches)
    longer = {name: tuple({**row, **IPV6} for row in given) for name, given in scan.rows.items()}
    examples.append(("IPv6", DETECTIONS["port_scan"], replace(scan, rows=longer)))
    cases = []
    for number, (name, detection, example) in enumerate(examples):
        rows = {
            relation: [_later(row, number * APART) for row in given]
            for relation, given in example.rows.items()
        }
        last = max(row["time"] for given in rows.values() for row in given)
        until = datetime.fromtimestamp(last / 1000 + 1, UTC)
        cases.append(Case(name, detection, rows, until, example.matches))
    return cases


def _later(row: Mapping[str, Any], ms: int) -> dict[str, Any]:
    return {
        name: value + ms if name in ("time", "end_time") and value is not None else value
        for name, value in row.items()
    }


def _samples(relation: Relation) -> list[dict[str, Any]]:
    """Return rows in which every column holds each of its samples, and null, before all cases."""
    at = 1_780_000_000_000 - APART
    given = {"time", "account", "cloud", *(c.name for c in relation.columns if _follows(c.name))}
    return [
        {"time": at + number, "account": "123456789012", "src_ip": "2001:db8::1"}
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
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the rows of all examples."""
    root = tmp_path_factory.mktemp("logs")
    written = Written(root, Blob("examples.log", "1", 1, NOW))
    written.add(Parsed(detecting.tables({r.name: _samples(r) for r in RELATIONS.values()})))
    for case in _cases():
        written.add(Parsed(detecting.tables(case.rows)))
    written.close()
    with Store(root) as opened:
        opened.keep(written, NOW)
        yield opened


@pytest.fixture(scope="module")
def athena(endpoint: str, store: Store) -> Athena:
    """The engine, over what the store has published."""
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    files = store.files()
    publish(store.root, [file.path for file in files], PLACE, cloud.own("s3"))
    engine = Athena(PLACE, output=RESULTS)
    _, *tables = ddl.statements(PLACE, sorted({file.account for file in files}))
    boto3.client("glue").create_database(DatabaseInput={"Name": ddl.DATABASE})
    for statement in tables:
        engine.execute(statement)
    return engine


def test_detections_match_as_they_do_at_hand(athena: Athena, store: Store) -> None:
    cases = _cases()
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda c: detecting.matches(c.detection, athena, c.until), cases)
        far = {case.name: _plain(rows) for case, rows in zip(cases, answers, strict=True)}
    with store.duck() as duck:
        near = {c.name: _plain(detecting.matches(c.detection, duck, c.until)) for c in cases}

    assert far == near
    assert {c.name: len(far[c.name]) for c in cases} == {c.name: c.matches for c in cases}


def test_finding_names_the_address_whose_key_does_not_tell_it(athena: Athena) -> None:
    case = next(case for case in _cases() if case.name == "IPv6")

    (found,) = detecting.findings("port_scan", case.detection, athena, case.until)

    assert [*map(str, found.addresses)] == ["2001:db8::7"]


def test_tables_have_the_columns_and_partitions_of_the_relation(athena: Athena) -> None:
    table = boto3.client("glue").get_table(DatabaseName="firedoor", Name="dns_activity")["Table"]

    assert [one["Name"] for one in table["PartitionKeys"]] == ["day", "account"]
    assert table["Parameters"]["projection.account.type"] == "enum"
    assert {one["Type"] for one in table["StorageDescriptor"]["Columns"]} == {
        *ddl.TYPES.values()
    } - {"flag"}


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=list(RELATIONS))
def test_every_column_comes_back_as_it_is_at_hand(
    athena: Athena, store: Store, relation: Relation
) -> None:
    names = ", ".join(column.name for column in relation.columns)
    sql = f"SELECT {names} FROM {relation.name} WHERE time >= :since AND time < :until"
    window = {"since": 1_780_000_000_000 - APART, "until": 1_780_000_000_000 - APART + 3}
    with store.duck() as duck:
        near = duck.ask(sql, window)

    far = athena.ask(sql, window)

    assert _plain(far.to_pylist()) == _plain(near.to_pylist())
    assert far.schema == near.schema
    assert far.num_rows == 3


def test_query_that_fails_there_says_why(athena: Athena) -> None:
    with pytest.raises(errors.CloudError, match="no_such_column"):
        athena.execute("SELECT no_such_column FROM firedoor.dns_activity")


def _plain(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows in one order, numbers as they print in both."""
    return sorted(str({name: _value(value) for name, value in row.items()}) for row in rows)


def _value(value: Any) -> Any:
    if isinstance(value, Decimal) and value == int(value):
        return int(value)
    return round(value, 9) if isinstance(value, float) else value
