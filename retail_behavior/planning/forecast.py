"""Demand per product and day: one global model over all products, with intervals, and what it must beat.

Units arrive as an array (products, days); days are counted from 0 and `weekday` names each (0 is Monday). One gradient
boosting with Poisson loss learns units over the product's recent level, directly for every day ahead, from weekly origins
in the past. A day of the week without any sale in eight weeks is closed, and so is its forecast.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

HORIZON = 28             # days ahead, unless fewer are asked for
LEVEL_DAYS = 28          # open days that make a product's level
CALENDAR_DAYS = 56       # what decides on which weekdays the shop is open
ORIGINS = 12             # weekly origins to learn from
CAP = 0.98               # quantile of a product's days above which a day counts as that quantile: one bulk order is no habit
SMALLEST_LEVEL = 0.1
INTERVAL = (0.1, 0.9)
POISSON_INTERVAL = (-1.2816, 1.2816)   # deviations that bound it where nothing better is known

Units = NDArray[np.float64]
Days = NDArray[np.int64]


@dataclass(frozen=True)
class Forecast:
    """mean, low and high: units, each (products, horizon); `low` and `high` are the INTERVAL quantiles."""

    mean: Units
    low: Units
    high: Units


def forecast(units: Units, weekday: Days, horizon: int = HORIZON) -> Forecast:
    """The `horizon` days after the last one of `units`; `weekday` covers those too. Needs LEVEL_DAYS days, one open at least."""
    last = units.shape[1]
    capped = _capped(units)
    held_out = last - horizon
    # Residuals of a model that did not see them say how wide the interval must be; a short history has none to spare.
    has_spare = held_out >= LEVEL_DAYS + horizon and bool(_was_open(units[:, held_out:]).any())
    has_spare = has_spare and bool(_is_open(units, weekday, held_out).any())
    spread = _residual_quantiles(capped, units, weekday, held_out, horizon) if has_spare else POISSON_INTERVAL
    mean = _predicted(capped, weekday, last, horizon)
    low, high = (np.maximum(mean + bound * np.sqrt(mean + SMALLEST_LEVEL), 0.0) for bound in spread)
    closed = mean == 0
    return Forecast(mean, np.where(closed, 0.0, np.minimum(low, mean)), np.where(closed, 0.0, np.maximum(high, mean)))


def calendar_mean(units: Units, weekday: Days, horizon: int = HORIZON) -> Units:
    """Mean of the last LEVEL_DAYS open days, 0 on closed ones: the yardstick to be below."""
    last = units.shape[1]
    level = units[:, _open_days(units, last)[-LEVEL_DAYS:]].mean(axis=1)
    return level[:, None] * _is_open(units, weekday, last)[weekday[last : last + horizon]]


def seasonal_naive(units: Units, horizon: int = HORIZON) -> Units:
    """The last seven days again and again."""
    return units[:, units.shape[1] - 7 + np.arange(horizon) % 7]


def weighted_rmsse(past: Units, revenue: Units, actual: Units, predicted: Units) -> float:
    """RMSSE of each product (scaled by its one-step naive error since its first sale), weighted by the past's recent revenue.

    A product without a scale, as its past has no two days or never varied, is left out; nan when all are.
    """
    errors = np.sqrt(((actual - predicted) ** 2).mean(axis=1))
    steps = [np.diff(row[np.argmax(row > 0) :]) for row in past]
    scales = np.array([np.sqrt((step**2).mean()) if len(step) else 0.0 for step in steps])
    weights = revenue[:, -LEVEL_DAYS:].sum(axis=1)
    known = (scales > 0) & (weights > 0)
    return float(np.average(errors[known] / scales[known], weights=weights[known])) if known.any() else float("nan")


def backtest(units: Units, revenue: Units, weekday: Days, cuts: int = 3, horizon: int = HORIZON) -> dict[str, float]:
    """Mean weighted RMSSE of each method over `cuts` rolling origins `horizon` apart, and the share of days in the interval.

    Over the cuts that have such a figure: days on which nothing was sold say nothing of the interval.
    """
    origins = [units.shape[1] - horizon * back for back in range(cuts, 0, -1)]
    measured: dict[str, list[float]] = {name: [] for name in ("model", "calendar_mean", "seasonal_naive", "coverage")}
    for origin in origins:
        past, actual = units[:, :origin], units[:, origin : origin + horizon]
        predicted = forecast(past, weekday, horizon)
        plain = {"calendar_mean": calendar_mean(past, weekday, horizon), "seasonal_naive": seasonal_naive(past, horizon)}
        candidates = {"model": predicted.mean, **plain}
        for name, candidate in candidates.items():
            measured[name].append(weighted_rmsse(past, revenue[:, :origin], actual, candidate))
        inside = (actual >= np.floor(predicted.low)) & (actual <= np.ceil(predicted.high))
        is_open = _was_open(actual)
        measured["coverage"].append(float(inside[:, is_open].mean()) if is_open.any() else float("nan"))
    return {name: _mean_of_known(values) for name, values in measured.items()}


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _predicted(units: Units, weekday: Days, origin: int, horizon: int) -> Units:
    """The mean forecast from `origin`, by a model that saw nothing of it or after it."""
    is_open = _is_open(units, weekday, origin)
    days = _asked(weekday, origin, is_open, horizon)
    mean = np.zeros((len(units), horizon))
    if not len(days):
        return mean
    level = _level(units, origin)
    model = _fitted(units, weekday, origin, is_open, horizon)
    ratio = model.predict(_features(units, weekday, origin, days)) if model else np.ones(len(days) * len(units))
    mean[:, days - origin] = ratio.reshape(len(days), len(units)).T * level[:, None]
    return mean


def _fitted(
    units: Units, weekday: Days, last: int, is_open: NDArray[np.bool_], horizon: int
) -> "HistGradientBoostingRegressor | None":
    """A model of units over level; None where history is too short for a single origin."""
    features, ratios, weights = [], [], []
    for origin in range(last - horizon, LEVEL_DAYS - 1, -7)[:ORIGINS]:
        days = _asked(weekday, origin, is_open, horizon)
        days = days[_was_open(units[:, days])]
        if not len(days):
            continue  # the shop was closed all that time
        level = _level(units, origin)
        features.append(_features(units, weekday, origin, days))
        ratios.append((units[:, days] / level[:, None]).T.ravel())
        weights.append(np.tile(level, len(days)))
    if not features:
        return None
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="poisson", learning_rate=0.05, max_iter=60, max_leaf_nodes=15, min_samples_leaf=200, random_state=0)
    return model.fit(np.concatenate(features), np.concatenate(ratios), sample_weight=np.concatenate(weights))


def _features(units: Units, weekday: Days, origin: int, days: Days) -> NDArray[np.float64]:
    """Rows for every product and each of `days` (day by day): recent means over the level, size, weekday, distance."""
    seen = _open_days(units, origin)
    level = _level(units, origin)
    recent = [units[:, seen[-window:]].mean(axis=1) / level for window in (7, 14, 56)]
    busy = (units[:, seen[-LEVEL_DAYS:]] > 0).mean(axis=1)
    of_weekday = [_weekday_mean(units, weekday, seen[-48:], day) / level for day in range(7)]
    same = [*recent, np.log(level), busy]
    when = {day: np.full((len(units), 2), (weekday[day], day - origin)) for day in days}
    return np.concatenate([np.column_stack([*same, of_weekday[weekday[day]], when[day]]) for day in days])


def _weekday_mean(units: Units, weekday: Days, seen: Days, day: int) -> Units:
    of_day = seen[weekday[seen] == day]
    return units[:, of_day].mean(axis=1) if len(of_day) else np.zeros(len(units))


def _residual_quantiles(capped: Units, units: Units, weekday: Days, origin: int, horizon: int) -> tuple[float, float]:
    """INTERVAL quantiles of (actual - forecast) / sqrt(forecast) over the `horizon` days from `origin`."""
    mean, actual = _predicted(capped, weekday, origin, horizon), units[:, origin : origin + horizon]
    residuals = (actual - mean) / np.sqrt(mean + SMALLEST_LEVEL)
    low, high = np.quantile(residuals[:, _was_open(actual)], INTERVAL)
    return float(low), float(high)


def _level(units: Units, origin: int) -> Units:
    return units[:, _open_days(units, origin)[-LEVEL_DAYS:]].mean(axis=1) + SMALLEST_LEVEL


def _capped(units: Units) -> Units:
    return np.minimum(units, np.maximum(np.quantile(units, CAP, axis=1), 1.0)[:, None])


def _was_open(units: Units) -> NDArray[np.bool_]:
    return units.sum(axis=0) > 0


def _open_days(units: Units, origin: int) -> Days:
    return np.flatnonzero(_was_open(units[:, :origin]))


def _is_open(units: Units, weekday: Days, origin: int) -> NDArray[np.bool_]:
    """For each of the seven weekdays, whether anything was sold on it in the CALENDAR_DAYS before `origin`."""
    recent = np.arange(max(0, origin - CALENDAR_DAYS), origin)
    sold = recent[_was_open(units[:, recent])]
    return np.isin(np.arange(7), weekday[sold])


def _asked(weekday: Days, origin: int, is_open: NDArray[np.bool_], horizon: int) -> Days:
    days = np.arange(origin, origin + horizon)
    return days[is_open[weekday[days]]]
