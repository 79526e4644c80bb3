"""The store: rows of logs as Parquet, by relation, day and account, and a ledger of its objects.

A file lives once the ledger has it, and no longer; the ledger changes in one transaction for each
object. So whoever is killed anywhere leaves no row twice and none lost: the object is read again,
into files of the same names.
"""

import errno
import fcntl
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from firedoor.collector import Blob
from firedoor.errors import Refused, Unreachable
from firedoor.lake.duck import Duck
from firedoor.log_source import Parsed, Refusal
from firedoor.model.watch import Episode
from firedoor.relations import PARTITIONS, RELATIONS, Relation, Type

KEPT: Final = 1000
"""How many refused lines of one object are kept; all are counted."""
SETTLED: Final = timedelta(hours=2)
"""How long an object must have been as it is before its rows are compacted with those of others."""
WORTH: Final = 4
"""How many files of one partition are worth being compacted."""
LARGE: Final = 32 << 20
"""From which size on a file stays as it is, in bytes."""
TOGETHER: Final = 64 << 20
"""How much is put into one file, in bytes."""
STALE: Final = timedelta(hours=1)
"""How long a finding must have gone on to be told again."""
GRACE: Final = timedelta(minutes=10)
"""How long a file stays after another took its place: somebody may be about to open it."""
FAILING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""What a disk answers that cannot be written."""
OPEN: Final = 100
"""How many files are written at once, at most."""
NOBODY: Final = "unknown"
"""The account of rows that tell none, or what no cloud calls an account."""
LONGEST: Final = 200
"""The longest name of an account, as it is in a path."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    name TEXT PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, modified REAL NOT NULL,
    source TEXT, consumed INTEGER NOT NULL, rows INTEGER NOT NULL, refused INTEGER NOT NULL,
    passed INTEGER NOT NULL, lost INTEGER NOT NULL, problem TEXT NOT NULL, read_at REAL NOT NULL,
    compacted INTEGER NOT NULL, first REAL
);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, relation TEXT NOT NULL, day TEXT NOT NULL, account TEXT NOT NULL,
    object TEXT NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL, kept_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS files_by_day ON files (relation, day);
