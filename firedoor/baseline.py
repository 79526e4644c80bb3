"""The contract of a metric, and how its normal is learned from what was measured.

What is normal of one entity is learned anew for each day, from the four weeks before it: a median,
as far as there are enough values for one of each hour and weekday, and how far above it values lie.
All of it on a scale on which honest traffic is about as wide everywhere: the logarithm of amounts,
the arc sine of the root of shares. Nobody who is measured is believed without bound:

- a value counts for no more than the threshold that was in force when it was measured
- a threshold is at most `GROWTH` a day above those of the four weeks before
- what was measured during incidents is left out, if it is said when they were

So one spike teaches nothing, and who raises a level by more than `GROWTH` a day is overtaken by it.
A slower rise is followed, whoever makes it; one that began before the first values is not told
from a habit; and an honest step up stays above the threshold until that has grown up to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from firedoor.detection import About
from firedoor.model.finding import Side

WEEKS: Final = 4
"""How much time a normal is learned from."""
WARM: Final = 14
"""Days of values that it takes to know a normal; until then, the default threshold holds."""
HISTORY: Final = timedelta(days=90)
"""How far back learning begins, so that a threshold knows what it was."""
GROWTH: Final = 1.02
"""By which factor a threshold may rise in a day: 15 percent a week, to ten times in four months."""
WIDTHS: Final = 5.0
"""How many widths above the middle the threshold lies; a width is a standard deviation, robust."""
BAND: Final = 3.0
"""How many widths around the middle is the band of what is normal."""
TAIL: Final = 0.97
"""The part of the values that the threshold leaves well below itself, however rare the others."""
TRUST: Final = 3.0
"""How many values of an hour or weekday weigh as much as what is known of all of them."""
AMOUNT_WIDTH: Final = 0.25
SHARE_WIDTH: Final = 0.02
"""The least width, on the scale of amounts and of shares: what does not vary might yet."""
MARGIN: Final = 6
"""How many of the least widths lie between all but the rarest values and the threshold: from 10 GB
to 47 GB, from 1 percent to 5 percent, as between the bounds that hold while nothing is learned."""
NIGHT: Final = (22, 6)
"""The hours, UTC, between which it is out of business hours, while nothing better is known."""

DAY: Final = 86_400_000
HOUR: Final = 3_600_000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Period(StrEnum):
    """How long each measurement is."""

    HOUR = "hour"
    DAY = "day"

    @property
    def ms(self) -> int:
        """Its length in milliseconds."""
        return HOUR if self is Period.HOUR else DAY


class Measure(StrEnum):
    """What is measured of an entity in a period, and the columns of `sql` for it."""

    AMOUNT = "amount"
    """The sum of `value`; periods without a row are 0."""
    SHARE = "share"
    """The part that `value` is of `total`; there is none where the total is below `least`."""
    NOVELTY = "novelty"
    """How many `item`s the account had not known before; who had one first has it counted."""


class Unit(StrEnum):
    """What a value is a number of."""

    BYTES = "bytes"
    SHARE = "share"
    CALLS = "calls"
    LOGINS = "failed logins"
    DOMAINS = "new domains"
    SUFFIXES = "new top-level domains"
    CALLERS = "new callers"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. Its id is the name of its module below `firedoor.baselines`: `outbound_bytes`.

    `sql` is of the subset that runs on DuckDB and Athena alike (`firedoor.lake.portable`), with the
    parameters `:since` and `:until`, which bound `time`, and `:period`, a length; all milliseconds.
    A row of its answer is a measurement of one entity, or a part of one:

    - `cloud`, `account`, `region`
    - `kind`, `entity`: which column of a resource names it, or the type of a principal, and the
      name; both empty where only the account is known
    - `start` of the period, and what `measure` says
    """

    title: str
    description: str
    unit: Unit
    relation: str
    period: Period
    measure: Measure
    sql: str
    usual: float
    """Up to where values are normal while that is not known better."""
    alert: float | None
    """Above which value there is a finding while the normal is not known; None for nowhere."""
    alert_at_night: float | None = None
    """The same out of business hours; None where it does not differ."""
    scale: float = 1.0
    """Which amount is small: what varies by less is not looked at closely."""
    least: int = 0
    """Of how many at least a share is told."""
    seasonal: bool = True
    """Whether hours of the day and days of the week may differ."""
    since_seen: bool = False
    """Whether an entity is silent only after it was seen once, and did not exist before."""
    of_account: bool = True
    """Whether the account as a whole is measured beside its entities."""
    known: frozenset[str] = frozenset()
    """Items that are never new."""
    type: str
    """Of its findings, in the grammar of GuardDuty; runbooks are chosen by it."""
    severity: float
    techniques: tuple[str, ...]
    about: About
    side: Side


