"""Pictures of a baseline: what was measured, what was normal, and when it no longer was."""

import html as markup
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from firedoor.baseline import (
    DAY,
    WARM,
    Course,
    Floats,
    Measure,
    Metric,
    Unit,
    Verdict,
    band_of,
    scaled,
    told,
    unscaled,
    warmth,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DAYS: Final = 42
"""How many days are drawn of a metric by the day."""
HOURS: Final = 10 * 24
"""How many hours are drawn of a metric by the hour."""
SIZE: Final = (9.6, 4.2)  # inches
DPI: Final = 150
LONG: Final = 72
"""How many letters of a title there is space for."""

# Blue and orange are told apart by nearly everybody, and what is red is larger, too.
INK, QUIET, FAINT = "#22272e", "#68717d", "#e6e9ed"
LINE, BAND, BOUND, SOFT = "#2f5f98", "#cfe0f2", "#b45a07", "#47719f"
ALARM, LEFT_OUT, HATCH = "#c4162a", "#eef0f2", "#dde1e5"
STYLE: Final[Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "svg.hashsalt": "firedoor",
    "svg.fonttype": "none", "axes.edgecolor": FAINT, "axes.labelcolor": QUIET,
    "xtick.color": QUIET, "ytick.color": QUIET, "text.color": INK, "path.simplify": False,
    "text.parse_math": False,  # a name may hold dollars
}  # fmt: skip

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: #fff; color: {ink};
  font: 16px/1.5 "DejaVu Sans", Verdana, sans-serif; }}
figure {{ margin: 0; }} svg {{ width: 100%; height: auto; }} figcaption {{ color: {quiet}; }}
</style>
<figure>
{svg}
<figcaption>{caption}</figcaption>
</figure>
</html>
"""


@dataclass(frozen=True)
class Chart:
    """What is drawn: one metric of one entity, up to the period that begins at `start`."""

    metric: Metric
    who: str
    start: int
    course: Course

    @property
    def title(self) -> str:
        """What the picture is of."""
        return f"{self.metric.title}: {self.who}"

    @property
    def caption(self) -> str:
        """What it shows, for who cannot see it."""
        value, normal = self.course.at(self.start)
        unit, verdict = self.metric.unit, normal.verdict(value)
        when = datetime.fromtimestamp(self.start / 1000, UTC)
        said = f"{told(unit, value)} in the {self.metric.period} from {when:%Y-%m-%d %H:%M} UTC on"
        band = f"normal is {band_of(unit, normal)}"
        bound = f"the threshold is {told(unit, normal.threshold)}"
        if normal.threshold is None:
            bound = "there is no threshold yet"
        return f"{said}; {band}, {bound}: {verdict}."


def png(chart: Chart) -> bytes:
    """Return a picture as PNG; the same chart gives the same bytes."""
    with _drawn(chart) as figure:
        out = io.BytesIO()
        text = {"Title": chart.title, "Description": chart.caption, "Software": None}
        figure.savefig(out, format="png", dpi=DPI, metadata=text)
    return out.getvalue()


def svg(chart: Chart) -> str:
    """Return a picture as SVG to stand in a page, with its text as text."""
    with _drawn(chart) as figure:
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    drawing = out.getvalue()
    drawing = drawing[drawing.index("<svg ") :].rstrip()
    title, caption = (markup.escape(text) for text in (chart.title, chart.caption))
    head = f'<svg role="img" aria-label="{title}. {caption}" '
    return drawing.replace("<svg ", head, 1)


def html(chart: Chart) -> str:
    """Return a page that needs nothing else, with the picture and what it shows in words."""
    return PAGE.format(
        title=markup.escape(chart.title),
        caption=markup.escape(chart.caption),
        svg=svg(chart),
        ink=INK,
        quiet=QUIET,
    )


@dataclass(frozen=True)
class _Cut:
    """The last part of a course, flat, with the times of its periods in days since 1970."""

    at: Floats
    width: float
    values: Floats
    low: Floats
    high: Floats
    threshold: Floats
    left_out: Any
    learned: Any


@contextmanager
def _drawn(chart: Chart) -> "Iterator[Figure]":
    """Yield the figure of a chart; importing what draws it takes a second, so late."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.085, 0.12, 0.76, 0.68))
        cut = _cut(chart)
        _frame(axes, cut, chart)
        _draw_spans(axes, cut)
        _draw_normal(axes, cut)
        _draw_values(axes, cut)
        _label(axes, chart)
        _head(figure, chart)
        yield figure


