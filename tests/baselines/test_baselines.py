"""What holds for every metric: its SQL, its columns, and the thresholds that it begins with."""

import re
from datetime import UTC, datetime

import pytest

from firedoor import baseline, baselining
from firedoor.baseline import Measure, Metric
from firedoor.baselining import ROWS, Direct
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.relations import RELATIONS

METRICS = baselining.metrics()
AT = datetime(2026, 1, 5, tzinfo=UTC)

each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


def test_everything_has_a_baseline_that_should_have_one() -> None:
    assert {
        "outbound_bytes",
        "failed_logins",
        "rejected_share",
        "dns_domains",
        "dns_suffixes",
        "api_calls",
    } <= METRICS.keys()


@each_metric
def test_sql_is_portable(metric: Metric) -> None:
    portable.check(metric.sql)


@each_metric
def test_sql_asks_its_relation_alone_and_for_one_time(metric: Metric) -> None:
    assert portable.columns(metric.sql).keys() == {metric.relation}
    assert metric.relation in RELATIONS
    assert portable.parameters(metric.sql) == {"since", "until", "period"}


@each_metric
def test_sql_tells_what_the_measure_needs(metric: Metric) -> None:
    needed = {
        Measure.AMOUNT: {"value"},
        Measure.SHARE: {"value", "total"},
        Measure.NOVELTY: {"item"},
    }[metric.measure]

    with Duck() as duck:
        told = duck.ask(metric.sql, {"since": 0, "until": 1, "period": 1}).column_names

    assert set(told) == {"cloud", "account", "region", "kind", "entity", "start"} | needed


@pytest.mark.parametrize("id_", METRICS)
def test_without_rows_nothing_is_measured(id_: str) -> None:
    with Duck() as duck:
        assert Direct(duck).rows(id_, 0, 1).equals(ROWS.empty_table())
        assert baselining.shown(id_, Direct(duck), AT) == []


@each_metric
def test_a_share_is_told_only_of_enough(metric: Metric) -> None:
    assert (metric.measure is Measure.SHARE) == bool(metric.least)


@each_metric
def test_thresholds_begin_above_what_is_usual(metric: Metric) -> None:
    bounds = [one for one in (metric.alert, metric.alert_at_night) if one is not None]

    assert all(metric.usual <= bound for bound in bounds)
    assert baseline.lowest(metric) > 0


@each_metric
def test_findings_have_a_type_and_techniques(metric: Metric) -> None:
    assert re.fullmatch(r"Behavior:[A-Za-z0-9]+/[A-Za-z]+", metric.type)
    assert metric.techniques
    assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", id_) for id_ in metric.techniques)


def test_no_two_metrics_have_findings_of_one_type() -> None:
    assert len({metric.type for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize(
    ("id_", "usual", "alert"),
    [
        ("outbound_bytes", 10e9, 50e9),
        ("failed_logins", 10, 100),
        ("rejected_share", 0.01, 0.05),
        ("dns_domains", 0, None),
        ("dns_suffixes", 0, None),
    ],
)
def test_thresholds_that_hold_while_nothing_is_learned(
    id_: str, usual: float, alert: float | None
) -> None:
    assert (METRICS[id_].usual, METRICS[id_].alert) == (usual, alert)