@dataclass(frozen=True)
class Span:
    """A time that is left out, of one account or one entity of it."""

    since: datetime
    until: datetime
    account: str = ""
    """Empty for all accounts."""
    entity: str = ""
    """Empty for all entities, and the account itself."""


class Verdict(StrEnum):
    """What a value is, compared with what is normal."""

    NORMAL = "normal"
    LOW = "low"  # below the band of what is normal
    RAISED = "raised"  # over that band, but not above the threshold
    ABOVE = "above"
    UNKNOWN = "unknown"  # there is no value, or no threshold yet


@dataclass(frozen=True)
class Normal:
    """What is normal of an entity in one period; without a threshold, everything is."""

    low: float
    middle: float
    high: float
    threshold: float | None
    samples: int
    """How many values it was learned from."""
    days: int
    """Of how many days."""
    warm: bool
    """Whether it was learned; if not, all of this is the default."""

    def verdict(self, value: float | None) -> Verdict:
        """Return what a value is; it is above only if it is more than the threshold."""
        if value is None or (self.threshold is None and not self.warm):
            return Verdict.UNKNOWN
        if self.threshold is not None and value > self.threshold:
            return Verdict.ABOVE
        if value < self.low:
            return Verdict.LOW
        return Verdict.NORMAL if value <= self.high else Verdict.RAISED


@dataclass(frozen=True)
class Series:
    """What was measured of one entity in whole days from `start`, a row for each.

    A value is NaN where nothing is known: the logs were silent, or too few events to tell a share.
    """

    start: int
    """Midnight of the first day, epoch milliseconds."""
    values: Floats
    """One row for each day, with the periods of the day."""


@dataclass(frozen=True)
class Course:
    """A series with what was normal for each of its periods, learned from those before its day."""

    series: Series
    left_out: Flags
    low: Floats
    middle: Floats
    high: Floats
    threshold: Floats
    """Infinite where there is none."""
    samples: NDArray[np.int64]
    """For each day, from how many values it was learned."""
    days: NDArray[np.int64]

    def at(self, instant: int) -> tuple[float | None, Normal]:
        """Return the value of the period of an instant, and what is normal there."""
        day, rest = divmod(instant - self.series.start, DAY)
        place = day, rest * self.series.values.shape[1] // DAY
        value, threshold = float(self.series.values[place]), float(self.threshold[place])
        return None if np.isnan(value) else value, Normal(
            low=float(self.low[place]),
            middle=float(self.middle[place]),
            high=float(self.high[place]),
            threshold=None if np.isinf(threshold) else threshold,
            samples=int(self.samples[day]),
            days=int(self.days[day]),
            warm=bool(self.days[day] >= WARM),
        )


