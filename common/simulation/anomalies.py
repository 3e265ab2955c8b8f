"""Draws when anomalies happen: cases that start at an even rate, episodes that last for days, bursts within minutes."""

from datetime import date, timedelta
from math import floor

import numpy as np
from numpy.typing import NDArray

from common.simulation.randomness import EVERY_DAY, random_for


def case_count(seed: int, day: date, purpose: str, per_day: float) -> int:
    """Number of cases that start on a day: `per_day` rounded down or up, so that the average over days is `per_day`."""
    offset = random_for(seed, EVERY_DAY, purpose).random()
    number = day.toordinal()
    return floor((number + 1) * per_day + offset) - floor(number * per_day + offset)


def draw_distinct(rng: np.random.Generator, population: int, size: int) -> NDArray[np.int64]:
    """`size` different members of a population (all of them when it is smaller)."""
    return rng.choice(population, min(size, population), replace=False)


def episodes(
    seed: int, day: date, purpose: str, per_day: float, lasting_days: int, population: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Members in an episode on `day`, and its age in days (0 on the first); of two episodes of a member the newer counts."""
    members, ages = [], []
    for age in range(lasting_days):
        first_day = day - timedelta(days=age)
        new_cases = case_count(seed, first_day, purpose, per_day)
        if new_cases:
            members.append(draw_distinct(random_for(seed, first_day, purpose), population, new_cases))
            ages.append(np.full(len(members[-1]), age))
    if not members:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    distinct_members, first_places = np.unique(np.concatenate(members), return_index=True)
    return distinct_members, np.concatenate(ages)[first_places]


def bursts(
    rng: np.random.Generator, sizes: NDArray[np.int64], within_seconds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(case, offset in seconds) of the events of each burst: the first at 0, the last at most `within_seconds` after it."""
    case = np.repeat(np.arange(len(sizes)), sizes)
    offset = rng.random(len(case)) * within_seconds[case]
    offset[np.cumsum(sizes) - sizes] = 0.0
    return case, offset
