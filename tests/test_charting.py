"""A picture of a baseline: the same each time, readable, and harmless whatever a name holds."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from firedoor import baseline, baselining, charting
from firedoor.baseline import DAY, Series, Span, learn
from firedoor.charting import Chart

START = datetime(2026, 1, 5, tzinfo=UTC)
BEGIN = baseline.epoch(START)


@pytest.fixture(scope="module")
def chart() -> Chart:
    values = np.random.default_rng(3).lognormal(22, 0.35, 60)
    values[40:43] *= 4
    values[59] = 62e9
    metric = baselining.metrics()["outbound_bytes"]
    span = Span(START + timedelta(days=40), START + timedelta(days=43))
    course = learn(metric, Series(BEGIN, values.reshape(-1, 1)), [span])
    return Chart(metric, "i-0a1b2c3d4e5f60718", BEGIN + 59 * DAY, course)


def test_png_is_the_same_each_time(chart: Chart) -> None:
    assert charting.png(chart) == charting.png(chart)


def test_png_is_of_a_size_to_read(chart: Chart) -> None:
    content = charting.png(chart)

    size = [int.from_bytes(content[at : at + 4]) for at in (16, 20)]
    assert size == [1440, 630]


def test_caption_says_what_is_to_be_seen(chart: Chart) -> None:
    assert re.fullmatch(
        r"62 GB in the day from 2026-03-05 00:00 UTC on; normal is \S+ \S+ to \S+ GB,"
        r" the threshold is \S+ GB: above\.",
        chart.caption,
    )


def test_page_is_whole_and_the_same_each_time(chart: Chart) -> None:
    page = charting.html(chart)

    assert page == charting.html(chart)
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "left out" in page


def test_picture_in_a_page_is_well_formed_and_told_to_who_cannot_see_it(chart: Chart) -> None:
    root = ElementTree.fromstring(charting.svg(chart))

    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == f"{chart.title}. {chart.caption}"


@pytest.mark.parametrize("who", ["<script>alert(1)</script>", "$\\frac{$", 'a"b', "x" * 300])
def test_a_name_is_drawn_as_it_is(chart: Chart, who: str) -> None:
    named = replace(chart, who=who)

    assert charting.png(named)
    assert ElementTree.fromstring(charting.svg(named)).attrib["aria-label"].startswith(named.title)
    assert "<script" not in charting.html(named)


@pytest.mark.parametrize("days", [1, 15])
def test_what_is_known_for_a_few_days_only_can_be_drawn(days: int) -> None:
    metrics = baselining.metrics()
    for metric in (metrics["outbound_bytes"], metrics["dns_suffixes"]):
        periods = DAY // metric.period.ms
        for value in (np.nan, 0.0):
            values = np.full((days, periods), value)
            course = learn(metric, Series(BEGIN, values))
            start = BEGIN + days * DAY - metric.period.ms

            assert charting.png(Chart(metric, "role/app", start, course))


def test_labels_stand_apart_and_inside() -> None:
    placed = charting._apart([0.0, 0.01, 0.5, 0.99, 1.0])

    assert all(upper - lower >= 0.125 - 1e-9 for lower, upper in pairwise(placed))
    assert min(placed) >= 0
    assert max(placed) <= 1
