"""Draws trends as PNG, lines over days and bars, without a display (matplotlib's Agg canvas, no global state).

matplotlib is imported when something is drawn: most commands draw nothing, and would start half a second later.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.failures import describe_failure
from common.printable import make_printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG = logging.getLogger(__name__)

MAX_LINES = 8
MAX_BARS = 20
MAX_LABEL_CHARACTERS = 40


@dataclass(frozen=True)
class DailyLines:
    """A line over `day` for each value of `series`; days that a series lacks count as 0."""

    title: str
    series: str
    value: str
    unit: str


@dataclass(frozen=True)
class Bars:
    """A horizontal bar for each row, the largest in size on top; `limits` are drawn as dashed lines.

    limits: values, or a function that gives them when the chart is drawn, for those that settings hold.
    """

    title: str
    name: str
    value: str
    unit: str
    limits: tuple[float, ...] | Callable[[], tuple[float, ...]] = ()


Chart = DailyLines | Bars


def draw_all(trends: Mapping[str, pd.DataFrame], charts: Sequence[tuple[str, Chart]], folder: Path) -> list[Path]:
    """Draws each chart of the trend that it is for, but none of a missing or empty trend. Returns the files.

    A chart that cannot be drawn is logged, and neither the others nor what follows is kept from being done.
    """
    paths = (_try_draw(trends.get(name), chart, folder) for name, chart in charts)
    return [path for path in paths if path is not None]


def _try_draw(rows: pd.DataFrame | None, chart: Chart, folder: Path) -> Path | None:
    try:
        return draw_chart(rows, chart, folder)
    except Exception as problem:
        LOG.warning("the plot %r is not drawn: %s", chart.title, describe_failure(problem))
        return None


def draw_chart(rows: pd.DataFrame | None, chart: Chart, folder: Path) -> Path | None:
    """Draws `rows` as a PNG in `folder`, named after the chart's title; None when there is nothing to draw."""
    if rows is None or rows.dropna(subset=[chart.value]).empty:
        return None
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    fill: Callable[[Axes, pd.DataFrame], None] = _fill_lines(chart) if isinstance(chart, DailyLines) else _fill_bars(chart)
    with rc_context({"text.parse_math": False}):  # a $ in a record's text begins no formula
        axes = FigureCanvasAgg(figure).figure.subplots()
        fill(axes, rows)
        axes.set_title(chart.title)
        axes.spines[["top", "right"]].set_visible(False)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (re.sub(r"\W+", "-", chart.title.lower()).strip("-") + ".png")
        figure.savefig(path, dpi=110)
    return path


def _label(value: object) -> str:
    """A record's text, as far as a plot has room for it."""
    return make_printable(str(value), MAX_LABEL_CHARACTERS)


def _fill_lines(chart: DailyLines) -> Callable[[Axes, pd.DataFrame], None]:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    def fill(axes: Axes, rows: pd.DataFrame) -> None:
        dated = rows.assign(day=pd.to_datetime(rows["day"]))
        wide = dated.pivot_table(index="day", columns=chart.series, values=chart.value, aggfunc="sum").astype(float)
        wide = wide.reindex(pd.date_range(wide.index.min(), wide.index.max())).fillna(0.0)
        for name in wide.sum().nlargest(MAX_LINES).index:
            axes.plot(wide.index, wide[name], label=_label(name), marker="o" if len(wide) < 3 else None)
        axes.set_xlabel("day (UTC)")
        axes.set_ylabel(chart.unit)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.3)
        dates = AutoDateLocator(minticks=min(4, len(wide)), maxticks=8)
        axes.xaxis.set_major_locator(dates)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))
        axes.legend(title=chart.series.replace("_", " "), frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    return fill


def _fill_bars(chart: Bars) -> Callable[[Axes, pd.DataFrame], None]:
    def fill(axes: Axes, rows: pd.DataFrame) -> None:
        complete = rows.dropna(subset=[chart.value])
        values = complete.set_index(chart.name)[chart.value].astype(float)
        largest = values.reindex(values.abs().sort_values(kind="stable").index).tail(MAX_BARS)
        axes.barh(np.arange(len(largest)), largest.to_numpy(), tick_label=[_label(name) for name in largest.index])
        for limit in chart.limits() if callable(chart.limits) else chart.limits:
            axes.axvline(limit, linestyle="--", color="grey")
        axes.set_xlabel(chart.unit)
        axes.set_ylabel(chart.name.replace("_", " "))
        axes.grid(axis="x", alpha=0.3)

    return fill