def learn(metric: Metric, series: Series, spans: Iterable[Span] = ()) -> Course:
    """Return what was normal on each day of a series, from the first to the last.

    `spans` are those of this entity.
    """
    left_out = _left_out(series, spans)
    places = scaled(metric, np.where(left_out, np.nan, series.values))
    course = _default(metric, series, left_out)
    for day in range(len(places)):
        window = _window(places, day)
        course.samples[day] = np.count_nonzero(~np.isnan(window))
        course.days[day] = np.count_nonzero(~np.isnan(window).all(axis=2))
        if course.days[day] < WARM:
            continue
        middle, below, above, tail = _fit(metric, window)
        reach = middle + max(WIDTHS * above, tail + MARGIN * _width(metric))
        course.low[day] = unscaled(metric, middle - BAND * below)
        course.middle[day] = unscaled(metric, middle)
        course.threshold[day] = _bounded(metric, unscaled(metric, reach), course, day)
        high = unscaled(metric, middle + np.maximum(BAND * above, tail))
        course.high[day] = np.minimum(high, course.threshold[day])
        places[day] = np.minimum(places[day], scaled(metric, course.threshold[day]))
    return course


def told(unit: Unit, value: float | None) -> str:
    """Return a value as people read it: 12.3 GB, 4.5 %, 17."""
    match unit:
        case _ if value is None:
            return "-"
        case Unit.SHARE:
            return f"{round(100 * value, 1):g} %"
        case Unit.BYTES:
            for power, name in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
                if value >= 0.9995 * 10**power:
                    return f"{value / 10**power:.3g} {name}"
            return f"{value:.0f} B"
    # What is counted is above 17.4 just if it is above 17.
    return f"{int(value):,}"


def band_of(unit: Unit, normal: Normal) -> str:
    """Return the band of what is normal as people read it: 1 GB to 3 GB."""
    low, high = told(unit, normal.low), told(unit, normal.high)
    return low if low == high else f"{low} to {high}"


def warmth(metric: Metric, normal: Normal) -> str:
    """Return how far learning is: `learning: 3 of 14 days; ...`, or from what was learned."""
    if normal.warm:
        return f"learned from {min(normal.days, WEEKS * 7)} days"
    holds = "nothing is reported until then"
    if normal.threshold is not None:
        holds = f"the default threshold {told(metric.unit, normal.threshold)} holds until then"
    return f"learning: {normal.days} of {WARM} days; {holds}"


def lowest(metric: Metric) -> float:
    """Return the value below which no threshold of a metric ever is, whatever is learned."""
    learned = float(unscaled(metric, np.array(MARGIN * _width(metric))))
    defaults = (one for one in (metric.alert, metric.alert_at_night) if one is not None)
    return min((learned, *defaults))


def midnight(at: datetime) -> int:
    """Return the beginning of an instant's UTC day, in epoch milliseconds."""
    return epoch(at) // DAY * DAY


def epoch(at: datetime) -> int:
    """Return an instant in epoch milliseconds."""
    return round(at.timestamp() * 1000)


def scaled(metric: Metric, values: Floats) -> Floats:
    """Return values on the scale on which those of a metric are compared."""
    if metric.measure is Measure.SHARE:
        angles: Floats = np.arcsin(np.sqrt(values))
        return angles
    logarithms: Floats = np.log1p(values / metric.scale)
    return logarithms


def unscaled(metric: Metric, places: Floats) -> Floats:
    """Return values from their places on that scale."""
    if metric.measure is Measure.SHARE:
        share: Floats = np.sin(np.clip(places, 0, np.pi / 2)) ** 2
        return share
    return np.maximum(0.0, np.expm1(places) * metric.scale)


