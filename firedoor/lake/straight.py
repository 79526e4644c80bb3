"""Questions to logs where they lie, without keeping them: only the columns asked for are read."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from firedoor import collecting
from firedoor.collector import Blob
from firedoor.errors import FiredoorError
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.lake.ingest import AHEAD, Given
from firedoor.lake.memory import CORES, reused
from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed

Columns = dict[str, frozenset[str]]

LARGE: Final = 64 << 20
"""From how many bytes on an object is not held as a whole, not even its rows."""


def fill(duck: Duck, urls: Iterable[str], given: Given, queries: Iterable[str]) -> Iterator[str]:
    """Read what queries look at into an engine, and yield what could not be read, with its reason.

    Raises what collectors raise for a place that is none.
    """
    queries = [*queries]
    wanted = columns(queries)
    duck.want(conditions(queries))

    def hold(blob: Blob) -> tuple[list[Parsed], list[str]]:
        pieces: list[Parsed] = []
        return pieces, _read(blob, given, wanted, pieces.append)

    blobs = (blob for url in urls for blob in collecting.blobs(url, None))
    with reused(), ThreadPoolExecutor(CORES) as threads:
        while batch := list(islice(blobs, AHEAD * CORES)):
            small = [blob for blob in batch if blob.size < LARGE]
            for pieces, problems in threads.map(hold, small):
                for piece in pieces:
                    duck.append(piece.tables)
                yield from problems
            for blob in batch:
                if blob.size >= LARGE:
                    yield from _read(blob, given, wanted, lambda piece: duck.append(piece.tables))


def columns(queries: Iterable[str]) -> Columns:
    """Return the columns of each relation that any of the queries may look at.

    The time is always among them: rows are counted by it, and the last of them is sought.
    """
    wanted: Columns = {}
    for sql in queries:
        for relation, names in portable.columns(sql).items():
            wanted[relation] = wanted.get(relation, frozenset({"time"})) | names
    return wanted


def conditions(queries: Iterable[str]) -> dict[str, str]:
    """Return which rows of each relation any of the queries may look at; "" is all."""
    found: dict[str, list[str]] = {}
    for sql in queries:
        for relation, condition in portable.conditions(sql).items():
            found.setdefault(relation, []).append(condition)
    return {relation: portable.either(each) for relation, each in found.items()}


def last(duck: Duck, queries: Iterable[str]) -> datetime | None:
    """Return the instant after the last row, or None if there is none."""
    ends = [
        duck.ask(f"SELECT max(time) AS last FROM {name}").to_pylist()[0]["last"]  # noqa: S608
        for name in columns(queries)
    ]
    known = [end for end in ends if end is not None]
    return datetime.fromtimestamp(max(known) / 1000 + 1, UTC) if known else None


def _read(blob: Blob, given: Given, wanted: Columns, take: Callable[[Parsed], None]) -> list[str]:
    """Hand on what an object holds, and return what is wrong with it."""
    refused, reason, problems = 0, "", []
    try:
        with collecting.open_(blob, 0) as stream:
            reading = Reading(stream, given.place(blob), source=given.source, wanted=wanted)
            for parsed in reading:
                take(parsed)
                refused += len(parsed.refused)
                reason = reason or (parsed.refused[0].reason if parsed.refused else "")
        if reading.unfinished and not blob.grows:
            problems.append(f"{blob.name}: byte {reading.consumed} unpacked: {reading.unfinished}")
    except FiredoorError as error:
        problems.append(str(error))
    if refused:
        problems.append(f"{blob.name}: {refused} lines left out: {reason}")
    return problems