CREATE INDEX IF NOT EXISTS files_by_object ON files (object);
CREATE TABLE IF NOT EXISTS refusals (
    object TEXT NOT NULL, number INTEGER NOT NULL, reason TEXT NOT NULL, text BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS refusals_by_object ON refusals (object);
CREATE TABLE IF NOT EXISTS replaced (path TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS places (url TEXT PRIMARY KEY, listed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS incidents (id TEXT PRIMARY KEY, since REAL NOT NULL, until REAL);
CREATE TABLE IF NOT EXISTS told (finding TEXT PRIMARY KEY, last_seen REAL NOT NULL);
"""

# A file that is small, and of an object that is settled, or of several.
_SETTLED: Final = "files.size < ? AND (modified IS NULL OR modified < ?)"


@dataclass(frozen=True)
class Seen:
    """What is known of an object that was read."""

    name: str
    version: str
    modified: datetime
    source: str | None
    consumed: int
    rows: int
    refused: int
    passed: int
    lost: int
    problem: str
    """Why it could not be read, or not to its end; nothing if it could."""
    compacted: bool
    """Whether its rows stand together with those of others, and cannot be replaced any more."""
    first: datetime | None
    """The time of its earliest row, of those that were read last."""


@dataclass(frozen=True)
class File:
    """A Parquet file that lives."""

    path: Path
    relation: str
    day: date
    account: str
    rows: int
    size: int


class Store:
    """One store, in one directory."""

    def __init__(self, root: Path) -> None:
        """Open it, or make it; raises `Unreachable` where nothing can be written."""
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._ledger = sqlite3.connect(root / "ledger.sqlite", timeout=30, isolation_level=None)
            self._ledger.execute("PRAGMA journal_mode = WAL")
            self._ledger.execute("PRAGMA synchronous = NORMAL")
            self._ledger.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise Unreachable(f"{root}: logs cannot be kept there: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Close it; raises `Unreachable` for what the disk or the ledger could not do."""
        self._ledger.close()
        if isinstance(error, sqlite3.Error) or getattr(error, "errno", None) in FAILING:
            raise Unreachable(f"{self.root}: logs cannot be kept there: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to change the store; raises `Refused` while another process has it."""
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                what = f"{self.root}: another process reads logs into it: wait until it has ended"
                raise Refused(what) from error
            yield

    def seen(self, name: str) -> Seen | None:
        """Return what is known of an object, or None if it was never read."""
        row = self._ledger.execute(
            "SELECT name, version, modified, source, consumed, rows, refused, passed, lost,"
            " problem, compacted, first FROM objects WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            return None
        _, version, modified, source, consumed, rows, refused, passed, lost, problem, *more = row
        compacted, first = more
        return Seen(
            name, version, _instant(modified), source, consumed, rows, refused, passed, lost,
            problem, bool(compacted), None if first is None else _instant(first),
        )  # fmt: skip

    def failed_since(self, name: str, at: datetime) -> bool:
        """Whether an object was asked for after an instant, and not given out."""
        row = self._ledger.execute(
            "SELECT 1 FROM objects WHERE name = ? AND version = '' AND read_at > ?",
            (name, at.timestamp()),
        ).fetchone()
        return row is not None

    def earliest(self, read_since: datetime) -> datetime | None:
        """Return the time of the earliest row that was read since an instant, if there is any."""
        (first,) = self._ledger.execute(
            "SELECT min(first) FROM objects WHERE read_at >= ?", (read_since.timestamp(),)
        ).fetchone()
        return None if first is None else _instant(first)

    def problems(self) -> list[Seen]:
        """Return the objects that were not read whole, and those of which a line was refused."""
        names = self._ledger.execute(
            "SELECT name FROM objects WHERE problem <> '' OR refused > 0 ORDER BY read_at DESC"
        ).fetchall()
        return [seen for (name,) in names if (seen := self.seen(name))]

    def refusals(self, name: str) -> list[Refusal]:
        """Return the lines of an object that were refused, the first `KEPT` of them."""
        rows = self._ledger.execute(
            "SELECT number, reason, text FROM refusals WHERE object = ? ORDER BY number", (name,)
        )
        return [Refusal(*row) for row in rows]

    def listed(self, url: str) -> datetime | None:
        """Return when a place was last looked through, or None if it never was."""
        row = self._ledger.execute("SELECT listed FROM places WHERE url = ?", (url,)).fetchone()
        return row and _instant(row[0])

    def note_listed(self, url: str, at: datetime) -> None:
        """Remember that all that lay in a place at an instant has been read."""
        self._ledger.execute("INSERT OR REPLACE INTO places VALUES (?, ?)", (url, at.timestamp()))

    def is_news(self, finding: str, last_seen: datetime) -> bool:
        """Whether a finding was not told yet, or went on for a while since it was."""
        row = self._ledger.execute(
            "SELECT last_seen FROM told WHERE finding = ?", (finding,)
        ).fetchone()
        return row is None or last_seen - _instant(row[0]) >= STALE

    def note_told(self, finding: str, last_seen: datetime) -> None:
        """Remember that an incident knows of a finding."""
        self._ledger.execute(
            "INSERT OR REPLACE INTO told VALUES (?, ?)", (finding, last_seen.timestamp())
        )

    def incidents(self) -> list[Episode]:
        """Return the incidents that it knows of, those that are open until now."""
        rows = self._ledger.execute("SELECT id, since, until FROM incidents ORDER BY since")
        return [Episode(id=row[0], since=_instant(row[1]), until=_instant(row[2])) for row in rows]

    def note_incidents(self, incidents: Iterable[Episode]) -> None:
        """Remember when there were incidents."""
        self._ledger.executemany(
            "INSERT OR REPLACE INTO incidents VALUES (?, ?, ?)",
            [(one.id, one.since.timestamp(), one.until.timestamp()) for one in incidents],
        )

    def files(
        self, relation: str = "", since: datetime | None = None, until: datetime | None = None
    ) -> list[File]:
        """Return the files that can hold rows of a relation, or of all, between two instants."""
        rows = self._ledger.execute(
            "SELECT path, relation, day, account, rows, size FROM files"
            " WHERE (? = '' OR relation = ?) AND day >= ? AND day <= ? ORDER BY path",
            (
                relation,
                relation,
                since.date().isoformat() if since else "",
                until.date().isoformat() if until else "9999-12-31",
            ),
        )
        return [
            File(self.root / path, name, date.fromisoformat(day), account, count, size)
            for path, name, day, account, count, size in rows
        ]

    def holds(self, relations: Iterable[str], since: datetime, until: datetime) -> bool:
        """Whether any of some relations can have rows between two instants."""
        days = since.date().isoformat(), until.date().isoformat()
        sql = "SELECT 1 FROM files WHERE relation = ? AND day >= ? AND day <= ? LIMIT 1"
        return any(self._ledger.execute(sql, (name, *days)).fetchone() for name in relations)

    def duck(self, since: datetime | None = None, until: datetime | None = None) -> Duck:
        """Return an engine before which the rows of the days between two instants stand."""
        # DuckDB makes this folder only where it needs it, and removes it.
        duck = Duck(self.root / f"spill-{uuid4()}")
        try:
            for name in RELATIONS:
                if files := self.files(name, since, until):
                    duck.scan(name, [file.path for file in files])
        except BaseException:
            duck.close()
            raise
        return duck

    def keep(self, written: "Written", at: datetime) -> None:
        """Let what was written of an object live, instead of what was kept of it before."""
        blob = written.blob
        old = [] if written.adds else self._paths_of(blob.name)
        with self._transaction():
            if not written.adds:
                self._ledger.execute("DELETE FROM files WHERE object = ?", (blob.name,))
                self._ledger.execute("DELETE FROM refusals WHERE object = ?", (blob.name,))
            self._ledger.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (path, *where, blob.name, rows, size, at.timestamp())
                    for path, where, rows, size in written.files
                ],
            )
            self._ledger.executemany(
                "INSERT INTO refusals VALUES (?, ?, ?, ?)",
                [(blob.name, one.number, one.reason, one.text) for one in written.refusals],
            )
            before = self.seen(blob.name) if written.adds else None
            self._ledger.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    blob.name, "" if written.failed else blob.version, blob.size,
                    blob.modified.timestamp(), written.source, written.consumed,
                    written.rows + (before.rows if before else 0),
                    written.refused + (before.refused if before else 0),
                    written.passed + (before.passed if before else 0),
                    written.lost + (before.lost if before else 0),
                    written.problem, at.timestamp(), before.compacted if before else False,
                    None if written.first is None else written.first / 1000,
                ),
            )  # fmt: skip
            kept = {path for path, *_ in written.files}
            self._replace([path for path in old if path not in kept], at)

    def compact(self, now: datetime) -> int:
        """Put small files of a partition together, and return how many there are less.

        Objects that may still change are left alone.
        """
        groups = self._ledger.execute(
            "SELECT relation, day, account FROM files LEFT JOIN objects"  # noqa: S608
            f" ON files.object = objects.name WHERE {_SETTLED}"
            " GROUP BY 1, 2, 3 HAVING count(*) >= ?",
            (LARGE, (now - SETTLED).timestamp(), WORTH),
        ).fetchall()
        return sum(self._compact(*group, now=now) for group in groups)

    def retain(self, days: int, now: datetime) -> int:
        """Drop the days that are older than so many, and return how many files that were.

        Old logs that somebody has brought lately stay for as long. What is known of the objects
        stays in any case: they are not read again.
        """
        oldest = now - timedelta(days=days)
        bounds = oldest.date().isoformat(), oldest.timestamp()
        too_old = "FROM files WHERE day < ? AND kept_at < ?"
        paths = [path for (path,) in self._ledger.execute(f"SELECT path {too_old}", bounds)]
        with self._transaction():
            self._ledger.execute(f"DELETE {too_old}", bounds)
            self._replace(paths, now)
        return len(paths)

    def sweep(self, now: datetime) -> int:
        """Remove files that others replaced a while ago, and return how many."""
        rows = self._ledger.execute(
            "SELECT path FROM replaced WHERE at < ?", ((now - GRACE).timestamp(),)
        ).fetchall()
        for (path,) in rows:
            (self.root / path).unlink(missing_ok=True)
            self._ledger.execute("DELETE FROM replaced WHERE path = ?", (path,))
        return len(rows)

    def _compact(self, relation: str, day: str, account: str, *, now: datetime) -> int:
        """Put the small files of one partition together, about `TOGETHER` in each."""
        rows = self._ledger.execute(
            "SELECT path, files.size FROM files LEFT JOIN objects"  # noqa: S608
            " ON files.object = objects.name"
            f" WHERE {_SETTLED} AND relation = ? AND day = ? AND files.account = ?"
            " ORDER BY first, path",
            (LARGE, (now - SETTLED).timestamp(), relation, day, account),
        ).fetchall()
        less, group, size = 0, [], 0
        for path, each in rows:
            group.append(path)
            size += each
            if size >= TOGETHER:
                less += self._put_together(group, (relation, day, account), now)
                group, size = [], 0
        if len(group) >= WORTH:
            less += self._put_together(group, (relation, day, account), now)
        return less

    def _put_together(self, paths: list[str], where: tuple[str, str, str], now: datetime) -> int:
        name = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:24]
        path = f"{_folder(*where)}/all-{name}.parquet"
        with Duck(self.root) as duck:
            duck.copy([self.root / one for one in paths], self.root / f"{path}.part")
        (self.root / f"{path}.part").replace(self.root / path)
        size = (self.root / path).stat().st_size
        these = f"({', '.join('?' * len(paths))})"
        (rows, kept_at) = self._ledger.execute(
            f"SELECT sum(rows), max(kept_at) FROM files WHERE path IN {these}",  # noqa: S608
            paths,
        ).fetchone()
        with self._transaction():
            self._ledger.execute(
                "UPDATE objects SET compacted = 1 WHERE name IN"  # noqa: S608
                f" (SELECT object FROM files WHERE path IN {these})",
                paths,
            )
            self._ledger.execute(f"DELETE FROM files WHERE path IN {these}", paths)  # noqa: S608
            self._ledger.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, '', ?, ?, ?)",
                (path, *where, rows, size, kept_at),
            )
            self._replace(paths, now)
        return len(paths) - 1

    def _paths_of(self, name: str) -> list[str]:
        rows = self._ledger.execute("SELECT path FROM files WHERE object = ?", (name,))
        return [path for (path,) in rows]

    def _replace(self, paths: Sequence[str], at: datetime) -> None:
        self._ledger.executemany(
            "INSERT OR REPLACE INTO replaced VALUES (?, ?)", [(p, at.timestamp()) for p in paths]
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._ledger.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._ledger.execute("ROLLBACK")
            raise
        self._ledger.execute("COMMIT")


@dataclass
class Written:
    """What is written of one object, before the ledger has it."""

    root: Path
    blob: Blob
    resumed_at: int = 0
    """The byte from which on it was read, if what comes before is kept already."""
    adds: bool = False
    """Whether what is kept of the object stays beside it."""
    failed: bool = False
    """Whether it may be read the next time, though it does not change."""
    source: str | None = None
    consumed: int = 0
    problem: str = ""
    rows: int = 0
    refused: int = 0
    passed: int = 0
    lost: int = 0
    first: int | None = None
    """The time of the earliest row, in epoch milliseconds."""
    refusals: list[Refusal] = field(default_factory=list)
    files: list[tuple[str, tuple[str, str, str], int, int]] = field(default_factory=list)
    """Path, (relation, day, account), rows and size of each."""
    _writers: dict[tuple[str, str, str], tuple[parquet.ParquetWriter, Path, int]] = field(
        default_factory=dict
    )
    _closed: int = 0
    """How often all files were ended, for there were too many."""

    def add(self, parsed: Parsed) -> None:
        """Write what a piece held."""
        self.refused += len(parsed.refused)
        self.passed += parsed.passed
        self.lost += parsed.lost
        self.refusals += parsed.refused[: KEPT - len(self.refusals)]
        for name, table in parsed.tables.items():
            first = pc.min(table["time"]).as_py()
            if first is not None:
                self.first = first if self.first is None else min(self.first, first)
            for where, rows in _partitioned(name, table):
                self._write(where, rows)

    def close(self) -> None:
        """End all files, under their own names."""
        for where, (writer, path, rows) in self._writers.items():
            writer.close()
            part = self.root / f"{path}.part"
            part.replace(self.root / path)
            self.files.append((str(path), where, rows, (self.root / path).stat().st_size))
        self._writers.clear()
        self._closed += 1

    def _write(self, where: tuple[str, str, str], table: pa.Table) -> None:
        relation, day, account = where
        if where not in self._writers:
            if len(self._writers) >= OPEN:
                self.close()
            named = f"{self.blob.name}\n{self.blob.version}\n{self.resumed_at}"
            if self._closed:
                named += f"\n{self._closed}"
            digest = hashlib.sha256(named.encode()).hexdigest()[:24]
            path = Path(_folder(relation, day, account)) / f"{digest}.parquet"
            (self.root / path.parent).mkdir(parents=True, exist_ok=True)
            writer = parquet.ParquetWriter(
                f"{self.root / path}.part",
                table.schema,
                compression="snappy",
                use_dictionary=_words(RELATIONS[relation]),
                write_statistics=["time"],
            )
            self._writers[where] = writer, path, 0
        writer, path, rows = self._writers[where]
        writer.write_table(table)
        self._writers[where] = writer, path, rows + table.num_rows
        self.rows += table.num_rows


def _partitioned(relation: str, table: pa.Table) -> Iterator[tuple[tuple[str, str, str], pa.Table]]:
    """Yield the rows of each day and account; these two are in the path, and not in the file."""
    rest = table.drop_columns([*PARTITIONS])
    where = pa.table({name: table[name].cast(pa.string()) for name in PARTITIONS})
    pairs = where.group_by(PARTITIONS).aggregate([]).to_pylist()
    for pair in pairs:
        rows = rest
        if len(pairs) > 1:
            mask = [_is(where[name], pair[name]) for name in PARTITIONS]
            rows = rest.filter(pc.and_(*mask))
        account = pair["account"] or NOBODY
        if len(quote(account, safe="")) > LONGEST:
            account = NOBODY
        yield (relation, pair["day"] or "1970-01-01", account), rows


def _is(column: pa.ChunkedArray, value: str | None) -> pa.ChunkedArray:
    return column.is_null() if value is None else pc.equal(column, value).fill_null(False)


def _folder(relation: str, day: str, account: str) -> str:
    return f"{relation}/day={day}/account={quote(account, safe='')}"


def _words(relation: Relation) -> list[str]:
    """Return the columns that are kept as dictionaries."""
    return [
        column.name
        for column in relation.columns
        if column.type is Type.WORD and column.name not in PARTITIONS
    ]


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
