"""What goes wrong with patients and devices, by name, and what only looks like it.

Each takes a day's readings and the stays that it happens to, and returns the readings changed; anomalies are marked with
their scenario and case, look-alikes are not. A patient has one of them a day, never in the first days (nothing is known of
what is normal for them) and never on the last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.simulation.anomalies import cases_on
from common.simulation.randomness import random_for
from common.simulation.seasonality import DAY_SECONDS
from health_monitoring.simulation.population import COPD, Stays
from health_monitoring.simulation.vitals import HOUR, Readings

SETTLED_DAYS = 4
MARGIN = 0.7 * HOUR     # from midnight; so that there are readings on both sides
NIGHT = (5.5 * HOUR, 22 * HOUR)


@dataclass(frozen=True)
class Day:
    """What a scenario may know: the date, who is there, the seed, and the factor on the number of cases."""

    date: date
    seed: int
    stays: Stays
    factor: float

    def random(self, purpose: str) -> np.random.Generator:
        return random_for(self.seed, self.date, purpose)


Scenario = Callable[[Day, Readings, NDArray[np.int64]], Readings]


@dataclass(frozen=True)
class Episodes:
    """The readings within each patient's episode: rows, the episode of each row, and how far into it (hours, from its end)."""

    rows: NDArray[np.int64]
    number: NDArray[np.int64]
    hours: NDArray[np.float64]
    left: NDArray[np.float64]


