"""Capacity planning: forecasts load by hour and the date on which a cell is full, and computes what the cell then needs.

Load is the use of resource blocks in percent (RRU.PrbTotDl), hourly means. All functions are pure, on pandas and numpy.
What is not known of a cell (it is new, or sends no such measurement) is NaN or null, and does not change the other cells.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, isnan, log
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from telecom_anomaly.planning.erlang import channels_for, channels_for_waiting

Method = Callable[[NDArray[np.float64], int], NDArray[np.float64]]

WEEK_HOURS = 168
HORIZON_HOURS = WEEK_HOURS
COVERED_SHARE = 0.9  # share of hours that an interval is to hold
WEEK_WEIGHT = 0.75  # weight of a week against the one after it
TREND_WEEKS = 4  # fewest to speak of growth
LONGEST_DAYS = 5 * 365  # later dates are not given
BLOCKED_SHARE = 0.02  # of calls that are lost or wait, for the number of channels
Z90 = 1.645  # standard errors on either side of an estimate that hold 90%
LEAST_GROWTH_SPREAD = 1 / 3  # of the mean growth: no network is so even that its cells differ by less, whatever history says
DAYS_TO_WEEK_END = 3.0  # from the middle of a week, for which its median stands, to its last day


def hour_matrix(hourly: pd.DataFrame) -> tuple[NDArray[np.object_], pd.Timestamp, NDArray[np.float64]]:
    """(cells, first hour, load[cell, hour]) from rows of cell_id, hour (timestamp) and load; NaN where nothing was reported."""
    matrix = hourly.pivot(index="cell_id", columns="hour", values="load")
    hours = pd.date_range(matrix.columns.min(), matrix.columns.max(), freq="h")
    return matrix.index.to_numpy(object), hours[0], matrix.reindex(columns=hours).to_numpy(float)


def forecast(load: NDArray[np.float64], horizon: int = HORIZON_HOURS) -> NDArray[np.float64]:
    """(cells, horizon): the hours after the last column of load[cell, hour].

    The same hour of the weeks before, newer weeks weighing more, moved by how the last week differed from them overall.
    """
    weeks = load.shape[1] // WEEK_HOURS
    if weeks < 2:
        return slot_mean(load, horizon)
    recent = load[:, -weeks * WEEK_HOURS :].reshape(len(load), weeks, WEEK_HOURS)
    weight = np.broadcast_to(WEEK_WEIGHT ** np.arange(weeks - 1, -1, -1)[None, :, None], recent.shape)
    weight = np.where(np.isnan(recent), 0.0, weight)
    usual = (np.nan_to_num(recent) * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-12)
    usual = np.where(weight.sum(axis=1) > 0, usual, np.nan)
    level = _ignoring_nan(np.nanmean, recent[:, -1]) / _ignoring_nan(np.nanmean, usual)
    return np.resize(usual, (len(load), WEEK_HOURS))[:, np.arange(horizon) % WEEK_HOURS] * np.sqrt(level)[:, None]


def persistence(load: NDArray[np.float64], horizon: int = HORIZON_HOURS) -> NDArray[np.float64]:
    """The last day, repeated."""
    return load[:, -24:][:, np.arange(horizon) % 24]


def slot_mean(load: NDArray[np.float64], horizon: int = HORIZON_HOURS) -> NDArray[np.float64]:
    """The mean of the same hour of the last seven days."""
    days = load[:, -WEEK_HOURS:].reshape(len(load), -1, 24)
    return _ignoring_nan(np.nanmean, days, axis=1)[:, np.arange(horizon) % 24]


METHODS: dict[str, Method] = {"weighted_weeks": forecast, "persistence": persistence, "slot_mean_7d": slot_mean}


def judge_forecasts(load: NDArray[np.float64], horizon: int = HORIZON_HOURS) -> pd.DataFrame:
    """A row for each of METHODS: its error over the last `horizon` hours, forecast from those before, in points.

    Columns: hours that were judged, mae_points, covered (share of hours inside the interval), half_width_points. An interval's
    width is the method's own error in the `horizon` hours before (split conformal, by cell), so that it is made without the
    hours that judge it. A cell whose history does not reach that far back is left out.
    """
    past, test = load[:, :-horizon], load[:, -horizon:]
    rows = []
    for name, method in METHODS.items():
        width = interval(past, method, horizon)
        error = np.abs(method(past, horizon) - test)
        error = np.where(np.isfinite(width)[:, None], error, np.nan)
        has_error = np.isfinite(error)
        rows.append({
            "method": name, "hours": int(has_error.sum()), "mae_points": float(_ignoring_nan(np.nanmean, error, axis=None)),
            "covered": float((error <= width[:, None]).sum() / has_error.sum()) if has_error.any() else np.nan,
            "half_width_points": float(_ignoring_nan(np.nanmean, width)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def interval(load: NDArray[np.float64], method: Method = forecast, horizon: int = HORIZON_HOURS) -> NDArray[np.float64]:
    """Half width per cell that held COVERED_SHARE of the last `horizon` hours around what `method` had forecast for them."""
    error = np.abs(method(load[:, :-horizon], horizon) - load[:, -horizon:])
    return _ignoring_nan(np.nanquantile, error, q=COVERED_SHARE)


def _ignoring_nan(
    reduce: Callable[..., NDArray[np.float64]], values: NDArray[np.float64], axis: int | None = -1, **options: float
) -> Any:
    """One of numpy's functions that pass over NaN; NaN, and no warning, where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return reduce(values, axis=axis, **options)


