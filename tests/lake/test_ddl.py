"""The tables of Athena: their columns, partitions and places, as another parser reads them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
import sqlglot
from pyarrow import parquet
from sqlglot import exp

from firedoor import detecting
from firedoor.collector import Blob
from firedoor.errors import BadInput
from firedoor.lake import ddl
from firedoor.lake.store import Store, Written
from firedoor.log_source import Parsed
from firedoor.relations import PARTITIONS, RELATIONS, Relation

ACCOUNTS = ("123456789012", "11111111-2222-3333-4444-555555555555", "example.com:project")
PLACE = "s3://logs.example.com/firedoor/"
Node = TypeVar("Node", bound=exp.Expression)
# What a column of Parquet is, for a table that says so.
PHYSICAL = {
    "string": ("BYTE_ARRAY", "STRING"),
    "bigint": ("INT64", ""),
    "int": ("INT32", ""),
    "double": ("DOUBLE", ""),
    "boolean": ("BOOLEAN", ""),
}


def table(relation: str) -> exp.Create:
    """Return the statement that makes the table of a relation, read as Hive would."""
    parsed = [sqlglot.parse_one(one, read="hive") for one in ddl.statements(PLACE, ACCOUNTS)]
    return next(
        one
        for one in parsed
        if isinstance(one, exp.Create) and first(one, exp.Table).name == relation
    )


def first(tree: exp.Expression, kind: type[Node]) -> Node:
    found = tree.find(kind)
    assert found is not None
    return found


def columns(created: exp.Expression) -> dict[str, str]:
    return {
        one.name: one.args["kind"].sql("hive").lower() for one in created.find_all(exp.ColumnDef)
    }


def properties(created: exp.Create) -> dict[str, str]:
    every = created.args["properties"].expressions
    return {one.this.name: one.args["value"].name for one in every if type(one) is exp.Property}


def test_statements_make_the_database_and_each_table_anew() -> None:
    made = [one.split("\n")[0] for one in ddl.statements(PLACE, ACCOUNTS, database="logs")]

    assert made[0] == "CREATE DATABASE IF NOT EXISTS `logs`"
    assert made[1::2] == [f"DROP TABLE IF EXISTS `logs`.`{name}`" for name in RELATIONS]
    assert made[2::2] == [f"CREATE EXTERNAL TABLE `logs`.`{name}` (" for name in RELATIONS]


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=list(RELATIONS))
def test_table_has_all_columns_with_their_types(relation: Relation) -> None:
    created = table(relation.name)

    assert columns(created) == {c.name: ddl.TYPES[c.type] for c in relation.columns}
    assert [*columns(created)][-2:] == [*PARTITIONS]


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=list(RELATIONS))
def test_comment_of_a_column_names_its_attribute(relation: Relation) -> None:
    comments = {
        one.name: first(one, exp.CommentColumnConstraint).this.name
        for one in table(relation.name).find_all(exp.ColumnDef)
    }

    assert all(comments[c.name].startswith(f"{c.ocsf}: ") for c in relation.columns if c.ocsf)
    assert all(0 < len(comment) <= 255 for comment in comments.values())


def test_partitions_are_projected_from_the_days_and_the_accounts() -> None:
    told = properties(table("dns_activity"))

    root = "s3://logs.example.com/firedoor/dns_activity"
    assert told == {
        "classification": "parquet",
        "projection.enabled": "true",
        "projection.day.type": "date",
        "projection.day.format": "yyyy-MM-dd",
        "projection.day.range": "NOW-400DAYS,NOW",
        "projection.day.interval": "1",
        "projection.day.interval.unit": "DAYS",
        "projection.account.type": "enum",
        "projection.account.values": (
            "123456789012,11111111-2222-3333-4444-555555555555,example.com%3Aproject,unknown"
        ),
        "storage.location.template": f"{root}/day=${{day}}/account=${{account}}/",
    }
    assert first(table("dns_activity"), exp.LocationProperty).this.name == f"{root}/"


@pytest.mark.parametrize(
    ("place", "accounts", "wrong"),
    [
        ("/var/logs", ACCOUNTS, "/var/logs: expected s3://bucket/prefix"),
        ("s3://", ACCOUNTS, "expected s3://bucket/prefix"),
        ("s3://logs.example.com/it's", ACCOUNTS, "expected s3://bucket/prefix"),
        (PLACE, (), "expected at least one"),
        (PLACE, ("123456789012,2",), "expected the id of an account"),
    ],
)
def test_what_cannot_be_a_table_is_refused(
    place: str, accounts: tuple[str, ...], wrong: str
) -> None:
    with pytest.raises(BadInput, match=wrong):
        ddl.statements(place, accounts)


@pytest.mark.parametrize("compacted", [False, True], ids=["as it is read", "compacted"])
@pytest.mark.parametrize("relation", RELATIONS.values(), ids=list(RELATIONS))
def test_files_have_the_columns_that_the_table_says(
    relation: Relation, compacted: bool, tmp_path: Path
) -> None:
    at = datetime(2026, 1, 31, tzinfo=UTC)
    rows = [{"time": 1_769_860_800_000, "account": "123456789012"}]
    with Store(tmp_path) as store:
        for number in range(4):
            written = Written(tmp_path, Blob(f"{number}.log", "1", 1, at))
            written.add(Parsed(detecting.tables({relation.name: rows})))
            written.close()
            store.keep(written, at)
        if compacted:
            store.compact(at.replace(year=2027))
        (file, *_) = files = store.files(relation.name)

    found = parquet.ParquetFile(file.path).schema
    of_file = {
        column.name: (
            column.physical_type,
            "STRING" if column.logical_type.type == "STRING" else "",
        )
        for column in (found.column(number) for number in range(len(found)))
    }
    said = {name: PHYSICAL[type_] for name, type_ in columns(table(relation.name)).items()}
    assert len(files) == (1 if compacted else 4)
    assert of_file == {name: type_ for name, type_ in said.items() if name not in PARTITIONS}
