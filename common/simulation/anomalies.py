"""Shapes that anomalies have in time: cases that start at an even rate, episodes that last for days, bursts within minutes."""

from datetime import date, timedelta
from math import floor

import numpy as np
from numpy.typing import NDArray

from common.simulation.randomness import ALWAYS, random_for


def cases_on(seed: int, day: date, purpose: str, per_day: float) -> int:
    """Number of cases that start on a day: `per_day` on average and never far from it, fractions spread evenly over days."""
    phase = random_for(seed, ALWAYS, purpose).random()
    number = day.toordinal()
    return floor((number + 1) * per_day + phase) - floor(number * per_day + phase)


def distinct(rng: np.random.Generator, population: int, size: int) -> NDArray[np.int64]:
    """`size` different members of a population (all of them when it is smaller)."""
    return rng.choice(population, min(size, population), replace=False)


def episodes(
    seed: int, day: date, purpose: str, per_day: float, lasting_days: int, population: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who is in an episode on `day`, and since how many days (0 on the first). Whoever started twice appears once, the newer."""
    members, ages = [], []
    for age in range(lasting_days):
        start = day - timedelta(days=age)
        started = cases_on(seed, start, purpose, per_day)
        if started:
            members.append(distinct(random_for(seed, start, purpose), population, started))
            ages.append(np.full(len(members[-1]), age))
    if not members:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    member, first = np.unique(np.concatenate(members), return_index=True)
    return member, np.concatenate(ages)[first]


def bursts(
    rng: np.random.Generator, sizes: NDArray[np.int64], within_seconds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(case, offset in seconds) of the events of each burst: the first at 0, the last at most `within_seconds` after it."""
    case = np.repeat(np.arange(len(sizes)), sizes)
    offset = rng.random(len(case)) * within_seconds[case]
    offset[np.cumsum(sizes) - sizes] = 0.0
    return case, offset
