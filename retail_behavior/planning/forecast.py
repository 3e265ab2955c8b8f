"""Forecasts demand per product and day by one global model over all products, with intervals and yardsticks.

Units are an array (products, days); days are counted from 0 and `weekday` has the weekday of each (0 is Monday). One gradient
boosting with Poisson loss learns units over the product's recent level, directly for every day ahead, from weekly origins
in the past. On a weekday without any sale in eight weeks the shop counts as closed, and its forecast is 0.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

HORIZON = 28  # days ahead, unless fewer are asked for
LEVEL_DAYS = 28  # open days that make a product's level
CALENDAR_DAYS = 56  # what decides on which weekdays the shop is open
ORIGINS = 12  # weekly origins to learn from
CAP = 0.98  # quantile of a product's days; what is above counts as that quantile: one bulk order is no habit
SMALLEST_LEVEL = 0.1  # units a day
WEEK_DAYS = 7
INTERVAL = (0.1, 0.9)
POISSON_INTERVAL = (-1.2816, 1.2816)  # the same in deviations, where history is too short to measure residuals

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
    origin = units.shape[1]
    capped_units = _cap_units(units)
    holdout = origin - horizon  # the first day that a second model does not see
    # Residuals of a model that did not see them say how wide the interval must be; a short history has none to spare.
    has_holdout = holdout >= LEVEL_DAYS + horizon and bool(_has_sales(units[:, holdout:]).any())
    has_holdout = has_holdout and bool(_open_weekdays(units, weekday, holdout).any())
    spread = _residual_quantiles(capped_units, units, weekday, holdout, horizon) if has_holdout else POISSON_INTERVAL
    mean = _predict(capped_units, weekday, origin, horizon)
    low, high = (np.maximum(mean + bound * np.sqrt(mean + SMALLEST_LEVEL), 0.0) for bound in spread)
    is_closed = mean == 0
    return Forecast(mean, np.where(is_closed, 0.0, np.minimum(low, mean)), np.where(is_closed, 0.0, np.maximum(high, mean)))


def calendar_mean(units: Units, weekday: Days, horizon: int = HORIZON) -> Units:
    """Mean of the last LEVEL_DAYS open days, 0 on closed ones: the yardstick whose error the forecast has to stay below."""
    origin = units.shape[1]
    level = units[:, _open_days(units, origin)[-LEVEL_DAYS:]].mean(axis=1)
    return level[:, None] * _open_weekdays(units, weekday, origin)[weekday[origin : origin + horizon]]


def seasonal_naive(units: Units, horizon: int = HORIZON) -> Units:
    """The last seven days, repeated: another yardstick."""
    return units[:, units.shape[1] - 7 + np.arange(horizon) % 7]


def weighted_rmsse(past_units: Units, revenue: Units, actual_units: Units, predicted_units: Units) -> float:
    """RMSSE of each product (scaled by its one-step naive error since its first sale), weighted by the past's recent revenue.

    A product without a scale, as its past has no two days or never varied, is left out; nan when all are.
    """
    errors = np.sqrt(((actual_units - predicted_units) ** 2).mean(axis=1))
    steps = [np.diff(row[np.argmax(row > 0) :]) for row in past_units]
    scales = np.array([np.sqrt((step**2).mean()) if len(step) else 0.0 for step in steps])
    weights = revenue[:, -LEVEL_DAYS:].sum(axis=1)
    has_scale = (scales > 0) & (weights > 0)
    if not has_scale.any():
        return float("nan")
    return float(np.average(errors[has_scale] / scales[has_scale], weights=weights[has_scale]))


def backtest(units: Units, revenue: Units, weekday: Days, cuts: int = 3, horizon: int = HORIZON) -> dict[str, float]:
    """Mean weighted RMSSE of each method over `cuts` rolling origins `horizon` apart, and the share of days in the interval.

    Over the cuts that have such a figure: days on which nothing was sold do not count for the interval.
    """
    origins = [units.shape[1] - horizon * cut for cut in range(cuts, 0, -1)]
    figures: dict[str, list[float]] = {name: [] for name in ("model", "calendar_mean", "seasonal_naive", "coverage")}
    for origin in origins:
        past_units, actual_units = units[:, :origin], units[:, origin : origin + horizon]
        model = forecast(past_units, weekday, horizon)
        yardsticks = {
            "calendar_mean": calendar_mean(past_units, weekday, horizon),
            "seasonal_naive": seasonal_naive(past_units, horizon),
        }
        for name, prediction in {"model": model.mean, **yardsticks}.items():
            figures[name].append(weighted_rmsse(past_units, revenue[:, :origin], actual_units, prediction))
        is_inside = (actual_units >= np.floor(model.low)) & (actual_units <= np.ceil(model.high))
        has_sales = _has_sales(actual_units)
        figures["coverage"].append(float(is_inside[:, has_sales].mean()) if has_sales.any() else float("nan"))
    return {name: _mean_of_numbers(values) for name, values in figures.items()}


def _mean_of_numbers(values: list[float]) -> float:
    """Mean of those that are not nan; nan when all are."""
    numbers = [value for value in values if not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else float("nan")


def _predict(units: Units, weekday: Days, origin: int, horizon: int) -> Units:
    """The mean forecast of the days from `origin` on, by a model that read the days before it only."""
    is_open = _open_weekdays(units, weekday, origin)
    days = _open_days_from(weekday, origin, is_open, horizon)
    mean = np.zeros((len(units), horizon))
    if not len(days):
        return mean
    level = _recent_level(units, origin)
    model = _fit(units, weekday, origin, is_open, horizon)
    # Without a model: as much as the level.
    ratio = model.predict(_features(units, weekday, origin, days)) if model else np.ones(len(days) * len(units))
    mean[:, days - origin] = ratio.reshape(len(days), len(units)).T * level[:, None]
    return mean


def _fit(
    units: Units, weekday: Days, end_day: int, is_open: NDArray[np.bool_], horizon: int
) -> "HistGradientBoostingRegressor | None":
    """A model of units over level; None where history is too short for a single origin."""
    features, ratios, weights = [], [], []
    for origin in range(end_day - horizon, LEVEL_DAYS - 1, -7)[:ORIGINS]:
        days = _open_days_from(weekday, origin, is_open, horizon)
        days = days[_has_sales(units[:, days])]
        if not len(days):
            continue  # the shop was closed all that time
        level = _recent_level(units, origin)
        features.append(_features(units, weekday, origin, days))
        ratios.append((units[:, days] / level[:, None]).T.ravel())
        weights.append(np.tile(level, len(days)))
    if not features:
        return None
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="poisson", learning_rate=0.05, max_iter=60, max_leaf_nodes=15, min_samples_leaf=200, random_state=0
    )
    return model.fit(np.concatenate(features), np.concatenate(ratios), sample_weight=np.concatenate(weights))


def _features(units: Units, weekday: Days, origin: int, days: Days) -> NDArray[np.float64]:
    """Rows for every product and each of `days` (day by day): recent means over the level, size, weekday, distance."""
    past_days = _open_days(units, origin)
    level = _recent_level(units, origin)
    recent = [units[:, past_days[-window:]].mean(axis=1) / level for window in (7, 14, 56)]
    share_with_sales = (units[:, past_days[-LEVEL_DAYS:]] > 0).mean(axis=1)
    weekday_features = [_weekday_mean(units, weekday, past_days[-48:], day) / level for day in range(WEEK_DAYS)]
    product_features = [*recent, np.log(level), share_with_sales]
    day_features = {day: np.full((len(units), 2), (weekday[day], day - origin)) for day in days}
    return np.concatenate(
        [np.column_stack([*product_features, weekday_features[weekday[day]], day_features[day]]) for day in days]
    )


def _weekday_mean(units: Units, weekday: Days, days: Days, number: int) -> Units:
    """Mean of each product over those of `days` that are the weekday of that number; 0 where there is none."""
    matching_days = days[weekday[days] == number]
    return units[:, matching_days].mean(axis=1) if len(matching_days) else np.zeros(len(units))


def _residual_quantiles(capped_units: Units, units: Units, weekday: Days, origin: int, horizon: int) -> tuple[float, float]:
    """INTERVAL quantiles of (actual - forecast) / sqrt(forecast) over the `horizon` days from `origin`."""
    mean, actual = _predict(capped_units, weekday, origin, horizon), units[:, origin : origin + horizon]
    residuals = (actual - mean) / np.sqrt(mean + SMALLEST_LEVEL)
    low, high = np.quantile(residuals[:, _has_sales(actual)], INTERVAL)
    return float(low), float(high)


def _recent_level(units: Units, origin: int) -> Units:
    """Units a day of each product over the last LEVEL_DAYS open days before `origin`."""
    return units[:, _open_days(units, origin)[-LEVEL_DAYS:]].mean(axis=1) + SMALLEST_LEVEL


def _cap_units(units: Units) -> Units:
    return np.minimum(units, np.maximum(np.quantile(units, CAP, axis=1), 1.0)[:, None])


def _has_sales(units: Units) -> NDArray[np.bool_]:
    """For each day, whether anything was sold."""
    return units.sum(axis=0) > 0


def _open_days(units: Units, origin: int) -> Days:
    return np.flatnonzero(_has_sales(units[:, :origin]))


def _open_weekdays(units: Units, weekday: Days, origin: int) -> NDArray[np.bool_]:
    """For each of the seven weekdays, whether anything was sold on it in the CALENDAR_DAYS before `origin`."""
    recent = np.arange(max(0, origin - CALENDAR_DAYS), origin)
    days_with_sales = recent[_has_sales(units[:, recent])]
    return np.isin(np.arange(WEEK_DAYS), weekday[days_with_sales])


def _open_days_from(weekday: Days, origin: int, is_open: NDArray[np.bool_], horizon: int) -> Days:
    """Those of the `horizon` days from `origin` on whose weekday is open."""
    days = np.arange(origin, origin + horizon)
    return days[is_open[weekday[days]]]
