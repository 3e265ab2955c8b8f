"""Performance reports of a simulated mobile network, day by day, and apart from them labels: which of them belong to a fault.

Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import (
    DirtyFields,
    EventColumns,
    GeneratedEvents,
    delays,
    growth,
    is_weekend,
    object_array,
    random_for,
)
from telecom_anomaly.events import ENTITY, EVENT_ID, EVENT_TIME, GRANULARITY_S, KPIS, LABEL_DELAY
from telecom_anomaly.settings import Population
from telecom_anomaly.simulation.population import PERIODS, World, hourly_shape, world_of
from telecom_anomaly.simulation.scenarios import Effects, effects_of

EVENT_COLUMNS = EventColumns(EVENT_ID, ENTITY, EVENT_TIME, label_delay=LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="RRU_PrbTotDl", out_of_range=-12.5, required="site_id", time=EVENT_TIME)

SATURATION = 8.0  # how sharply use of resource blocks bends towards 100%
NOISE = {
    "day": 0.06,
    "region": 0.03,
    "load": 0.07,
    "DRB_UEThpDl": 0.08,
    "DRB_UEThpUl": 0.10,
    "DRB_RlcSduDelayDl": 0.08,
    "DRB_RlcPacketDropRateDl": 0.25,
    "DRB_PacketLossRateUl": 0.25,
}
AUTOCORRELATION = 0.8  # correlation of a quarter of an hour's load with the one before


def generate_day(seed: int, day: date, population: Population) -> GeneratedEvents:
    """The valid reports of one UTC day and the labels of those that belong to a fault; no messages yet."""
    world = world_of(seed, population)
    effects = effects_of(world, seed, day, population.fault)
    load = _load(world, seed, day, population) * effects.traffic * (1 - effects.unavailable / GRANULARITY_S)
    measurements = _measurements(random_for(seed, day, "measurements"), world, load, effects)
    return _events_and_labels(world, seed, day, measurements, effects)


def _load(world: World, seed: int, day: date, population: Population) -> NDArray[np.float64]:
    """(cells, PERIODS): demand as a share of what the cell can carry; above 1 it cannot."""
    rng, cells = random_for(seed, day, "load"), len(world.cell_id)
    traffic_growth = growth(day, population.opening, population.growth_per_year) ** world.growth
    swing = np.exp(rng.normal(0, NOISE["day"], cells))
    regions, region_of_cell = np.unique(world.region.astype(str), return_inverse=True)
    swing *= np.exp(rng.normal(0, NOISE["region"], len(regions)))[region_of_cell]
    noise = rng.normal(0, NOISE["load"], (cells, PERIODS))
    for period in range(1, PERIODS):
        noise[:, period] = AUTOCORRELATION * noise[:, period - 1] + np.sqrt(1 - AUTOCORRELATION**2) * noise[:, period]
    return hourly_shape(world, is_weekend(day)) * (world.peak * traffic_growth * swing)[:, None] * np.exp(noise)


def _measurements(rng: np.random.Generator, world: World, load: NDArray, effects: Effects) -> dict[str, NDArray]:
    """(cells, PERIODS) of each of KPIS."""

    def with_noise(name: str, value: NDArray) -> NDArray:
        return value * np.exp(rng.normal(0, NOISE[name], value.shape))

    use = load / (1 + load**SATURATION) ** (1 / SATURATION)
    users = world.users[:, None] * load * np.exp(rng.normal(0, 0.05, load.shape))
    attempts = rng.poisson(users * world.calls[:, None] * effects.signalling)
    refused = world.refused[:, None] * (1 + 2 * np.clip(use - 0.85, 0, 1) / 0.15) + effects.refused
    delay = world.delay[:, None] * (1 + 1.2 * use**2 / (1.1 - use)) * effects.delay
    drops = world.drops[:, None] * np.exp(2.5 * use)
    loss = world.loss[:, None] * (1 + 2 * use**2)
    speed = world.speed[:, None] * (1 - 0.8 * use)
    return {
        "DRB_UEThpDl": np.round(with_noise("DRB_UEThpDl", speed * effects.speed_down), 1),
        "DRB_UEThpUl": np.round(with_noise("DRB_UEThpUl", 0.25 * speed * effects.speed_up), 1),
        "DRB_RlcSduDelayDl": np.round(with_noise("DRB_RlcSduDelayDl", delay), 1),
        "DRB_RlcPacketDropRateDl": _rate(with_noise("DRB_RlcPacketDropRateDl", drops * effects.drops)),
        "DRB_PacketLossRateUl": _rate(with_noise("DRB_PacketLossRateUl", loss * effects.loss_up)),
        "DRB_RelActNbr": rng.poisson(attempts * 0.004 * (1 + effects.refused * 5)).astype(float),
        "RRC_ConnEstabAtt": attempts.astype(float),
        "RRC_ConnEstabSucc": (attempts - rng.binomial(attempts, np.clip(refused, 0, 0.9))).astype(float),
        "RRC_ConnMean": np.round(users, 2),
        "RRU_PrbTotDl": np.round(np.clip(100 * use, 0, 100), 1),
        "RRU_CellUnavailableTime": np.round(effects.unavailable),
    }


def _rate(share: NDArray) -> NDArray:
    """Packets of a million, as a cell reports them: whole, and no more than all."""
    return np.round(np.minimum(share, 1e6))


def _events_and_labels(world: World, seed: int, day: date, measurements: dict[str, NDArray], effects: Effects) -> GeneratedEvents:
    """The reports that are not missing, in order of time, and the labels of those with a scenario.

    A report's event_time is the end of its period: that of number 00 is midnight, and what it covers lies on the day before.
    """
    period, cell = np.nonzero(~effects.missing.T)
    rows = cell, period
    since_midnight = (period * GRANULARITY_S * 1_000).astype("timedelta64[ms]")
    time = np.datetime64(day, "ms") + since_midnight
    cell_ids = world.cell_id[cell]
    report_ids = object_array([f"{name}-{day:%Y%m%d}{number:02d}" for name, number in zip(cell_ids, period, strict=True)])
    columns = {
        EVENT_ID: report_ids,
        ENTITY: cell_ids,
        "site_id": world.site_id[cell],
        "region": world.region[cell],
        "technology": world.technology[cell],
        EVENT_TIME: time,
        "suspect_flag": effects.suspect[rows],
        **{name: measurements[name][rows] for name in KPIS},
    }
    arrival_time = time + delays(random_for(seed, day, "delays"), len(time))
    return GeneratedEvents.from_columns(day, columns, effects.scenario[rows], arrival_time, EVENT_COLUMNS, effects.case[rows])
