"""DuckDB, embedded: the engine that asks what is kept here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import duckdb
import pyarrow as pa

from firedoor.errors import BadQuery, Unreadable
from firedoor.lake import portable
from firedoor.lake.memory import CORES
from firedoor.log_source import ARROW
from firedoor.relations import RELATIONS, Relation, Type

SQL_TYPES: Final[Mapping[Type, str]] = {
    Type.TEXT: "VARCHAR",
    Type.WORD: "VARCHAR",
    Type.INTEGER: "BIGINT",
    Type.SMALL: "INTEGER",
    Type.REAL: "DOUBLE",
    Type.FLAG: "BOOLEAN",
}
MEMORY: Final = "300MB"
"""How much DuckDB may hold; what is more waits on disk."""
INTERRUPTED: Final = "Query interrupted"
"""What DuckDB says when somebody presses Ctrl-C."""
AT_ONCE: Final = 300_000
"""How many rows are taken in at once."""


class Duck:
    """One connection, before which every relation stands, with rows or without."""

    def __init__(self, spill: Path | None = None) -> None:
        """Open an empty one; what does not fit into memory waits in the directory `spill`."""
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("SET preserve_insertion_order = false")
        self._connection.execute(f"SET memory_limit = '{MEMORY}'")
        # While logs are read into it, others work, too.
        threads = os.cpu_count() or 1 if spill is None else CORES
        self._connection.execute(f"SET threads = {threads}")
        if spill is not None:
            self._connection.execute(f"SET temp_directory = '{_quoted(str(spill))}'")
        self._filled: set[str] = set()
        self._arriving: dict[str, list[pa.Table]] = {}
        self._wanted: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and memory."""
        self._connection.close()

    def put(self, tables: Mapping[str, pa.Table]) -> None:
        """Let relations be these tables, where they are in memory."""
        for name, table in tables.items():
            self._connection.register(name, table)
            self._filled.add(name)

    def want(self, conditions: Mapping[str, str]) -> None:
        """Keep of what is appended to a relation only rows that fulfil its condition; "" is all."""
        self._wanted = conditions

    def append(self, tables: Mapping[str, pa.Table]) -> None:
        """Add rows to relations, kept in columns of DuckDB's own.

        The first table of a relation says which columns it has.
        """
        for name, table in tables.items():
            if not table.num_columns:
                continue  # of this relation nobody asks for anything
            arriving = self._arriving.setdefault(name, [])
            arriving.append(table)
            if sum(one.num_rows for one in arriving) >= AT_ONCE:
                self._insert(name)

    def _insert(self, name: str) -> None:
        """Take in what has arrived: many tables at once cost a third of one after another."""
        self._connection.register("arriving", pa.concat_tables(self._arriving.pop(name)))
        condition = self._wanted.get(name)
        rows = f"FROM arriving WHERE {condition}" if condition else "FROM arriving"
        if name in self._filled:
            self._connection.execute(f"INSERT INTO {name} BY NAME {rows}")
        else:
            self._connection.execute(f"CREATE TABLE {name} AS {rows}")
            self._filled.add(name)
        self._connection.unregister("arriving")

    def scan(self, relation: str, files: Sequence[Path]) -> None:
        """Let a relation be what Parquet files hold, in folders that name day and account.

        Raises `Unreadable` where one of them is gone or damaged.
        """
        listed = ", ".join(f"'{_quoted(str(file))}'" for file in files)
        try:
            self._connection.execute(
                f"CREATE OR REPLACE VIEW {relation} AS FROM read_parquet([{listed}],"
                " hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
            )
        except duckdb.Error as error:
            raise Unreadable("what is kept", relation, str(error).partition("\n")[0]) from error
        self._filled.add(relation)

    def copy(self, files: Sequence[Path], to: Path) -> None:
        """Write the rows of Parquet files into one, by their time."""
        listed = ", ".join(f"'{_quoted(str(file))}'" for file in files)
        self._connection.execute(
            f"COPY (FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
            f" ORDER BY time) TO '{_quoted(str(to))}' (FORMAT parquet, COMPRESSION snappy)"
        )

    def ask(self, sql: str, params: Mapping[str, portable.Value] | None = None) -> pa.Table:
        """Return the answer to a query with its parameters; raises `BadQuery`."""
        text = portable.bound(sql, params or {})
        self._complete()
        try:
            answer = self._connection.sql(text)
            if answer is None:
                raise BadQuery("query", "", "expected a question, as SELECT is one")
            return answer.to_arrow_table()
        except RuntimeError as error:
            if INTERRUPTED in str(error):
                raise KeyboardInterrupt from error
            raise
        except duckdb.Error as error:
            raise BadQuery("query", "", str(error).partition("\n")[0]) from error

    def _complete(self) -> None:
        """Let there be every relation, empty where nothing was read."""
        for name in [*self._arriving]:
            self._insert(name)
        for name in RELATIONS.keys() - self._filled:
            self._connection.register(name, empty(RELATIONS[name]))
            self._filled.add(name)


def empty(relation: Relation) -> pa.Table:
    """Return a relation without rows."""
    return pa.schema([(c.name, ARROW[c.type]) for c in relation.columns]).empty_table()


def _quoted(text: str) -> str:
    return text.replace("'", "''")
