"""The simulated network: sites in regions, the three cells of each, their size, their traffic by hour and its growth."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.authoring import EVERY_DAY, random_for
from telecom_anomaly.settings import Population

CELLS_PER_SITE = 3
PERIODS = 96  # of 15 minutes in a day; period 0 ends at the midnight with which the day begins
REGIONS = ("north", "east", "south", "west")

# Weights of the 24 UTC hours. People move: offices fill as homes empty, and roads are busy in between.
HOME = (3, 2, 1.4, 1.1, 1.1, 1.6, 3, 5, 5.5, 5, 5, 5.5, 6, 6, 6, 6.5, 7.5, 9, 10, 11, 11.5, 11, 8.5, 5)
OFFICE = (1.2, 1, 1, 1, 1.1, 1.6, 3, 6, 9.5, 11, 11.5, 11, 10, 11, 11.5, 11, 10, 8, 5, 3.5, 2.8, 2.2, 1.8, 1.5)
ROAD = (1.5, 1, 0.9, 0.9, 1.4, 3.5, 8, 12, 11, 7, 6, 6, 7, 7, 7, 8, 11, 13, 11, 8, 6, 4.5, 3.5, 2.5)
HOURLY = np.array([HOME, OFFICE, ROAD])
HOURLY /= HOURLY.max(axis=1, keepdims=True)
WEEKEND = np.array([1.1, 0.35, 0.6])  # factor of Saturday and Sunday on each kind
KIND_SHARES = (0.5, 0.3, 0.2)


@dataclass(frozen=True)
class World:
    """Arrays over cells; the cells of site s are 3s, 3s + 1 and 3s + 2."""

    cell_id: NDArray[np.object_]
    site_id: NDArray[np.object_]
    region: NDArray[np.object_]
    technology: NDArray[np.object_]
    kind: NDArray[np.int64]  # row of HOURLY
    peak: NDArray[np.float64]  # share of resource blocks in use in the busy hour of an ordinary day, at the opening
    growth: NDArray[np.float64]  # exponent on the population's growth: above 1 the site grows faster
    speed: NDArray[np.float64]  # throughput of a user in the empty cell, kbit/s
    users: NDArray[np.float64]  # connected users of a full cell
    calls: NDArray[np.float64]  # attempts of a user in 15 minutes
    delay: NDArray[np.float64]  # of the empty cell, 0.1 ms
    loss: NDArray[np.float64]  # uplink packet loss of the empty cell, 1e-6
    drops: NDArray[np.float64]  # downlink packet drops of the empty cell, 1e-6
    refused: NDArray[np.float64]  # share of attempts that fail without any fault
    is_venue: NDArray[np.bool_]  # beside a stadium


@lru_cache(maxsize=4)
def world_of(seed: int, population: Population) -> World:
    """The network of a seed, the same on every day."""
    rng = random_for(seed, EVERY_DAY, "network")
    sites, cells = population.sites, population.sites * CELLS_PER_SITE
    site = np.repeat(np.arange(sites), CELLS_PER_SITE)
    is_nr = np.repeat(rng.random(sites) < 0.4, CELLS_PER_SITE)
    return World(
        cell_id=_names("C", cells),
        site_id=_names("S", sites)[site],
        region=np.array(REGIONS, object)[np.repeat(rng.integers(len(REGIONS), size=sites), CELLS_PER_SITE)],
        technology=np.where(is_nr, "NR", "LTE").astype(object),
        kind=np.repeat(rng.choice(len(KIND_SHARES), sites, p=KIND_SHARES), CELLS_PER_SITE),
        peak=np.clip(rng.lognormal(np.log(0.38), 0.32, cells), 0.12, 0.72),
        growth=np.repeat(rng.lognormal(0, 0.35, sites), CELLS_PER_SITE),
        speed=np.where(is_nr, 140_000, 38_000) * rng.lognormal(0, 0.3, cells),
        users=np.where(is_nr, 260, 170) * rng.lognormal(0, 0.35, cells),
        calls=rng.uniform(2.0, 5.0, cells),
        delay=np.where(is_nr, 80, 190) * rng.lognormal(0, 0.3, cells),
        loss=420 * rng.lognormal(0, 0.6, cells),
        drops=120 * rng.lognormal(0, 0.5, cells),
        refused=np.clip(rng.lognormal(np.log(0.01), 0.8, cells), 0.002, 0.05),
        is_venue=np.repeat(rng.random(sites) < 0.08, CELLS_PER_SITE),
    )


def hourly_shape(world: World, is_weekend: bool) -> NDArray[np.float64]:
    """(cells, PERIODS): the hour's share of the busy hour of an ordinary day, changing evenly from hour to hour."""
    hours = np.arange(PERIODS) / 4
    shapes = np.array([np.interp(hours, np.arange(25), np.append(shape, shape[0])) for shape in HOURLY])
    factor = WEEKEND if is_weekend else np.ones(len(WEEKEND))
    return (shapes * factor[:, None])[world.kind]


def _names(letter: str, count: int) -> NDArray[np.object_]:
    names = np.empty(count, object)
    names[:] = [f"{letter}{number:05d}" for number in range(count)]
    return names
