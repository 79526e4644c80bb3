"""The tables of Athena over what is published to a bucket.

Their partitions are projected: Athena works out from day and account where files lie, so nothing is
registered when a day begins. The accounts are listed in the table: a projection of the `injected`
kind would want every query to name its accounts, and ours name none.

https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlparse

from firedoor.errors import BadInput
from firedoor.lake.store import NOBODY
from firedoor.relations import PARTITIONS, RELATIONS, Column, Relation, Type

DATABASE: Final = "firedoor"
RETENTION: Final = 400
"""How many days back a table looks, where nothing else is said."""
# As pyarrow and DuckDB write them: a column that is read as another type ends the whole query.
TYPES: Final[Mapping[Type, str]] = {
    Type.TEXT: "string",
    Type.WORD: "string",
    Type.INTEGER: "bigint",
    Type.SMALL: "int",
    Type.REAL: "double",
    Type.FLAG: "boolean",
}
PERMISSIONS: Final = (
    "athena:GetQueryExecution",
    "athena:GetQueryResults",
    "athena:GetWorkGroup",
    "athena:StartQueryExecution",
    "athena:StopQueryExecution",
    "glue:CreateDatabase",
    "glue:CreateTable",
    "glue:DeleteTable",
    "glue:GetDatabase",
    "glue:GetTable",
    "s3:GetBucketLocation",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
)
"""What one needs to make the tables; the rights to S3 are for the place of the results."""

_COMMENT: Final = 255


def statements(
    place: str,
    accounts: Iterable[str],
    *,
    database: str = DATABASE,
    retention: int = RETENTION,
) -> tuple[str, ...]:
    """Return the statements that make the tables over `s3://bucket/prefix`, to be run in order.

    They may be run again, for one when there is an account more: a table is made anew, and what
    lies in the bucket stays. Rows of accounts that are not listed are not found, nor those of days
    before `retention`. Raises `BadInput`.
    """
    root = "s3://" + "/".join(filter(None, bucket_and_prefix(place)))
    if not re.fullmatch(r"[a-z0-9_]+", database):
        raise BadInput("database", database, "expected lower-case letters, digits and _")
    if retention < 1:
        raise BadInput("retention", str(retention), "expected at least one day")
    listed = tuple(dict.fromkeys(map(_named, [*accounts, NOBODY])))
    if listed == (NOBODY,):
        raise BadInput("accounts", "", "expected at least one: rows of others are not found")
    made = [f"CREATE DATABASE IF NOT EXISTS `{database}`"]
    for relation in RELATIONS.values():
        made.append(f"DROP TABLE IF EXISTS `{database}`.`{relation.name}`")
        made.append(_table(relation, f"{root}/{relation.name}/", listed, database, retention))
    return tuple(made)


def bucket_and_prefix(place: str) -> tuple[str, str]:
    """Return the two parts of `s3://bucket/prefix`; raises `BadInput` unless it is that."""
    url = urlparse(place)
    prefix = url.path.strip("/")
    if url.scheme != "s3" or not url.netloc or not re.fullmatch(r"[\w.!*()/=-]*", prefix):
        raise BadInput("place", place, "expected s3://bucket/prefix")
    return url.netloc, prefix


def _table(
    relation: Relation, location: str, accounts: Sequence[str], database: str, retention: int
) -> str:
    columns = [_column(column) for column in relation.columns if column.name not in PARTITIONS]
    partitions = [_column(relation[name]) for name in PARTITIONS]
    properties = {
        "classification": "parquet",
        "projection.enabled": "true",
        "projection.day.type": "date",
        "projection.day.format": "yyyy-MM-dd",
        "projection.day.range": f"NOW-{retention}DAYS,NOW",
        "projection.day.interval": "1",
        "projection.day.interval.unit": "DAYS",
        "projection.account.type": "enum",
        "projection.account.values": ",".join(accounts),
        "storage.location.template": f"{location}day=${{day}}/account=${{account}}/",
    }
    return (
        f"CREATE EXTERNAL TABLE `{database}`.`{relation.name}` (\n  {_lines(columns)}\n)\n"
        f"COMMENT {_text(f'OCSF {relation.class_uid}: {relation.description}')}\n"
        f"PARTITIONED BY (\n  {_lines(partitions)}\n)\n"
        f"STORED AS PARQUET\nLOCATION {_text(location)}\n"
        f"TBLPROPERTIES (\n  {_lines(f'{_text(k)} = {_text(v)}' for k, v in properties.items())}\n)"
    )


def _column(column: Column) -> str:
    # All names in backticks: `time` is a reserved word of Athena's DDL, though not of its SELECT.
    told = f"{column.ocsf}: {column.description}" if column.ocsf else column.description
    return f"`{column.name}` {TYPES[column.type]} COMMENT {_text(told[:_COMMENT])}"


def _lines(items: Iterable[str]) -> str:
    return ",\n  ".join(items)


def _text(text: str) -> str:
    # A quote would have to be escaped, and a semicolon might be taken for the end of a statement.
    return "'" + text.replace("'", "").replace(";", ",") + "'"


def _named(account: str) -> str:
    """Return an account as the names of folders have it."""
    if not re.fullmatch(r"[^\s,']+", account):
        raise BadInput("accounts", account, "expected the id of an account or project")
    return quote(account, safe="")