def deterioration(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """Over 3.5 to 5.5 hours everything turns worse together, stays so and is treated: 6.5 to 9 hours in all."""
    rng = day.random("deterioration course")
    rise, strength = rng.uniform(3.5, 5.5, len(who)), rng.uniform(0.85, 1.15, len(who))
    is_confused = rng.random(len(who)) < 0.25
    found = _episodes(day, "deterioration", readings, who, (6.5, 9))
    course = np.minimum(1, found.hours / rise[found.number]) * np.minimum(1, found.left)
    shift = course * strength[found.number]
    for field, most in (("respiratory_rate_per_min", 8), ("spo2_percent", -4), ("heart_rate_bpm", 28), ("systolic_mmhg", -22),
                        ("diastolic_mmhg", -12), ("temperature_c", 1.1)):
        readings.values[field][found.rows] += most * shift
    readings.consciousness[found.rows[is_confused[found.number] & (course > 0.8)]] = "C"
    return _marked(day, readings, found.rows, "deterioration")


def sustained_hypoxia(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """For 1.25 to 2.5 hours the saturation is red on the patient's own scale, hardly lower than COPD patients live with."""
    rng = day.random("sustained_hypoxia course")
    found = _episodes(day, "sustained_hypoxia", readings, who, (1.25, 2.5))
    level = np.where(day.stays.kind[who] == COPD, 81.3, 88.7)[found.number]
    readings.values["spo2_percent"][found.rows] = level + rng.normal(0, 0.7, len(found.rows))
    readings.values["heart_rate_bpm"][found.rows] += 4
    return _marked(day, readings, found.rows, "sustained_hypoxia")


def tachycardia(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """For 1.3 to 2.7 hours the heart beats 30 to 45 a minute faster than it does in this patient: ordinary for another."""
    rng = day.random("tachycardia course")
    found = _episodes(day, "tachycardia", readings, who, (1.3, 2.7))
    readings.values["heart_rate_bpm"][found.rows] += rng.uniform(30, 45, len(who))[found.number]
    return _marked(day, readings, found.rows, "tachycardia")


def silent_device(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """For 3 to 7 hours nothing comes though the patient is there; in half of the cases the battery was low, as it often is."""
    rng = day.random("silent_device course")
    found = _episodes(day, "silent_device", readings, who, (3, 7), earliest=2 * HOUR)
    low = (rng.random(len(who)) < 0.5)[found.number]
    kept = np.ones(len(readings), bool)
    kept[found.rows] = False
    last = np.unique(found.number, return_index=True)[1]
    # Rows are by stay and time, so the reading before an episode's first is the patient's last before the silence.
    before = found.rows[last] - 1
    readings.battery[before[low[last]]] = 4
    readings = _marked(day, readings, before, "silent_device")
    return readings.take(kept)


def sensor_artefact(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """One reading of one sensor is absurd while the patient's other signs stay as they were: a loose probe, a shaken lead."""
    rng = day.random("sensor_artefact course")
    row = _one_row_each(rng, readings, who)
    fields = ("spo2_percent", "heart_rate_bpm", "temperature_c", "respiratory_rate_per_min")
    ranges = np.array([(30, 58), (185, 240), (27, 32.5), (48, 75)])
    which = rng.integers(len(fields), size=len(row))
    value = rng.uniform(*ranges[which].T)
    for number, field in enumerate(fields):
        readings.values[field][row[which == number]] = value[which == number]
    return _marked(day, readings, row, "sensor_artefact")


def pause(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """15 to 27 minutes off the monitor, for a scan or a shower: not a silent device."""
    found = _episodes(day, "pause", readings, who, (0.25, 0.45))
    kept = np.ones(len(readings), bool)
    kept[found.rows] = False
    return readings.take(kept)


def exercise(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """A faster heart and breath for 18 to 28 minutes: physiotherapy, not a tachycardia."""
    rng = day.random("exercise course")
    found = _episodes(day, "exercise", readings, who, (0.3, 0.47))
    readings.values["heart_rate_bpm"][found.rows] += rng.uniform(28, 50, len(who))[found.number]
    readings.values["respiratory_rate_per_min"][found.rows] += 4
    return readings


def brief_desaturation(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """One or two readings as low as a loose probe's, but heart and breath answer: the patient, not the sensor."""
    rng = day.random("brief_desaturation course")
    found = _episodes(day, "brief_desaturation", readings, who, (0.22, 0.3))
    for field, low, high in (("spo2_percent", -48, -26), ("heart_rate_bpm", 28, 50), ("respiratory_rate_per_min", 9, 14)):
        readings.values[field][found.rows] += rng.uniform(low, high, len(who))[found.number]
    return readings


def agitation(day: Day, readings: Readings, who: NDArray[np.int64]) -> Readings:
    """Up to half an hour of pain or fright: NEWS2 rises by a few points and falls again. Not a deterioration."""
    found = _episodes(day, "agitation", readings, who, (0.3, 0.5))
    for field, shift in (("respiratory_rate_per_min", 7), ("heart_rate_bpm", 32), ("systolic_mmhg", 28)):
        readings.values[field][found.rows] += shift
    return readings


def with_apnoea(day: Day, readings: Readings) -> Readings:
    """At night the saturation of some dips for single readings, again and again: not a sustained hypoxia."""
    rng = day.random("apnoea")
    asleep = (readings.second < NIGHT[0]) | (readings.second > NIGHT[1])
    rows = np.flatnonzero(asleep & day.stays.has_apnoea[readings.stay])[::3]
    rows = rows[rng.random(len(rows)) < 0.6]
    readings.values["spo2_percent"][rows] -= rng.uniform(8, 14, len(rows))
    return readings


# Cases per bed and day. Those that take readings away come last: the others find their rows first.
ANOMALIES: dict[Scenario, float] = {
    deterioration: 0.025, sustained_hypoxia: 0.025, tachycardia: 0.025, sensor_artefact: 0.025, silent_device: 0.025}
LOOK_ALIKES: dict[Scenario, float] = {
    exercise: 0.07, brief_desaturation: 0.07, agitation: 0.05, pause: 0.05}


def apply_all(day: Day, beds: int, readings: Readings) -> Readings:
    """The readings with everything that happens on the day, each to patients of its own."""
    readings = with_apnoea(day, readings)
    settled = np.flatnonzero((day.stays.day >= SETTLED_DAYS) & ~day.stays.last_day)
    waiting = day.random("who").permutation(settled)
    for scenario, per_bed in (*ANOMALIES.items(), *LOOK_ALIKES.items()):
        factor = day.factor if scenario in ANOMALIES else 1.0
        count = cases_on(day.seed, day.date, scenario.__name__, per_bed * beds * factor)
        who, waiting = np.sort(waiting[:count]), waiting[count:]
        readings = scenario(day, readings, who)
    return readings


def _episodes(
    day: Day, purpose: str, readings: Readings, who: NDArray[np.int64], hours: tuple[float, float], earliest: float = MARGIN
) -> Episodes:
    """One episode of `hours` for each of `who`, from `earliest` on and over before midnight."""
    rng = day.random(f"{purpose} times")
    length = rng.uniform(*hours, len(who)) * HOUR
    start = earliest + rng.random(len(who)) * (DAY_SECONDS - MARGIN - earliest - length)
    episode = np.full(len(day.stays), -1)
    episode[who] = np.arange(len(who))
    number = episode[readings.stay]
    rows = np.flatnonzero(number >= 0)
    second, number = readings.second[rows], number[rows]
    inside = (second >= start[number]) & (second < (start + length)[number])
    rows, number, second = rows[inside], number[inside], second[inside]
    return Episodes(rows, number, (second - start[number]) / HOUR, ((start + length)[number] - second) / HOUR)


def _one_row_each(rng: np.random.Generator, readings: Readings, who: NDArray[np.int64]) -> NDArray[np.int64]:
    """A reading of each of `who` that has some on both sides."""
    first, end = np.searchsorted(readings.stay, who), np.searchsorted(readings.stay, who, side="right")
    return first + 3 + (rng.random(len(who)) * (end - first - 6)).astype(np.int64)


def _marked(day: Day, readings: Readings, rows: NDArray[np.int64], scenario: str) -> Readings:
    # No patient's name: a case is a text that is stored as it is.
    readings.scenario[rows] = scenario
    readings.case[rows] = [f"{scenario}:{day.date}:{stay}" for stay in readings.stay[rows]]
    return readings
