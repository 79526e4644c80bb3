"""Baselines at work: what was measured of whom, what is normal of it, and what is not.

Measuring 90 days anew takes as long as asking all their logs. So a rollup keeps what the metrics
say of each day, in a file for each metric and day whose name tells which files of the store it is
made of. A day into which late data came has other files, and is measured again.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from firedoor import baseline, detecting
from firedoor.baseline import (
    DAY,
    HISTORY,
    HOUR,
    WARM,
    Course,
    Measure,
    Metric,
    Normal,
    Series,
    Span,
    Unit,
    Verdict,
    epoch,
    midnight,
)
from firedoor.detection import About, Detection
from firedoor.discovery import find
from firedoor.errors import BadInput, Unreachable
from firedoor.lake.duck import Duck
from firedoor.lake.engine import Engine
from firedoor.lake.store import File, Store
from firedoor.model.finding import Finding

ROWS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("cloud", "account", "region", "kind", "entity", "item")),
        ("start", pa.int64()), ("value", pa.float64()), ("total", pa.float64()),
    ]
)  # fmt: skip
"""What the queries of all metrics say, and the rollup keeps."""
ALIVE: Final = """
    SELECT cloud, account, time - time % :period AS start, count(*) AS value
    FROM {relation} WHERE time >= :since AND time < :until
    GROUP BY cloud, account, time - time % :period