def _cut(chart: Chart) -> _Cut:
    course = chart.course
    days, periods = course.series.values.shape
    length = DAY // periods
    last = (chart.start - course.series.start) // length + 1
    first = max(0, last - (DAYS if periods == 1 else HOURS))
    at = (course.series.start + np.arange(days * periods) * length) / DAY

    def cut(of: Any) -> Any:
        return of.reshape(-1)[first:last]

    return _Cut(
        at=cut(at),
        width=length / DAY,
        values=cut(course.series.values),
        low=cut(course.low),
        high=cut(course.high),
        threshold=cut(course.threshold),
        left_out=cut(course.left_out),
        learned=cut(np.repeat(course.days >= WARM, periods)),
    )


def _draw_spans(axes: "Axes", cut: _Cut) -> None:
    """Shade what was left out, and say so once in each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], cut.left_out.astype(int), [0]))))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        left, right = cut.at[begin] - cut.width / 2, cut.at[end - 1] + cut.width / 2
        axes.axvspan(left, right, facecolor=LEFT_OUT, edgecolor=HATCH, hatch="///", lw=0)
        axes.text(
            (left + right) / 2, 0.97, "left out", transform=axes.get_xaxis_transform(),
            ha="center", va="top", size=8, color=QUIET,
            bbox={"facecolor": LEFT_OUT, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _draw_normal(axes: "Axes", cut: _Cut) -> None:
    # A period ends where the next one begins, so each level holds from half before to half after.
    edges = np.append(cut.at, cut.at[-1] + cut.width) - cut.width / 2
    axes.stairs(cut.high, edges, baseline=cut.low, fill=True, color=BAND, lw=0, zorder=1)
    known = np.where(np.isinf(cut.threshold), np.nan, cut.threshold)
    for part, dashes in ((cut.learned, "-"), (~cut.learned, (0, (2, 2)))):
        levels = np.where(part, known, np.nan)
        axes.stairs(levels, edges, baseline=None, color=BOUND, lw=1.3, ls=dashes, zorder=3)


def _draw_values(axes: "Axes", cut: _Cut) -> None:
    axes.plot(cut.at, cut.values, color=LINE, lw=1.4, marker="o", ms=1 + 2.2 * cut.width, zorder=4)
    over = cut.values > cut.threshold
    axes.plot(cut.at[over], cut.values[over], "o", color=ALARM, ms=5.5, zorder=5)
    axes.plot(
        cut.at[-1:], cut.values[-1:], "o", ms=8, mfc="none", mew=1.6, zorder=6,
        mec=ALARM if over[-1] else LINE,
    )  # fmt: skip


def _label(axes: "Axes", chart: Chart) -> None:
    """Name what is drawn at its right end, in its colour: no legend to look up."""
    value, normal = chart.course.at(chart.start)
    unit = chart.metric.unit
    color = ALARM if normal.verdict(value) is Verdict.ABOVE else LINE
    labels = [(normal.middle, f"normal\n{band_of(unit, normal)}", SOFT)]
    if normal.threshold is not None:
        kind = "threshold" if normal.warm else "default threshold"
        labels.append((normal.threshold, f"{kind}\n{told(unit, normal.threshold)}", BOUND))
    if value is not None:
        labels.append((value, f"now\n{told(unit, value)}", color))
    labels.sort()
    heights = [
        axes.transLimits.transform(axes.transScale.transform((0, at)))[1] for at, *_ in labels
    ]
    for height, (_, text, tint) in zip(_apart(heights), labels, strict=True):
        axes.annotate(
            text, (1.012, height), xycoords="axes fraction", va="center", color=tint, size=9,
            weight="bold" if text.startswith("now") else "normal", annotation_clip=False,
        )  # fmt: skip


def _apart(heights: list[float], least: float = 0.125) -> list[float]:
    """Return ascending heights of labels moved as far as it takes for none to cover another."""
    placed: list[float] = []
    for height in heights:
        placed.append(max([height, 0.04, *(below + least for below in placed[-1:])]))
    above = 1.0 + least
    for index in reversed(range(len(placed))):
        placed[index] = above = min(placed[index], above - least)
    return placed


def _any(values: Floats) -> bool:
    return not bool(np.isnan(values).all())


def _frame(axes: "Axes", cut: _Cut, chart: Chart) -> None:
    """Set up axes: the scale of the values is that on which they are compared."""
    finite = np.where(np.isinf(cut.threshold), np.nan, cut.threshold)
    highest = max(float(np.nanmax(p)) for p in (cut.values, cut.high, finite) if _any(p)) or 1.0
    metric, unit = chart.metric, chart.metric.unit
    axes.set_yscale("function", functions=(partial(scaled, metric), partial(unscaled, metric)))
    axes.set_ylim(0, float(unscaled(metric, 1.06 * scaled(metric, np.array(highest)))))
    axes.set_yticks(_round_values(chart.metric, highest))
    axes.yaxis.set_major_formatter(lambda value, _: told(unit, value))
    axes.set_yticks([], minor=True)
    axes.set_xlim(
        cut.at[0] - cut.width / 2, cut.at[-1] + 0.02 * (cut.at[-1] - cut.at[0] + cut.width)
    )
    days = np.arange(np.ceil(cut.at[0]), cut.at[-1] + 0.5)
    # 1970 began on a Thursday.
    mondays = days[(days + 3) % 7 == 0]
    axes.set_xticks(mondays if len(mondays) > 2 else days[:: -(-len(days) // 6) or 1])
    axes.xaxis.set_major_formatter(
        lambda day, _: f"{_midnight(day):%a} {_midnight(day).day} {_midnight(day):%b}"
    )
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _head(figure: "Figure", chart: Chart) -> None:
    unit = chart.metric.unit
    noun = "" if unit in (Unit.BYTES, Unit.SHARE) else f"{unit} "
    title = chart.title if len(chart.title) <= LONG else f"{chart.title[: LONG - 1]}…"
    figure.text(0.022, 0.925, title, size=13, weight="bold", color=INK)
    is_share = chart.metric.measure is Measure.SHARE
    scale = "the scale is stretched towards 0" if is_share else "logarithmic scale"
    warm = warmth(chart.metric, chart.course.at(chart.start)[1])
    said = f"{noun}by the {chart.metric.period}, in UTC; {scale}; {warm}"
    figure.text(0.022, 0.862, said, size=9.5, color=QUIET)


def _round_values(metric: Metric, highest: float) -> list[float]:
    """Return round values up to the highest, no two of them close to each other."""
    exponents = range(-4 if metric.measure is Measure.SHARE else 0, 16)
    every = [0.0, *(one * 10.0**exponent for exponent in exponents for one in (1, 2, 5))]
    top = float(scaled(metric, np.array(highest)))
    chosen = [0.0]
    for value in every:
        if value > min(highest * 1.05, 1.0 if metric.unit is Unit.SHARE else np.inf):
            break
        if float(scaled(metric, np.array(value)) - scaled(metric, np.array(chosen[-1]))) > top / 7:
            chosen.append(value)
    return chosen


def _midnight(day: float) -> datetime:
    return datetime.fromtimestamp(day * DAY / 1000, UTC)