@dataclass(frozen=True)
class Growth:
    """Per cell: busy-hour load at the last day (%), growth of its logarithm a day, and that growth's standard error."""

    load: NDArray[np.float64]
    per_day: NDArray[np.float64]
    error: NDArray[np.float64]


def growth_of(busy_load: NDArray[np.float64]) -> Growth:
    """From busy_load[cell, day], the busy-hour load of each day: a line through the logarithms of weekly medians.

    Eight weeks (`trends.PLANNING_DAYS`) say little of one cell, so its growth is drawn towards the network's, and the more so the
    less certain it is (empirical Bayes). Without TREND_WEEKS weeks of load, a cell's growth is unknown (NaN), and its load that
    of the last week.
    """
    weeks = busy_load.shape[1] // 7
    by_week = busy_load[:, busy_load.shape[1] % 7 :].reshape(len(busy_load), weeks, 7)
    weekly = np.log(_ignoring_nan(np.nanmedian, by_week).clip(min=0.1))
    per_day, error = np.full(len(busy_load), np.nan), np.full(len(busy_load), np.nan)
    load = _ignoring_nan(np.nanmedian, busy_load[:, -7:])
    has_trend = np.isfinite(weekly).sum(axis=1) >= TREND_WEEKS
    if has_trend.any():
        load[has_trend], per_day[has_trend], error[has_trend] = _fit_lines(weekly[has_trend])
    return Growth(load, per_day, error)


def _fit_lines(weekly: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Load at the end, growth and its error, of cells that each have enough of weekly[cell, week] to draw a line through."""
    has_load = np.isfinite(weekly)
    day = np.broadcast_to(7.0 * np.arange(weekly.shape[1]), weekly.shape)
    centre = day.mean(axis=1, where=has_load)
    offset = np.where(has_load, day - centre[:, None], 0.0)
    squares = (offset**2).sum(axis=1)
    slope = np.nansum(weekly * offset, axis=1) / squares
    middle = weekly.mean(axis=1, where=has_load)
    residual = np.where(has_load, weekly - middle[:, None] - slope[:, None] * offset, 0.0)
    noise = (residual**2).sum() / (has_load.sum() - 2 * len(weekly)) / squares
    spread = max(float(np.var(slope) - noise.mean()), (LEAST_GROWTH_SPREAD * slope.mean()) ** 2)
    trust = np.divide(spread, spread + noise, out=np.zeros(len(weekly)), where=spread + noise > 0)
    per_day = slope.mean() + trust * (slope - slope.mean())
    error = np.sqrt(trust * noise + (1 - trust) ** 2 * spread + noise.mean() / len(weekly))
    return np.exp(middle + per_day * (day[:, -1] + DAYS_TO_WEEK_END - centre)), per_day, error


def plans(
    cells: NDArray[np.object_], growth: Growth, users: NDArray[np.float64], last_day: pd.Timestamp, limit: float
) -> pd.DataFrame:
    """Per cell: when it passes `limit` percent (with the earliest and latest date of a 90% interval) and what it needs in a year.

    carriers: of today's size, the present one included, that keep the busy hour of a year from now within the limit.
    channels: for the users connected in the busy hour (their mean number is the load in Erlang), at 2% lost or waiting.
    Null where the cell's growth, load or users are not known; a cell that is full already is full on `last_day`.
    """

    def date_at(load: float, per_day: float) -> pd.Timestamp | None:
        if load >= limit:
            return last_day
        days = log(limit / load) / per_day if per_day > 0 else LONGEST_DAYS + 1
        return last_day + timedelta(days=round(days)) if days <= LONGEST_DAYS else None

    rows = []
    for cell, load, per_day, error, erlang in zip(cells, growth.load, growth.per_day, growth.error, users.tolist(), strict=True):
        slow, fast = per_day - Z90 * error, per_day + Z90 * error
        in_a_year = load * float(np.exp(365 * per_day))
        rows.append(
            {
                "cell_id": cell,
                "busy_hour_load": round(load, 1),
                "growth_per_year": round(float(np.expm1(365 * per_day)), 3),
                "full_on": date_at(load, per_day),
                "full_earliest": date_at(load, fast),
                "full_latest": date_at(load, slow),
                "carriers": None if isnan(in_a_year) else ceil(in_a_year / limit),
                "erlang": round(erlang, 1),
                "channels_lost": None if isnan(erlang) else channels_for(erlang, BLOCKED_SHARE),
                "channels_waiting": None if isnan(erlang) else channels_for_waiting(erlang, BLOCKED_SHARE),
            }
        )
    return pd.DataFrame(rows).astype(dict.fromkeys(("carriers", "channels_lost", "channels_waiting"), "Int64"))
