"""What is normal: learned robustly, followed slowly, and never taught by an attacker at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from firedoor import baseline
from firedoor.baseline import (
    DAY,
    WARM,
    Floats,
    Measure,
    Metric,
    Normal,
    Period,
    Series,
    Span,
    Unit,
    Verdict,
    learn,
)
from firedoor.detection import About
from firedoor.model.finding import Side

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
BEGIN = baseline.epoch(START)
GB = 1e9

BYTES = Metric(
    title="Outbound traffic", description="", unit=Unit.BYTES, relation="network_activity",
    period=Period.DAY, measure=Measure.AMOUNT, sql="", usual=10 * GB, alert=50 * GB, scale=0.5 * GB,
    type="Behavior:Network/OutboundBytes", severity=5, techniques=(), about=About.RESOURCE,
    side=Side.ACTOR,
)  # fmt: skip
CALLS = replace(
    BYTES, unit=Unit.CALLS, period=Period.HOUR, usual=1000, alert=10_000, alert_at_night=1000,
    scale=50,
)  # fmt: skip
SHARE = replace(
    CALLS, unit=Unit.SHARE, measure=Measure.SHARE, usual=0.01, alert=0.05, alert_at_night=None
)

# Honest days of 90, and how many of 10,000 may be above their thresholds all the same.
HONEST: dict[str, tuple[int, Callable[[np.random.Generator], Floats]]] = {
    "always the same": (0, lambda _: np.full(90, 5 * GB)),
    "never anything": (0, lambda _: np.zeros(90)),
    "log-normal, sigma 0.5": (5, lambda rng: rng.lognormal(22, 0.5, 90)),
    "log-normal, sigma 1": (30, lambda rng: rng.lognormal(22, 1, 90)),
    "Pareto, alpha 2": (50, lambda rng: 2 * GB * (1 + rng.pareto(2, 90))),
    "Pareto, alpha 1.2": (150, lambda rng: 2 * GB * (1 + rng.pareto(1.2, 90))),
    "weekends at a tenth": (5, lambda rng: rng.lognormal(22, 0.4, 90) * _weekly(0.1)),
    "a backup on each Sunday": (20, lambda rng: rng.lognormal(21, 0.4, 90) * _backup()),
}


def daily(values: Floats) -> Series:
    return Series(BEGIN, values.reshape(-1, 1))


def hourly(values: Floats) -> Series:
    return Series(BEGIN, values.reshape(-1, 24))


def above(metric: Metric, series: Series) -> list[int]:
    """Return the days on which a value was above its threshold."""
    course = learn(metric, series)
    return sorted({int(day) for day in np.argwhere(series.values > course.threshold)[:, 0]})


@pytest.mark.parametrize("kind", HONEST)
def test_honest_traffic_is_rarely_above_the_threshold(kind: str) -> None:
    bound, series = HONEST[kind]
    alarms = days = 0
    for seed in range(20):
        values = series(np.random.default_rng(seed))
        alarms += sum(day >= WARM for day in above(BYTES, daily(values)))
        days += len(values) - WARM

    assert 10_000 * alarms / days <= bound


def test_honest_callers_are_above_in_fewer_than_two_of_ten_thousand_hours() -> None:
    alarms = hours = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        series = hourly(rng.poisson(_office() * rng.lognormal(0, 0.4, 90 * 24)).astype(float))
        course = learn(CALLS, series)
        alarms += int((series.values > course.threshold)[WARM:].sum())
        hours += (90 - WARM) * 24

    assert alarms / hours < 2e-4


@pytest.mark.parametrize("kind", ["log-normal, sigma 0.5", "weekends at a tenth", "never anything"])
def test_every_planted_spike_is_found(kind: str) -> None:
    missed = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = HONEST[kind][1](rng)
        day = int(rng.integers(WARM, 90))
        values[day] = 40 * max(float(np.median(values)), GB)
        if day not in above(BYTES, daily(values)):
            missed.append(seed)

    assert missed == []


def test_a_spike_at_three_in_the_morning_is_found_that_would_be_normal_at_noon() -> None:
    values = np.random.default_rng(1).poisson(_office()).astype(float)
    noon, night = 60 * 24 + 12, 60 * 24 + 3
    values[night] = values[noon]

    course = learn(CALLS, hourly(values))

    assert [verdict_at(course, hour) for hour in (noon, night)] == [Verdict.NORMAL, Verdict.ABOVE]


@pytest.mark.parametrize("seed", range(20))
def test_who_raises_traffic_by_a_tenth_a_day_is_noticed_within_forty_days(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(22, 0.5, 90)
    values[30:] *= 1.1 ** np.arange(60)

    first = next(day for day in above(BYTES, daily(values)) if day >= 30)

    assert first - 30 <= 40


def test_who_raises_traffic_by_a_tenth_a_day_is_noticed_whenever_one_looks() -> None:
    values = np.random.default_rng(1).lognormal(22, 0.3, 120)
    values[60:] *= 1.1 ** np.arange(60)

    looked = [above(BYTES, daily(values[day - 89 : day + 1])) for day in range(89, 120)]

    assert all(days for days in looked[5:])


def test_growth_of_one_percent_a_week_is_followed() -> None:
    values = 5 * GB * 1.01 ** (np.arange(90) / 7)

    course = learn(BYTES, daily(values))

    assert above(BYTES, daily(values)) == []
    assert course.threshold[89, 0] / course.threshold[WARM, 0] == pytest.approx(1.1, abs=0.05)


def test_a_threshold_never_rises_faster_than_two_percent_a_day() -> None:
    values = np.full(90, 20 * GB)
    values[40:] *= 100

    threshold = learn(BYTES, daily(values)).threshold[WARM:, 0]

    assert max(threshold[7:] / threshold[:-7]) == pytest.approx(1.02**7)


@pytest.mark.parametrize("day", [5, 40])
def test_one_spike_does_not_move_the_threshold(day: int) -> None:
    quiet = np.random.default_rng(1).lognormal(22, 0.3, 60)
    spiked = quiet.copy()
    spiked[day] *= 1000

    before, after = (
        learn(BYTES, daily(values)).threshold[day + 10, 0] for values in (quiet, spiked)
    )

    assert after == pytest.approx(before, rel=0.1)


def test_not_even_weeks_of_theft_make_it_the_middle_of_what_is_normal() -> None:
    values = np.full(90, 20 * GB)
    values[40:65] *= 1000

    course = learn(BYTES, daily(values))

    assert course.middle[60:65].max() <= course.threshold[40:65].max()


def test_what_begins_and_stays_below_the_usual_is_soon_normal() -> None:
    values = np.zeros(60)
    values[30:] = 8 * GB

    assert above(BYTES, daily(values)) == [30, 31]


def test_what_was_measured_during_an_incident_teaches_nothing() -> None:
    quiet = np.random.default_rng(1).lognormal(22, 0.3, 60)
    raided = quiet.copy()
    raided[40:50] *= 3
    span = Span(START + timedelta(days=40), START + timedelta(days=50))

    left_out = learn(BYTES, daily(raided), [span])

    assert left_out.left_out[:, 0].nonzero()[0].tolist() == [*range(40, 50)]
    assert left_out.threshold[59] < learn(BYTES, daily(raided)).threshold[59]
    assert left_out.samples[59] == 18


def test_an_hour_that_an_incident_touches_is_left_out() -> None:
    span = Span(START + timedelta(minutes=90), START + timedelta(minutes=121))

    course = learn(CALLS, hourly(np.zeros(24)), [span])

    assert course.left_out[0].nonzero()[0].tolist() == [1, 2]


def test_while_too_little_is_known_the_default_threshold_holds_and_that_is_said() -> None:
    value, normal = learn(BYTES, daily(np.full(4, 60 * GB))).at(BEGIN + 3 * DAY)

    assert (value, normal.threshold, normal.high, normal.warm) == (60 * GB, 50 * GB, 10 * GB, False)
    assert normal.verdict(value) is Verdict.ABOVE
    assert baseline.warmth(BYTES, normal) == (
        "learning: 3 of 14 days; the default threshold 50 GB holds until then"
    )


def test_without_a_default_threshold_nothing_is_reported_while_learning() -> None:
    metric = replace(BYTES, alert=None)

    value, normal = learn(metric, daily(np.full(4, 60 * GB))).at(BEGIN + 3 * DAY)

    assert normal.verdict(value) is Verdict.UNKNOWN
    assert baseline.warmth(metric, normal) == (
        "learning: 3 of 14 days; nothing is reported until then"
    )


def test_by_default_less_is_expected_at_night() -> None:
    course = learn(CALLS, hourly(np.full(24, 5000.0)))

    assert [verdict_at(course, hour) for hour in (3, 12, 23)] == [
        Verdict.ABOVE,
        Verdict.RAISED,
        Verdict.ABOVE,
    ]


def test_silent_days_of_the_logs_are_no_days_without_traffic() -> None:
    values = np.full(60, 5 * GB)
    values[30:45] = np.nan

    course = learn(BYTES, daily(values))

    assert course.middle[59, 0] == pytest.approx(5 * GB)
    assert course.days[58] == 13
    assert not course.at(BEGIN + 58 * DAY)[1].warm


def test_a_share_is_compared_as_a_share() -> None:
    rng = np.random.default_rng(1)
    values = rng.binomial(5000, 0.005, 40 * 24) / 5000

    course = learn(SHARE, hourly(values))
    busy = learn(SHARE, hourly(values + 0.4))

    assert 0.01 < course.threshold[39, 12] < 0.05
    assert 0.45 < busy.threshold[39, 12] < 0.6


def test_a_threshold_is_never_below_the_lowest() -> None:
    for metric in (BYTES, CALLS, SHARE):
        course = learn(metric, hourly(np.zeros(40 * 24)))

        assert course.threshold.min() >= baseline.lowest(metric) * (1 - 1e-9)


def test_a_quiet_fortnight_does_not_make_ordinary_days_stand_out() -> None:
    values = np.random.default_rng(1).lognormal(22, 0.3, 90)
    values[40:54] *= 0.05

    assert above(BYTES, daily(values)) == []


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(None, "unknown"), (0.5, "low"), (2, "normal"), (5, "raised"), (9, "raised"), (9.1, "above")],
)
def test_verdict_follows_from_band_and_threshold(value: float | None, verdict: str) -> None:
    normal = Normal(low=1, middle=2, high=3, threshold=9, samples=28, days=28, warm=True)

    assert normal.verdict(value) == verdict


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.BYTES, 12.34e9, "12.3 GB"), (Unit.BYTES, 999, "999 B"), (Unit.BYTES, 5e4, "50 kB"),
        (Unit.BYTES, 1.5e12, "1.5 TB"), (Unit.BYTES, 999.6e6, "1 GB"),
        (Unit.SHARE, 0.0451, "4.5 %"), (Unit.SHARE, 0.05, "5 %"),
        (Unit.CALLS, 17430.2, "17,430"), (Unit.CALLS, 0.7, "0"), (Unit.CALLS, 0, "0"),
        (Unit.CALLS, None, "-"),
    ],
)  # fmt: skip
def test_values_are_told_as_people_read_them(unit: Unit, value: float | None, text: str) -> None:
    assert baseline.told(unit, value) == text


def verdict_at(course: baseline.Course, hour: int) -> Verdict:
    value, normal = course.at(BEGIN + hour * baseline.HOUR)
    return normal.verdict(value)


def _weekly(weekend: float) -> Floats:
    return np.where(np.arange(90) % 7 >= 5, weekend, 1.0)


def _backup() -> Floats:
    return np.where(np.arange(90) % 7 == 6, 20.0, 1.0)


def _office() -> Floats:
    """Return the mean of each hour of 90 days: busy on weekdays from 8 to 18."""
    hours = np.arange(90 * 24)
    busy = (hours % 24 >= 8) & (hours % 24 < 18) & (hours // 24 % 7 < 5)
    return np.where(busy, 800.0, 10.0)
