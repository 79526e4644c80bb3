"""Folders by day in a bucket: found by looking down from above, and read from a day on.

`…/2026/01/31/`, `…/year=2026/month=01/day=31/` (Hive), `…/y=2026/m=01/d=31/` (Azure) and
`…/eventDay=20260131/` (Security Lake) sort by time, so what is new is at the end of each.
"""

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from firedoor.collector import Blob

LATE: Final = timedelta(days=3)
"""How much later than its day, or than it says that it changed, an object may appear.

Clouds deliver late, and a replica in S3 keeps the time of its original."""
LEVELS: Final = 5000
"""How many folders are looked into for days; what lies below the others is listed whole."""
SIDE_BY_SIDE: Final = 16

_YEAR = re.compile(r"(?:(?P<name>year|y)=)?20\d\d/")
_DAY = re.compile(r"(?P<name>\w+=)?20\d\d(?P<dash>-?)\d\d(?P=dash)\d\d/")
_DATED = re.compile(
    r"(?:^|[/=])(20\d\d)(?:/(?:month=|m=)?|-?)(\d\d)(?:/(?:day=|d=)?|-?)(\d\d)(?=[/_.T-]|$)"
)


@dataclass(frozen=True)
class Level:
    """What lies directly in a folder."""

    folders: Sequence[str]
    """Their whole names, each with a slash at the end."""
    blobs: Sequence[Blob]
    whole: bool = True
    """Whether that is all: a folder of more than a page is listed, not looked down from."""


@dataclass(frozen=True)
class Run:
    """All objects whose names begin so; where they lie by days, in the order of time."""

    prefix: str
    layout: str = ""
    """How its folders are named, as for `strftime`; "" where they do not lie by days."""

    def at(self, day: date) -> str:
        """Return what the names of a day begin with."""
        return self.prefix + day.strftime(self.layout)

    def since(self, day: date, today: date) -> list[str]:
        """Return what the names of each day begin with, from one day to the day after the other."""
        days = (today - day).days + 2
        return [self.at(day + timedelta(one)) for one in range(days)]


def early(since: datetime | None) -> datetime | None:
    """Return from when on an object that appeared after `since` may say that it is."""
    return since and since.astimezone(UTC) - LATE


def blobs(
    prefix: str,
    look: Callable[[str], Level],
    read: Callable[[Run, date | None], Iterable[Blob]],
    since: datetime | None,
) -> Iterator[Blob]:
    """Yield the objects whose names begin with a prefix, oldest day first.

    `look(folder)` says what lies directly in a folder, `read(run, day)` lists the objects of a run,
    those of earlier days left out where it has days. What changed long before `since` is left out.
    """
    start = early(since)
    runs, loose = _runs(prefix, look)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        read_one = [_in_order(run, read, start) for run in runs]
        streams = list(pool.map(_primed, read_one))
    streams.append(iter(sorted(loose, key=_when)))
    for blob in heapq.merge(*streams, key=_day):
        if start is None or blob.modified >= start:
            yield blob


def _runs(prefix: str, look: Callable[[str], Level]) -> tuple[list[Run], list[Blob]]:
    """Return the runs below a prefix, and the objects that lie on the way to them."""
    if _DATED.search(prefix) or not (prefix == "" or prefix.endswith("/")):
        return [Run(prefix)], []
    runs: list[Run] = []
    loose: list[Blob] = []
    layer, left = [prefix], LEVELS
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        while layer:
            runs += [Run(one) for one in layer[left:]]
            layer = layer[:left]
            left -= len(layer)
            deeper: list[str] = []
            for folder, level in zip(layer, pool.map(look, layer), strict=True):
                if not level.whole:
                    runs.append(Run(folder))
                    continue
                layouts = {one: _layout(one.removeprefix(folder)) for one in level.folders}
                runs += [Run(folder, layout) for layout in sorted(set(layouts.values()) - {""})]
                deeper += [one for one, layout in layouts.items() if not layout]
                loose += level.blobs
            layer = deeper
    return runs, loose


def _layout(folder: str) -> str:
    """Return how folders of days are named, if this is a year or a day."""
    if found := _YEAR.fullmatch(folder):
        names = {"year": "year=%Y/month=%m/day=%d", "y": "y=%Y/m=%m/d=%d"}
        return names.get(found["name"] or "", "%Y/%m/%d")
    if found := _DAY.fullmatch(folder):
        return f"{found['name'] or ''}%Y{found['dash']}%m{found['dash']}%d"
    return ""


def _in_order(
    run: Run, read: Callable[[Run, date | None], Iterable[Blob]], start: datetime | None
) -> Iterator[Blob]:
    if run.layout:
        yield from read(run, start.date() if start else None)
    else:
        found = (b for b in read(run, None) if start is None or b.modified >= start)
        yield from sorted(found, key=_when)


def _primed(stream: Iterator[Blob]) -> Iterator[Blob]:
    """Have the first page of a listing fetched, so that many are side by side."""
    first = next(stream, None)

    def all_() -> Iterator[Blob]:
        if first is not None:
            yield first
            yield from stream

    return all_()


def _when(blob: Blob) -> tuple[str, datetime, str]:
    return _day(blob), blob.modified, blob.name


def _day(blob: Blob) -> str:
    """Return the day that the name of an object says, else that of its change."""
    found = _DATED.search(blob.name)
    return "-".join(found.groups()) if found else blob.modified.astimezone(UTC).date().isoformat()
