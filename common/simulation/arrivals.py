"""Draws how many events each source has, and when each event arrives."""

import numpy as np
from numpy.typing import NDArray

USUAL_DELAY_MS = 300.0  # mean of an event that is on time
LATE_SHARE = 0.05
LATE_MEAN_MS = 5 * 60_000.0
LATE_MAX_MS = 30 * 60_000
VERY_LATE_SHARE = 0.001
VERY_LATE_MS = (3_600_000, 2 * 86_400_000)  # an hour to two days


def event_sources(rng: np.random.Generator, rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of each event's source: source i appears Poisson(rates[i]) times, in order of i."""
    return np.repeat(np.arange(len(rates)), rng.poisson(rates))


def delays(rng: np.random.Generator, size: int) -> NDArray[np.timedelta64]:
    """Time (timedelta64[ms]) between event and arrival: mostly below a second, 5% minutes late, 0.1% hours to days late."""
    delay = rng.exponential(USUAL_DELAY_MS, size).clip(max=30_000)
    lateness_draw = rng.random(size)
    minutes = (60_000 + rng.exponential(LATE_MEAN_MS, size)).clip(max=LATE_MAX_MS)
    low, high = np.log(VERY_LATE_MS)
    hours = np.exp(rng.uniform(low, high, size))
    delay = np.where(lateness_draw < LATE_SHARE, minutes, delay)
    delay = np.where(lateness_draw < VERY_LATE_SHARE, hours, delay)
    return delay.astype("timedelta64[ms]")
