"""Publishing what is kept here to a bucket, under the same names, where Athena asks it.

What is sent is written down beside the store before it is. So another run goes on where one ended,
and nothing is deleted in the bucket that this store did not put there.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Self

from firedoor.errors import CloudError, Unreachable
from firedoor.lake.ddl import bucket_and_prefix

PERMISSIONS: Final = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:ListBucket",
    "s3:PutObject",
)
"""What one needs to publish; a bucket with a key of KMS wants its `kms:GenerateDataKey` as well."""
AT_ONCE: Final = 8
"""How many files are sent side by side."""
BATCH: Final = 1000
"""How many objects S3 deletes at once."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS published (
    place TEXT NOT NULL, name TEXT NOT NULL, size INTEGER, changed INTEGER,
    PRIMARY KEY (place, name)
)
"""


@dataclass(frozen=True)
class Published:
    """What one run did."""

    sent: int = 0
    sent_bytes: int = 0
    there: int = 0
    """How many files were there already."""
    deleted: int = 0
    """How many objects were deleted whose rows stand in other files now."""
    vanished: int = 0
    """How many files were compacted away meanwhile; the next run sends what took their place."""


def publish(root: Path, files: Iterable[Path], place: str, s3: Any) -> Published:
    """Let `s3://bucket/prefix` hold the files of the store below `root`, and return what that took.

    `files` are all that live. Of what was published before, what is no longer among them is deleted
    once the others of its folder are there; days that are older than all that is kept here stay, as
    long as the bucket keeps them. Between the two, Athena sees rows twice that were compacted.
    `s3` is `firedoor.cloud.aws.own("s3")`. Raises `CloudError`, and `Unreachable` where it cannot
    be written down.
    """
    names = sorted(file.relative_to(root).as_posix() for file in files)
    bucket = _Bucket(place, s3)
    with _Record(root, place) as record, ThreadPoolExecutor(AT_ONCE) as threads:
        there = bucket.objects({name.partition("/")[0] for name in names})
        stale = {folder: [*group] for folder, group in groupby(record.stale(names), _folder)}
        fresh = {name for name in names if not _is_there(root / name, name, there, record)}
        record.begin(fresh)
        sent: dict[str, _Stat] = {}
        deleted = 0
        for folder, group in groupby(names, _folder):
            wanted = [name for name in group if name in fresh]
            stats = zip(wanted, threads.map(partial(bucket.send, root), wanted), strict=True)
            done = {name: stat for name, stat in stats if stat is not None}
            record.end(done)
            sent |= done
            deleted += _delete(stale.pop(folder, []), bucket, record)
        deleted += sum(_delete(rest, bucket, record) for rest in stale.values())
    return Published(
        sent=len(sent),
        sent_bytes=sum(stat.size for stat in sent.values()),
        there=len(names) - len(fresh),
        deleted=deleted,
        vanished=len(fresh) - len(sent),
    )


@dataclass(frozen=True)
class _Stat:
    """What tells one content of a file from another without reading it."""

    size: int
    changed: int

    @classmethod
    def of(cls, file: Path) -> "_Stat | None":
        """Return that of a file, or None if there is none."""
        try:
            found = file.stat()
        except FileNotFoundError:
            return None
        return cls(found.st_size, found.st_mtime_ns)


class _Record:
    """What this store has published to one place, or was about to."""

    def __init__(self, root: Path, place: str) -> None:
        self._place = place.rstrip("/")
        try:
            self._file = sqlite3.connect(root / "published.sqlite", timeout=30)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise Unreachable(f"{root}: what is published cannot be noted: {error}") from error
        rows = self._file.execute(
            "SELECT name, size, changed FROM published WHERE place = ?", (self._place,)
        )
        self.known = {name: _Stat(size, changed) for name, size, changed in rows}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def stale(self, names: Sequence[str]) -> list[str]:
        """Return what was published and lives no more, but for days before all that live."""
        oldest = min((_day(name) for name in names), default="9999")
        gone = self.known.keys() - set(names)
        return sorted(name for name in gone if _day(name) >= oldest)

    def begin(self, names: Iterable[str]) -> None:
        """Note what is about to be sent."""
        self._note((name, -1, -1) for name in names)

    def end(self, stats: Mapping[str, _Stat]) -> None:
        """Note what was sent."""
        self._note((name, stat.size, stat.changed) for name, stat in stats.items())

    def forget(self, names: Iterable[str]) -> None:
        """Strike out what was deleted."""
        with self._file:
            self._file.executemany(
                "DELETE FROM published WHERE place = ? AND name = ?",
                [(self._place, name) for name in names],
            )

    def _note(self, rows: Iterable[tuple[str, int, int]]) -> None:
        with self._file:
            self._file.executemany(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)",
                [(self._place, *row) for row in rows],
            )


class _Bucket:
    """One place `s3://bucket/prefix`."""

    def __init__(self, place: str, s3: Any) -> None:
        self._bucket, prefix = bucket_and_prefix(place)
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = s3

    def objects(self, relations: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Return size and ETag of what is there of some relations, by name."""
        pages = self._s3.get_paginator("list_objects_v2")
        return {
            one["Key"].removeprefix(self._prefix): (one["Size"], one["ETag"].strip('"'))
            for relation in relations
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{relation}/")
            for one in page.get("Contents", ())
        }

    def send(self, root: Path, name: str) -> _Stat | None:
        """Send a file, and return what was sent; None if it is not there any more."""
        stat = _Stat.of(root / name)
        if stat is None:
            return None
        try:
            self._s3.upload_file(str(root / name), self._bucket, self._prefix + name)
        except FileNotFoundError:
            return None
        return stat

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, whether they are there or not."""
        for start in range(0, len(names), BATCH):
            objects = [{"Key": self._prefix + name} for name in names[start : start + BATCH]]
            answer = self._s3.delete_objects(
                Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
            )
            for error in answer.get("Errors", ()):
                what = f"{error['Key']}: {error.get('Message', '')}"
                raise CloudError(error.get("Code", ""), what, "DeleteObjects")


def _is_there(file: Path, name: str, there: Mapping[str, tuple[int, str]], record: _Record) -> bool:
    stat = _Stat.of(file)
    if stat is None or name not in there:
        return False
    size, etag = there[name]
    if size != stat.size:
        return False
    if record.known.get(name) == stat:
        return True
    # Sent, but not noted any more. With a key of KMS the ETag is another: then it is sent again.
    if hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != etag:
        return False
    record.end({name: stat})
    return True


def _delete(names: Sequence[str], bucket: _Bucket, record: _Record) -> int:
    bucket.delete(names)
    record.forget(names)
    return len(names)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _day(name: str) -> str:
    """Return the day of `relation/day=2026-01-31/account=.../...`."""
    return name.split("/")[1].removeprefix("day=")