def _left_out(series: Series, spans: Iterable[Span]) -> Flags:
    """Return which periods lie in one of the spans, even if only with a part."""
    days, periods = series.values.shape
    starts = series.start + np.arange(days * periods).reshape(days, periods) * (DAY // periods)
    out = np.zeros(starts.shape, bool)
    for span in spans:
        since, until = (one.timestamp() * 1000 for one in (span.since, span.until))
        out |= (starts + DAY // periods > since) & (starts < until)
    return out


def _default(metric: Metric, series: Series, left_out: Flags) -> Course:
    """Return a course in which nothing is learned yet."""
    shape = series.values.shape
    alert = np.full(shape, np.inf if metric.alert is None else float(metric.alert))
    if metric.alert_at_night is not None and metric.period is Period.HOUR:
        begin, end = NIGHT
        alert[:, begin:] = alert[:, :end] = metric.alert_at_night
    return Course(
        series=series,
        left_out=left_out,
        low=np.zeros(shape),
        middle=np.zeros(shape),
        high=np.minimum(np.full(shape, float(metric.usual)), alert),
        threshold=alert,
        samples=np.zeros(shape[0], np.int64),
        days=np.zeros(shape[0], np.int64),
    )


def _window(places: Floats, day: int) -> Floats:
    """Return the four weeks before a day: by week, day of the week from that day's on, period."""
    days = WEEKS * 7
    known = places[max(0, day - days) : day]
    missing = np.full((days - len(known), places.shape[1]), np.nan)
    return np.concatenate((missing, known)).reshape(WEEKS, 7, -1)


def _fit(metric: Metric, window: Floats) -> tuple[Floats, float, float, float]:
    """Return the middle for the day after a window, the widths to both sides, and the tail.

    Where a cell has few values, its middle is drawn to that of what it is a part of: an hour of a
    weekday to the same hour of all days, and that to all hours.
    """
    middle = np.full(window.shape[1:], _median(window.ravel()))
    if metric.seasonal:
        hours = window.reshape(WEEKS * 7, -1)
        middle = _shrunk(hours, middle)
        middle = _shrunk(window, middle)
    rest = (window - middle).ravel()
    rest = rest[~np.isnan(rest)]
    widths = (max(_width(metric), _half_width(side)) for side in (-rest, rest))
    return middle[0], *widths, max(0.0, float(np.quantile(rest, TAIL, method="lower")))


def _half_width(rest: Floats) -> float:
    """Return the standard deviation of which one side of a distribution is, by its median.

    For a normal one it is 1.4826 times as much: https://doi.org/10.2307/2291267
    """
    side = rest[rest >= 0]
    return 1.4826 * float(np.median(side)) if len(side) else 0.0


def _shrunk(values: Floats, parent: Floats) -> Floats:
    """Return the medians over the first axis, drawn to `parent` where there are few values."""
    count = np.count_nonzero(~np.isnan(values), axis=0)
    own = np.where(count > 0, _median(values), 0.0)
    shrunk: Floats = (count * own + TRUST * parent) / (count + TRUST)
    return shrunk


def _median(values: Floats) -> Any:
    """Return the medians over the first axis of what is not NaN; numpy's own takes far longer."""
    count = np.count_nonzero(~np.isnan(values), axis=0)
    ordered = np.sort(values, axis=0)  # NaN last
    low, high = (
        np.take_along_axis(ordered, np.expand_dims(place, 0), axis=0)[0]
        for place in (np.maximum(count - 1, 0) // 2, count // 2)
    )
    return (low + high) / 2


def _bounded(metric: Metric, wanted: Floats, course: Course, day: int) -> Floats:
    """Return the thresholds of a day, not further above earlier ones than `GROWTH` allows.

    Those of the same weekday are compared, and the highest of them counts, so that a quiet holiday
    does not make an ordinary week after it stand out.
    """
    weeks = (day - 7 * week for week in range(1, WEEKS + 1))
    earlier = [course.threshold[d] for d in weeks if d >= 0 and course.days[d] >= WARM]
    if not earlier:
        return wanted
    bound = np.maximum(np.max(earlier, axis=0) * GROWTH**7, metric.usual)
    bounded: Floats = np.minimum(wanted, bound)
    return bounded


def _width(metric: Metric) -> float:
    return SHARE_WIDTH if metric.measure is Measure.SHARE else AMOUNT_WIDTH
