"""Everything that finds: detections, Sigma rules and baselines, over the logs that are kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Final

from firedoor import baselining, detecting
from firedoor.baseline import Span
from firedoor.detection import Detection, Value
from firedoor.discovery import find
from firedoor.errors import FiredoorError
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.lake.store import Store
from firedoor.model.finding import Finding

Values = Mapping[str, Mapping[str, Value]]

HOUR: Final = timedelta(hours=1)
BEFORE: Final = HOUR
"""How long before an incident began what led to it is left out of what is normal."""


@dataclass
class Seen:
    """What was found, and what could not be asked, each with its reason."""

    findings: dict[str, Finding] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, name: str, look: Callable[[], Iterable[Finding]]) -> None:
        """Add what is found; what goes wrong with one rule keeps no other from being asked."""
        try:
            self.findings |= {one.id: one for one in look()}
        except FiredoorError as error:
            self.problems.append(f"{name}: {error}")


@dataclass(frozen=True)
class _Look:
    """A detection, and the end of the window that it looks at."""

    id: str
    detection: Detection
    end: datetime

    @property
    def begin(self) -> datetime:
        """The instant from which on it needs rows."""
        return self.end - self.detection.reach


def over(
    store: Store,
    since: datetime,
    until: datetime,
    rules: tuple[str, ...],
    sigma: Path | None,
    values: Values = MappingProxyType({}),
) -> Seen:
    """Return what is found of a time, with all rules or those of these ids.

    `values` are parameters of detections that are not to be those by default, by their ids.
    """
    seen = Seen()
    looks = sorted(_looks(store, since, until, rules), key=_days, reverse=True)
    for _, same in groupby(looks, _days):
        _ask(seen, [*same], store, values)
    if sigma is not None:
        begin = min(since, until - HOUR)
        try:
            with store.duck(begin, until) as duck:
                by_sigma(seen, sigma, duck, begin, until)
        except FiredoorError as error:
            seen.problems.append(str(error))
    if not rules and _is_due(since, until):
        rollup, spans = baselining.Rollup(store), [*spans_of(store)]
        for id_ in baselining.metrics():
            seen.take(
                id_,
                lambda id_=id_: baselining.findings(  # type: ignore[misc]
                    rollup, until, min(since, until - 2 * HOUR), ids=[id_], spans=spans
                ),
            )
    return seen


def by_sigma(seen: Seen, path: Path, duck: Duck, since: datetime, until: datetime) -> None:
    """Add what Sigma rules find in an engine, and which of them cannot be used."""
    from firedoor.sigma import reading, running  # who has no rules needs no parser of them

    read = reading.read(path)
    seen.problems += [str(refused) for refused in read.refused]
    if not read.rules and not read.refused:
        seen.problems.append(f"Sigma rules: {path}: there are none, in files that end in .yml")
    bounds = (round(at.timestamp() * 1000) for at in (since, until))
    seen.take(str(path), lambda: running.findings(read.rules, duck, *bounds))


def chosen(ids: tuple[str, ...]) -> Mapping[str, Detection]:
    """Return the detections of these ids, or all."""
    known = find("firedoor.detections", Detection)
    return {id_: one for id_, one in known.items() if not ids or id_ in ids}


def spans_of(store: Store) -> Iterator[Span]:
    """Yield the times of incidents, of which nothing normal is learned."""
    for incident in store.incidents():
        _, _, account, _, _, name = incident.id.split("/", 5)
        # A principal is `user/alice` there, and `alice` in the logs.
        yield Span(
            incident.since - BEFORE, incident.until, account=account, entity=name.split("/")[-1]
        )


def ends(since: datetime, until: datetime, window: timedelta) -> Iterator[datetime]:
    """Yield the ends of the windows that together hold a time, the last one first."""
    end = until
    yield end
    while end - window > since:
        end -= window
        yield end


def _looks(
    store: Store, since: datetime, until: datetime, rules: tuple[str, ...]
) -> Iterator[_Look]:
    """Yield the looks that together cover a time, but for those at nothing."""
    for id_, detection in chosen(rules).items():
        relations = portable.columns(detection.sql)
        for end in ends(since, until, detection.window):
            look = _Look(id_, detection, end)
            if store.holds(relations, look.begin, end):
                yield look


def _days(look: _Look) -> tuple[date, date]:
    return look.end.date(), look.begin.date()


def _ask(seen: Seen, looks: list[_Look], store: Store, values: Values) -> None:
    """Add what is found by looks at the same days: to open their files takes longest."""
    first = looks[0]
    try:
        with store.duck(first.begin, first.end) as duck:
            for one in looks:
                given = one.id, one.detection, duck, one.end, values.get(one.id)
                seen.take(one.id, partial(detecting.findings, *given))
    except FiredoorError as error:
        if str(error) not in seen.problems:
            seen.problems.append(str(error))


def _is_due(since: datetime, until: datetime) -> bool:
    """Whether an hour began in this time: metrics are of hours and days."""
    return since >= until - timedelta(seconds=1) or since.replace(
        minute=0, second=0, microsecond=0
    ) != until.replace(minute=0, second=0, microsecond=0)
