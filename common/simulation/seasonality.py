"""Distributes events over the hours of a day and the days of a week, in local time."""

from datetime import date

import numpy as np
from numpy.typing import ArrayLike, NDArray

DAY_SECONDS = 86_400


def seconds_of_day(rng: np.random.Generator, hourly: ArrayLike, size: int) -> NDArray[np.float64]:
    """`size` seconds of a day in [0, 86400), dense where the 24 weights in `hourly` are high (inverse distribution function)."""
    cumulated = np.concatenate(([0.0], np.cumsum(np.asarray(hourly, float))))
    edges = np.arange(25) * 3_600.0
    seconds = np.interp(rng.random(size) * cumulated[-1], cumulated, edges)
    return np.minimum(seconds, np.nextafter(float(DAY_SECONDS), 0))


def to_utc(seconds: NDArray[np.float64], offset_hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local seconds of a day as UTC seconds of the same UTC day: what falls off one end enters at the other."""
    return (seconds - offset_hours * 3_600.0) % DAY_SECONDS


def is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def weekday_weight(day: date, weights: ArrayLike) -> float:
    """The day's share of a week whose seven `weights` start on Monday; 1 is an average day."""
    week = np.asarray(weights, float)
    return float(week[day.weekday()] / week.mean())
