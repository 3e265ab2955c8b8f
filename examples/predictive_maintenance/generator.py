"""Readings of machines that wear, day by day, and apart from them labels: which were of the last five days before a failure.

Every day depends on (seed, day, population) alone: a machine's lives follow each other from the world's opening on, and are drawn
all at once.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from common.authoring import EVERY_DAY, DirtyFields, EventColumns, GeneratedEvents, delays, object_array, random_for
from examples.predictive_maintenance.events import ENTITY, EVENT_ID, EVENT_TIME, LABEL_DELAY
from examples.predictive_maintenance.settings import Population

HORIZON = timedelta(days=5)  # before a failure, within which a work order is to be raised
EVENT_COLUMNS = EventColumns(EVENT_ID, ENTITY, EVENT_TIME, LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="vibration_mm_s", out_of_range=-1.0, required="machine_id", time="event_time")

BEARING, SEAL = "bearing", "seal"
REPAIR_DAYS = 0.5  # in which a machine sends nothing
LIVES = 400  # of a machine that are drawn: 40 years if each has the usual length


@dataclass(frozen=True)
class World:
    """The healthy values of each machine, and its lives.

    ends: days from the opening to the end of each life; lengths: its days; is_bearing: whether its bearing fails, else its seal.
    """

    vibration: NDArray[np.float64]
    temperature: NDArray[np.float64]
    pressure: NDArray[np.float64]
    phase: NDArray[np.float64]
    ends: NDArray[np.float64]
    lengths: NDArray[np.float64]
    is_bearing: NDArray[np.bool_]


@dataclass(frozen=True)
class Readings:
    """A day's readings, each an array (machines, readings).

    hours: of the day; life: the number of the machine's life; is_sent: false while the machine is repaired.
    """

    hours: NDArray[np.float64]
    life: NDArray[np.int64]
    columns: dict[str, NDArray]
    scenario: NDArray[np.object_]
    is_sent: NDArray[np.bool_]


def generate_day(seed: int, day: date, population: Population) -> GeneratedEvents:
    """The valid readings of one UTC day and the labels of those before a failure; no messages yet."""
    world, rng = world_of(seed, population), random_for(seed, day, "readings")
    shape = (population.machines, population.readings_per_day)
    hours = (np.arange(shape[1]) + world.phase[:, None]) * 24 / shape[1]
    since_opening = (day - population.opening).days + hours / 24
    # A life lasts for days, so that at most one ends on a day.
    machines = np.arange(shape[0])
    life = (world.ends <= since_opening[:, :1]).sum(axis=1)[:, None]
    life = life + (world.ends[machines[:, None], life] <= since_opening)
    end, length = world.ends[machines[:, None], life], world.lengths[machines[:, None], life]
    run_days = since_opening - (end - length)  # negative while it is repaired
    wear = np.clip(run_days / length, 0, 1)
    is_bearing = world.is_bearing[machines[:, None], life]
    load = np.clip(0.6 + 0.25 * np.sin((hours - 9) * np.pi / 12) + rng.normal(0, 0.08, shape), 0.1, 1.2)
    columns = {
        "run_hours": np.round(run_days * 24, 2),
        "load": np.round(load, 3),
        "vibration_mm_s": np.round(world.vibration[:, None] * (1 + np.where(is_bearing, 1.5, 0.4) * wear**6)
                                   * (0.8 + 0.4 * load) / 1.04 * rng.lognormal(0, 0.05, shape), 3),
        "temperature_c": np.round(world.temperature[:, None] + 10 * (load - 0.6) + np.where(is_bearing, 14, 9) * wear**5
                                  + rng.normal(0, 1.2, shape), 2),
        "pressure_bar": np.round(world.pressure[:, None] * (1 - np.where(is_bearing, 0.03, 0.2) * wear**6)
                                 + rng.normal(0, 0.05, shape), 3),
    }  # fmt: skip
    is_before_failure = (end - since_opening) * 86_400 <= HORIZON.total_seconds()
    scenario = np.where(is_before_failure, np.where(is_bearing, BEARING, SEAL), "").astype(object)
    return _events_and_labels(day, Readings(hours, life, columns, scenario, run_days >= 0), random_for(seed, day, "delays"))


def world_of(seed: int, population: Population) -> World:
    """The machines and all their lives, with Weibull's lengths, as of parts that wear. The first began before the opening."""
    rng, number = random_for(seed, EVERY_DAY, "world"), population.machines
    lengths = population.life_days / 0.893 * rng.weibull(3.0, (number, LIVES))  # 0.893: the mean of Weibull's with shape 3
    lengths = np.maximum(lengths, 0.3 * population.life_days)
    age_at_opening = rng.random(number) * lengths[:, 0]
    ends = np.cumsum(lengths + REPAIR_DAYS, axis=1) - REPAIR_DAYS - age_at_opening[:, None]
    return World(
        vibration=rng.uniform(1.2, 2.8, number), temperature=rng.uniform(48, 66, number), pressure=rng.uniform(6, 8, number),
        phase=rng.random(number), ends=ends, lengths=lengths, is_bearing=rng.random((number, LIVES)) < 0.5)  # fmt: skip


def _events_and_labels(day: date, readings: Readings, rng: np.random.Generator) -> GeneratedEvents:
    """Readings in order of time as events, and labels of those with a scenario; the end of a machine's life is one case."""
    hours = readings.hours
    order = np.argsort(hours, axis=None, kind="stable")
    order = order[readings.is_sent.ravel()[order]]
    row = order // hours.shape[1]
    time = np.datetime64(day, "ms") + (hours.ravel()[order] * 3_600_000).astype("timedelta64[ms]")
    machines = object_array([f"M{number:05d}" for number in range(len(hours))])[row]
    columns = {
        EVENT_ID: object_array([f"r{day:%Y%m%d}{number:07d}" for number in range(len(order))]),
        ENTITY: machines,
        **{name: values.ravel()[order] for name, values in readings.columns.items()},
        EVENT_TIME: time,
    }
    scenario, lives = readings.scenario.ravel()[order], readings.life.ravel()[order]
    case = object_array(
        [f"{name}:{machine}:{life}" if name else "" for name, machine, life in zip(scenario, machines, lives, strict=True)]
    )
    return GeneratedEvents.from_columns(day, columns, scenario, time + delays(rng, len(time)), EVENT_COLUMNS, case)
