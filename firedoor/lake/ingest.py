"""From where logs lie into the store: each object once, whatever ends it in between."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from itertools import islice
from pathlib import Path
from typing import Final

from firedoor import collecting
from firedoor.collector import Blob
from firedoor.errors import FiredoorError, Unreadable
from firedoor.lake.memory import CORES, reused
from firedoor.lake.objects import Reading
from firedoor.lake.store import Seen, Store, Written
from firedoor.log_source import Place

OVERLAP: Final = timedelta(hours=1)
"""How far behind the last look the next one begins: what is put there may show itself late."""
AHEAD: Final = 4
"""How many objects for each thread are in hand at once."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Given:
    """What is said about logs that does not stand in them."""

    source: str | None = None
    """The id of their log source; None is to recognise it."""
    format: str = ""
    """The columns of lines that have no header."""
    account: str = ""
    region: str = ""
    networks: tuple[Network, ...] = ()
    """Our own networks, which are inside."""

    def place(self, blob: Blob) -> Place:
        """Return what is known of an object before it is read."""
        return Place(
            blob.name,
            account=self.account or blob.account,
            region=self.region or blob.region,
            format=self.format,
            networks=self.networks,
        )


def ingest(
    urls: Iterable[str],
    store: Store,
    given: Given,
    now: datetime,
    since: datetime | None = None,
    *,
    again: bool = False,
    pause: timedelta = timedelta(0),
) -> Generator[Seen, None, None]:
    """Read all that is new in some places into the store, and yield what became of each object.

    An object is read once, and again where it has changed since; one that only grows is read on
    from where it ended. What cannot be read is kept with its reason, and the others go on; `again`
    tries these once more. What a place did not give out is tried again each time, after a `pause`.
    Raises `Refused` while another process reads logs into the store, and
    what collectors raise of a place, once the other places are read.
    """
    problems: list[FiredoorError] = []
    with store.writing(), reused(), ThreadPoolExecutor(CORES) as threads:
        for url in urls:
            waiting: list[str] = []
            try:
                blobs = collecting.blobs(url, _from(url, store, since, again=again))
                new = (blob for blob in blobs if _is_new(blob, store, since, again=again))
                fresh = (blob for blob in new if not _waits(blob, store, now - pause, waiting))
                while batch := list(islice(fresh, AHEAD * CORES)):
                    write = partial(_write, store.root, given)
                    known = [store.seen(blob.name) for blob in batch]
                    for written in threads.map(write, batch, known):
                        store.keep(written, now)
                        if written.failed:
                            waiting.append(written.blob.name)
                        yield _known(store, written.blob.name)
            except FiredoorError as error:
                problems.append(error)
            else:
                if since is None and not waiting:
                    store.note_listed(collecting.shown(url), now)
    if problems:
        first, *others = problems
        for other in others:
            first.add_note(str(other))
        raise first


def tidy(store: Store, days: int, now: datetime) -> tuple[int, int]:
    """Compact, drop what is too old, and sweep; return how many files are less by the first two."""
    with store.writing():
        dropped = store.retain(days, now)
        compacted = store.compact(now)
        store.sweep(now)
    return compacted, dropped


def _from(url: str, store: Store, since: datetime | None, *, again: bool) -> datetime | None:
    """Return from which change on objects are looked for."""
    last = store.listed(collecting.shown(url))
    if again or last is None:
        return since
    return max(last - OVERLAP, since) if since else last - OVERLAP


def _is_new(blob: Blob, store: Store, since: datetime | None, *, again: bool) -> bool:
    if since is not None and blob.modified < since:
        return False
    seen = store.seen(blob.name)
    return seen is None or seen.version != blob.version or (again and seen.problem != "")


def _waits(blob: Blob, store: Store, before: datetime, waiting: list[str]) -> bool:
    """Whether an object that was not given out is not due yet; it is noted then."""
    if store.failed_since(blob.name, before):
        waiting.append(blob.name)
        return True
    return False


def _known(store: Store, name: str) -> Seen:
    seen = store.seen(name)
    assert seen is not None  # noqa: S101 - it was kept a moment ago
    return seen


def _write(root: Path, given: Given, blob: Blob, seen: Seen | None) -> Written:
    """Write what an object holds; what the ledger does not have yet, nobody reads."""
    resumed_at = seen.consumed if seen is not None and blob.grows else 0
    compacted = seen is not None and seen.compacted
    written = Written(root, blob, resumed_at, adds=resumed_at > 0 or compacted)
    if compacted and not resumed_at:
        written.problem = "it has changed since its rows were compacted: they stay as they were"
        return written
    try:
        with collecting.open_(blob, resumed_at) as stream:
            reading = Reading(
                stream, given.place(blob), source=given.source, resumed=resumed_at > 0
            )
            for parsed in reading:
                written.add(parsed)
            written.source, written.consumed = reading.source, resumed_at + reading.consumed
            if reading.unfinished and not blob.grows:
                written.problem = f"byte {reading.consumed} unpacked: {reading.unfinished}"
    except Unreadable as error:
        written.problem = str(error).removeprefix(f"{blob.name}: ")
    except FiredoorError as error:
        written.problem, written.failed = str(error), True
    finally:
        written.close()
    if written.failed and resumed_at:
        # It goes on from here the next time, so nothing that came after may be kept now.
        return Written(
            root, blob, resumed_at, adds=True, failed=True, problem=written.problem,
            source=seen.source if seen else None, consumed=resumed_at,
        )  # fmt: skip
    return written