"""
"""When a relation had rows of an account at all: silence of an entity is nothing only then."""
SHOWN: Final = 20
"""How many new items a finding names."""
MOST: Final = 200
"""How many entities are shown of one metric, those with the greatest values."""


def metrics() -> Mapping[str, Metric]:
    """Return all metrics, by id."""
    return find("firedoor.baselines", Metric)


@dataclass(frozen=True, order=True)
class Entity:
    """Of whom something is measured: `name` is empty for the account as a whole."""

    cloud: str
    account: str
    region: str = ""
    kind: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"account {self.account}"


@dataclass(frozen=True)
class Measured:
    """A value of an entity, and what is normal of it."""

    id: str
    """Of the metric."""
    metric: Metric
    entity: Entity
    start: int
    """Of the period, epoch milliseconds."""
    value: float | None
    normal: Normal
    course: Course

    @property
    def verdict(self) -> Verdict:
        """What the value is, compared with what is normal."""
        return self.normal.verdict(self.value)


class Measurements(Protocol):
    """Where rows of `ROWS` come from: measured now, or kept in a rollup."""

    def rows(self, name: str, since: int, until: int) -> pa.Table:
        """Return what a metric says, or for the name of a relation, when it had rows."""
        ...


@dataclass(frozen=True)
class Direct:
    """Measures by asking, each time anew."""

    engine: Engine

    def rows(self, name: str, since: int, until: int) -> pa.Table:
        """Return what a metric says, or for the name of a relation, when it had rows."""
        return _asked(self.engine, name, since, until)


class Rollup:
    """What the metrics say of each day, in files beside the store that they are made of."""

    def __init__(self, store: Store) -> None:
        """Use the one of a store; nothing is made before it is asked for."""
        self._store = store
        self.root = store.root / "baselines"

    def rows(self, name: str, since: int, until: int) -> pa.Table:
        """Return what a metric says, or for the name of a relation, when it had rows.

        Measures first what was not measured yet, and what has changed since.
        """
        relation = _relation(name)
        by_day: dict[str, list[File]] = {}
        for file in self._store.files(relation, instant(since), instant(until - 1)):
            by_day.setdefault(file.day.isoformat(), []).append(file)
        for path in self._kept(name, since, until):
            files = by_day.get(_day_of(path))
            if files and path != self._path(name, files):
                path.unlink(missing_ok=True)
        if missing := [files for files in by_day.values() if not self._path(name, files).exists()]:
            with Duck() as duck:
                for files in missing:
                    self._measure(duck, name, files)
        tables = [_read(path) for path in self._kept(name, since, until)]
        table = pa.concat_tables([ROWS.empty_table(), *tables])
        return table.filter((pc.field("start") >= since) & (pc.field("start") < until))

    def rebuild(self, until: datetime) -> int:
        """Measure all days anew of which the store still has rows, and return how many files.

        What is known of days that the store has dropped stays, if they are not older than
        `HISTORY`.
        """
        end = midnight(until) + DAY
        since = end - round(HISTORY.total_seconds() * 1000)
        oldest, count = instant(since).date().isoformat(), 0
        for name in (*metrics(), *{metric.relation for metric in metrics().values()}):
            days = {file.day.isoformat() for file in self._store.files(_relation(name))}
            for path in self._kept(name, 0, end):
                if _day_of(path) in days or _day_of(path) < oldest:
                    path.unlink(missing_ok=True)
            self.rows(name, since, end)
            count += len(self._kept(name, since, end))
        return count

    def _path(self, name: str, files: Sequence[File]) -> Path:
        fingerprint = _fingerprint(name, files)
        return self.root / name / f"{files[0].day.isoformat()}.{fingerprint}.parquet"

    def _measure(self, duck: Duck, name: str, files: Sequence[File]) -> None:
        """Keep what a metric says of a day."""
        path = self._path(name, files)
        since = epoch(datetime.combine(files[0].day, time(), UTC))
        duck.scan(_relation(name), [file.path for file in files])
        table = _asked(duck, name, since, since + DAY)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, part, compression="zstd")
            part.replace(path)
        except OSError as error:
            raise Unreachable(f"{path}: what was measured cannot be kept: {error}") from error

    def _kept(self, name: str, since: int, until: int) -> list[Path]:
        first, last = (instant(at).date().isoformat() for at in (since, until - 1))
        paths = sorted((self.root / name).glob("*.parquet"))
        return [path for path in paths if first <= _day_of(path) <= last]


@dataclass(frozen=True)
class Learner:
    """What was measured up to an instant, from which the normal of everybody is learned."""

    id: str
    metric: Metric
    measurements: Measurements
    until: datetime
    spans: tuple[Span, ...] = ()

    def measured(self, start: int, entities: Iterable[Entity]) -> Iterator[Measured]:
        """Yield the values of entities in the period from `start` on, and what is normal."""
        wanted = sorted(entities)
        rows = self._rows(wanted)
        for entity in wanted:
            series = self._series(entity, rows.get(entity, []), start)
            if series is None:
                continue
            course = baseline.learn(self.metric, series, _spans_of(entity, self.spans))
            yield Measured(self.id, self.metric, entity, start, *course.at(start), course)

    def values(self, since: int, until: int, above: float = -1.0) -> dict[int, list[Entity]]:
        """Return who had a value above a bound, greatest first, by the start of their periods."""
        sql = f"""
            SELECT * EXCLUDE (value, total) FROM ({self._levels}) AS levels
            WHERE start >= {since} AND start < {until} AND {_value(self.metric)} > {above}
            ORDER BY {_value(self.metric)} DESC
        """  # noqa: S608
        found: dict[int, list[Entity]] = {}
        for row in self._duck.ask(sql).to_pylist():
            found.setdefault(row.pop("start"), []).append(_entity(row))
        return found

    def items(self, entity: Entity, start: int) -> list[str]:
        """Return the new items of an entity in a period."""
        params = {"cloud": entity.cloud, "account": entity.account, "entity": entity.name}
        sql = f"""
            SELECT DISTINCT item FROM ({self._new}) AS new
            WHERE start = {start} AND cloud = :cloud AND account = :account
              AND (:entity = '' OR entity = :entity)
            ORDER BY item
        """  # noqa: S608
        return [row["item"] for row in self._duck.ask(sql, params).to_pylist()]

    @cached_property
    def _since(self) -> int:
        return midnight(self.until - HISTORY)

    @cached_property
    def _duck(self) -> Duck:
        duck = Duck()
        until = epoch(self.until)
        duck.put({"measured": self.measurements.rows(self.id, self._since, until)})
        return duck

    @cached_property
    def _alive(self) -> Mapping[tuple[str, str], np.ndarray[Any, Any]]:
        """When the logs of an account had rows, by cloud and account: starts of periods."""
        table = self.measurements.rows(self.metric.relation, self._since, epoch(self.until)).select(
            ["cloud", "account", "start"]
        )
        found: dict[tuple[str, str], list[int]] = {}
        for row in table.to_pylist():
            found.setdefault((row["cloud"], row["account"]), []).append(row["start"])
        length = self.metric.period.ms
        return {who: np.unique(np.array(at) // length * length) for who, at in found.items()}

    @property
    def _new(self) -> str:
        """The rows of the items that their account had not known before."""
        return f"""
            SELECT measured.* EXCLUDE (value), 1 AS value FROM measured JOIN (
                SELECT cloud, account, item, min(start) AS start FROM measured
                WHERE item NOT IN ({_listed(self.metric.known)}) GROUP BY ALL
            ) AS first USING (cloud, account, item, start)
        """  # noqa: S608

    @property
    def _levels(self) -> str:
        """The sums of each entity and of each account, by period."""
        is_novel = self.metric.measure is Measure.NOVELTY
        rows = f"({self._new})" if is_novel else "measured"
        value = "count(DISTINCT item)" if is_novel else "sum(value)"
        of_entity = f"""
            SELECT cloud, account, region, kind, entity, start, {value} AS value,
                   sum(total) AS total
            FROM {rows} AS rows WHERE entity <> '' GROUP BY ALL
        """  # noqa: S608
        of_account = f"""
            SELECT cloud, account, '' AS region, '' AS kind, '' AS entity, start,
                   {value} AS value, sum(total) AS total
            FROM {rows} AS rows GROUP BY cloud, account, start
        """  # noqa: S608
        return f"{of_entity} UNION ALL {of_account}" if self.metric.of_account else of_entity

    def _rows(self, entities: Sequence[Entity]) -> dict[Entity, list[tuple[int, float]]]:
        """Return the values of entities and the starts of their periods."""
        names = _listed({entity.name for entity in entities})
        sql = f"""
            SELECT * EXCLUDE (value, total), {_value(self.metric)} AS value
            FROM ({self._levels}) AS levels
            WHERE entity IN ({names}) AND {_value(self.metric)} IS NOT NULL
        """  # noqa: S608
        found: dict[Entity, list[tuple[int, float]]] = {}
        for row in self._duck.ask(sql).to_pylist():
            at = row.pop("start"), row.pop("value")
            found.setdefault(_entity(row), []).append(at)
        return found

    def _series(
        self, entity: Entity, rows: Sequence[tuple[int, float]], start: int
    ) -> Series | None:
        """Return what was measured of an entity up to the day of `start`; None if never."""
        metric, last = self.metric, start - start % DAY
        alive = self._alive.get((entity.cloud, entity.account), np.zeros(0, np.int64))
        firsts = [at for at, _ in rows] if metric.since_seen else [*alive[:1]]
        if not firsts or min(firsts) > start:
            return None
        first = int(min(firsts)) // DAY * DAY
        values = np.full(((last - first) // DAY + 1) * (DAY // metric.period.ms), np.nan)
        places = (alive - first) // metric.period.ms
        if metric.measure is not Measure.SHARE:
            values[places[(places >= 0) & (places < len(values))]] = 0.0
        for at, value in rows:
            place = (at - first) // metric.period.ms
            if 0 <= place < len(values):
                values[place] = value
        if metric.measure is Measure.NOVELTY:
            # Where knowledge begins, everything is new.
            values[: WARM // 2 * DAY // metric.period.ms] = np.nan
        return Series(first, values.reshape(-1, DAY // metric.period.ms))


def shown(
    id_: str, measurements: Measurements, at: datetime, *, account: str = "", entity: str = "",
    spans: Iterable[Span] = (),
) -> list[Measured]:  # fmt: skip
    """Return how everybody stands at an instant, who is above first.

    That is everybody with a value in the day before, the last of them; who has a great one, if
    there are more than `MOST`. Of an entity that is asked for it is the last value of all.
    """
    metric, length = metrics()[id_], metrics()[id_].period.ms
    learner = Learner(id_, metric, measurements, at, tuple(spans))
    since = midnight(at - HISTORY) if entity else (epoch(at) - DAY) // length * length
    last: dict[Entity, int] = {}
    for start, entities in sorted(learner.values(since, epoch(at)).items(), reverse=True):
        for one in entities:
            if account in ("", one.account) and (not entity or entity in (one.name, str(one))):
                last.setdefault(one, start)
    by_start: dict[int, list[Entity]] = {}
    for one, start in [*last.items()][:MOST]:
        by_start.setdefault(start, []).append(one)
    found = (one for start, them in by_start.items() for one in learner.measured(start, them))
    return sorted(found, key=_urgency)


def findings(
    measurements: Measurements, until: datetime, since: datetime | None = None, *,
    ids: Iterable[str] = (), spans: Iterable[Span] = (),
) -> list[Finding]:  # fmt: skip
    """Return a finding for each value above its threshold in the periods between two instants.

    Without `since` these are the period that runs at `until` and the one before. The id of a
    finding is the same whenever it is looked for. Where an entity explains what is seen of its
    account, the account has no finding of its own.
    """
    found: list[Finding] = []
    for id_ in ids or metrics():
        metric = metrics()[id_]
        length = metric.period.ms
        learner = Learner(id_, metric, measurements, until, tuple(spans))
        end = epoch(until)
        begin = epoch(since) if since else (end - 1) // length * length - length
        candidates = learner.values(begin // length * length, end, baseline.lowest(metric))
        for start, entities in sorted(candidates.items()):
            found += _found(learner, start, entities)
    return found


def sentence(measured: Measured) -> str:
    """Return what was measured and what was expected, as a sentence without its full stop."""
    unit, normal = measured.metric.unit, measured.normal
    what = f"{measured.metric.title} of {measured.entity}"
    when = f"{instant(measured.start):%Y-%m-%d %H:%M} UTC"
    value = baseline.told(unit, measured.value)
    text = f"{what} in the {measured.metric.period} from {when} on: {value}"
    if normal.threshold is not None:
        text += f", threshold {baseline.told(unit, normal.threshold)}"
    warm = baseline.warmth(measured.metric, normal)
    return f"{text}; normal is {baseline.band_of(unit, normal)} ({warm})"


def _found(learner: Learner, start: int, entities: Sequence[Entity]) -> list[Finding]:
    above = [one for one in learner.measured(start, entities) if one.verdict is Verdict.ABOVE]
    explained = {(one.entity.cloud, one.entity.account) for one in above if one.entity.name}
    return [
        _finding(learner, one)
        for one in above
        if one.entity.name or (one.entity.cloud, one.entity.account) not in explained
    ]


def _finding(learner: Learner, measured: Measured) -> Finding:
    """Return what a detection would have made of a value, had it found it."""
    entity, metric = measured.entity, measured.metric
    last = min(measured.start + metric.period.ms, epoch(learner.until)) - 1
    is_novel = metric.measure is Measure.NOVELTY
    items = learner.items(entity, measured.start)[:SHOWN] if is_novel else []
    said = sentence(measured) + (f"\nnew: {', '.join(items)}" if items else "")
    row = {
        "cloud": entity.cloud, "account": entity.account, "region": entity.region,
        "first_seen": measured.start, "last_seen": last, "said": said,
    }  # fmt: skip
    if metric.about is About.PRINCIPAL:
        row |= {"actor_type": entity.kind, "actor": entity.name}
    elif entity.kind:
        row |= {entity.kind: entity.name}
    (finding,) = detecting.grouped(f"baseline.{measured.id}", _detection(metric, entity), [row])
    # Only registrable domains: who blocks a domain of a finding must not block all of a country's.
    return (
        finding.model_copy(update={"domains": tuple(items)})
        if metric.unit is Unit.DOMAINS
        else finding
    )


def _detection(metric: Metric, entity: Entity) -> Detection:
    """Return a metric as the detection whose findings it makes."""
    return Detection(
        title=f"{metric.title} far above normal",
        description=metric.description,
        type=metric.type,
        severity=metric.severity,
        techniques=metric.techniques,
        about=metric.about if entity.name else About.ACCOUNT,
        side=metric.side,
        window=timedelta(milliseconds=metric.period.ms),
        sql=metric.sql,
        summary="{said}",
    )


def _asked(engine: Engine, name: str, since: int, until: int) -> pa.Table:
    """Return what a metric says of a day or a part of it, in the columns of `ROWS`."""
    metric = metrics().get(name)
    sql = metric.sql if metric else ALIVE.format(relation=name)
    period = metric.period.ms if metric else HOUR
    told = engine.ask(sql, {"since": since, "until": until, "period": period})
    columns = [
        told[field.name].cast(field.type)
        if field.name in told.column_names
        else pa.nulls(told.num_rows, field.type)
        for field in ROWS
    ]
    return pa.table(columns, schema=ROWS)


def _read(path: Path) -> pa.Table:
    try:
        return parquet.read_table(path, schema=ROWS)
    except (OSError, pa.ArrowException) as error:
        what = "cannot be read: `firedoor baseline rebuild` measures its day anew"
        raise BadInput("baselines", str(path), what) from error


def _relation(name: str) -> str:
    metric = metrics().get(name)
    return metric.relation if metric else name


def _fingerprint(name: str, files: Sequence[File]) -> str:
    """Return what changes when a day is made of other files, or measured in another way."""
    metric = metrics().get(name)
    parts = [metric.sql if metric else ALIVE, *(f"{file.path.name} {file.rows}" for file in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _day_of(path: Path) -> str:
    return path.name.partition(".")[0]


def _value(metric: Metric) -> str:
    """Return the SQL for a value of the sums: null where too few make it."""
    if metric.measure is Measure.SHARE:
        return f"(CASE WHEN total >= {max(1, metric.least)} THEN value / total END)"
    return "value"


def _entity(row: Mapping[str, Any]) -> Entity:
    texts = (row[name] or "" for name in ("cloud", "account", "region", "kind", "entity"))
    return Entity(*texts)


def _listed(texts: Iterable[str]) -> str:
    """Return texts as SQL writes a list of them, which is never empty."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in sorted(texts)) or "''"


def _spans_of(entity: Entity, spans: Iterable[Span]) -> list[Span]:
    return [
        span
        for span in spans
        if span.account in ("", entity.account) and span.entity in ("", entity.name)
    ]


def _urgency(measured: Measured) -> tuple[bool, float, Entity]:
    """Return by what measurements are sorted: how far above the threshold, or how near it."""
    value, threshold = measured.value or 0.0, measured.normal.threshold
    near = value / threshold if threshold else 0.0
    return measured.verdict is not Verdict.ABOVE, -near, measured.entity


def instant(ms: int) -> datetime:
    """Return the instant of epoch milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC)
