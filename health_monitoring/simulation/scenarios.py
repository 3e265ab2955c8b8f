"""Adds the incidents of the simulated hospital: anomalies of patients and devices, and harmless ones that look like them.

Each takes a day's readings and the stays of the patients that it happens to, and returns the changed readings. It labels the
readings of an anomaly with scenario and case, those of a look-alike not. A patient has at most one incident a day, none in the
first days (while nothing is known of what is normal for them) and none on the last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS, case_count, random_for
from health_monitoring.simulation.population import COPD, Stays
from health_monitoring.simulation.vitals import HOUR, Readings

SETTLED_DAYS = 4  # after admission, before a patient has incidents
MARGIN = 0.7 * HOUR  # from midnight, so that an episode has readings on both sides
NIGHT_END, NIGHT_START = 5.5 * HOUR, 22 * HOUR


@dataclass(frozen=True)
class Day:
    """The date, the seed, the stays of the day, and the factor on the number of anomalies."""

    date: date
    seed: int
    stays: Stays
    factor: float

    def random(self, purpose: str) -> np.random.Generator:
        return random_for(self.seed, self.date, purpose)


Incident = Callable[[Day, Readings, NDArray[np.int64]], Readings]  # the last: indices of the day's stays


@dataclass(frozen=True)
class Episodes:
    """The readings within each patient's episode, as arrays of one length."""

    rows: NDArray[np.int64]  # of the readings
    number: NDArray[np.int64]  # of the episode
    hours: NDArray[np.float64]  # since its beginning
    hours_left: NDArray[np.float64]  # to its end


def deterioration(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """Over 3.5 to 5.5 hours everything turns worse together, stays so and is treated: 6.5 to 9 hours in all."""
    rng = day.random("deterioration course")
    rise, strength = rng.uniform(3.5, 5.5, len(patients)), rng.uniform(0.85, 1.15, len(patients))
    is_confused = rng.random(len(patients)) < 0.25
    episodes = _episodes(day, "deterioration", readings, patients, (6.5, 9))
    course = np.minimum(1, episodes.hours / rise[episodes.number]) * np.minimum(1, episodes.hours_left)
    shift = course * strength[episodes.number]
    for field, max_shift in (
        ("respiratory_rate_per_min", 8),
        ("spo2_percent", -4),
        ("heart_rate_bpm", 28),
        ("systolic_mmhg", -22),
        ("diastolic_mmhg", -12),
        ("temperature_c", 1.1),
    ):
        readings.values[field][episodes.rows] += max_shift * shift
    readings.consciousness[episodes.rows[is_confused[episodes.number] & (course > 0.8)]] = "C"
    return _label_rows(day, readings, episodes.rows, "deterioration")


def sustained_hypoxia(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """For 1.25 to 2.5 hours the saturation is red on the patient's own scale, hardly lower than COPD patients live with."""
    rng = day.random("sustained_hypoxia course")
    episodes = _episodes(day, "sustained_hypoxia", readings, patients, (1.25, 2.5))
    level = np.where(day.stays.kind[patients] == COPD, 81.3, 88.7)[episodes.number]
    readings.values["spo2_percent"][episodes.rows] = level + rng.normal(0, 0.7, len(episodes.rows))
    readings.values["heart_rate_bpm"][episodes.rows] += 4
    return _label_rows(day, readings, episodes.rows, "sustained_hypoxia")


def tachycardia(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """For 1.3 to 2.7 hours the heart beats 30 to 45 a minute faster than it does in this patient: ordinary for another."""
    rng = day.random("tachycardia course")
    episodes = _episodes(day, "tachycardia", readings, patients, (1.3, 2.7))
    readings.values["heart_rate_bpm"][episodes.rows] += rng.uniform(30, 45, len(patients))[episodes.number]
    return _label_rows(day, readings, episodes.rows, "tachycardia")


def silent_device(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """For 3 to 7 hours nothing comes though the patient is there; in half of the cases the battery was low, as it often is."""
    rng = day.random("silent_device course")
    episodes = _episodes(day, "silent_device", readings, patients, (3, 7), earliest=2 * HOUR)
    has_low_battery = (rng.random(len(patients)) < 0.5)[episodes.number]
    is_sent = np.ones(len(readings), bool)
    is_sent[episodes.rows] = False
    first = np.unique(episodes.number, return_index=True)[1]
    # Rows are by stay and time, so the reading before an episode's first is the patient's last before the silence.
    last_rows = episodes.rows[first] - 1
    readings.battery[last_rows[has_low_battery[first]]] = 4
    readings = _label_rows(day, readings, last_rows, "silent_device")
    return readings.take(is_sent)


def sensor_artefact(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """One reading of one sensor is absurd while the patient's other signs stay as they were: a loose probe, a shaken lead."""
    rng = day.random("sensor_artefact course")
    rows = _random_rows(rng, readings, patients)
    fields = ("spo2_percent", "heart_rate_bpm", "temperature_c", "respiratory_rate_per_min")
    ranges = np.array([(30, 58), (185, 240), (27, 32.5), (48, 75)])
    sensor = rng.integers(len(fields), size=len(rows))
    value = rng.uniform(*ranges[sensor].T)
    for number, field in enumerate(fields):
        readings.values[field][rows[sensor == number]] = value[sensor == number]
    return _label_rows(day, readings, rows, "sensor_artefact")


def pause(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """15 to 27 minutes off the monitor, for a scan or a shower: not a silent device."""
    episodes = _episodes(day, "pause", readings, patients, (0.25, 0.45))
    is_sent = np.ones(len(readings), bool)
    is_sent[episodes.rows] = False
    return readings.take(is_sent)


def exercise(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """A faster heart and breath for 18 to 28 minutes: physiotherapy, not a tachycardia."""
    rng = day.random("exercise course")
    episodes = _episodes(day, "exercise", readings, patients, (0.3, 0.47))
    readings.values["heart_rate_bpm"][episodes.rows] += rng.uniform(28, 50, len(patients))[episodes.number]
    readings.values["respiratory_rate_per_min"][episodes.rows] += 4
    return readings


def brief_desaturation(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """One or two readings as low as a loose probe's, but heart and breath answer: the patient, not the sensor."""
    rng = day.random("brief_desaturation course")
    episodes = _episodes(day, "brief_desaturation", readings, patients, (0.22, 0.3))
    for field, low, high in (("spo2_percent", -48, -26), ("heart_rate_bpm", 28, 50), ("respiratory_rate_per_min", 9, 14)):
        readings.values[field][episodes.rows] += rng.uniform(low, high, len(patients))[episodes.number]
    return readings


def agitation(day: Day, readings: Readings, patients: NDArray[np.int64]) -> Readings:
    """Up to half an hour of pain or fright: NEWS2 rises by a few points and falls again. Not a deterioration."""
    episodes = _episodes(day, "agitation", readings, patients, (0.3, 0.5))
    for field, shift in (("respiratory_rate_per_min", 7), ("heart_rate_bpm", 32), ("systolic_mmhg", 28)):
        readings.values[field][episodes.rows] += shift
    return readings


def with_apnoea(day: Day, readings: Readings) -> Readings:
    """At night the saturation of some dips for single readings, again and again: not a sustained hypoxia."""
    rng = day.random("apnoea")
    is_night = (readings.second < NIGHT_END) | (readings.second > NIGHT_START)
    rows = np.flatnonzero(is_night & day.stays.has_apnoea[readings.stay])[::3]
    rows = rows[rng.random(len(rows)) < 0.6]
    readings.values["spo2_percent"][rows] -= rng.uniform(8, 14, len(rows))
    return readings


# Cases per bed and day. Those that remove readings come last: they change the rows that the others look up.
ANOMALIES: dict[Incident, float] = {
    deterioration: 0.025,
    sustained_hypoxia: 0.025,
    tachycardia: 0.025,
    sensor_artefact: 0.025,
    silent_device: 0.025,
}
LOOK_ALIKES: dict[Incident, float] = {exercise: 0.07, brief_desaturation: 0.07, agitation: 0.05, pause: 0.05}


def apply_incidents(day: Day, beds: int, readings: Readings) -> Readings:
    """The readings of a day with all its incidents, each happening to other patients."""
    readings = with_apnoea(day, readings)
    settled_patients = np.flatnonzero((day.stays.day >= SETTLED_DAYS) & ~day.stays.last_day)
    candidates = day.random("who").permutation(settled_patients)
    for incident, per_bed in (*ANOMALIES.items(), *LOOK_ALIKES.items()):
        factor = day.factor if incident in ANOMALIES else 1.0
        count = case_count(day.seed, day.date, incident.__name__, per_bed * beds * factor)
        patients, candidates = np.sort(candidates[:count]), candidates[count:]
        readings = incident(day, readings, patients)
    return readings


def _episodes(
    day: Day, purpose: str, readings: Readings, patients: NDArray[np.int64], hours: tuple[float, float], earliest: float = MARGIN
) -> Episodes:
    """One episode of `hours` for each of `patients`, from the second `earliest` on and over before midnight."""
    rng = day.random(f"{purpose} times")
    length = rng.uniform(*hours, len(patients)) * HOUR
    start = earliest + rng.random(len(patients)) * (DAY_SECONDS - MARGIN - earliest - length)
    episode = np.full(len(day.stays), -1)
    episode[patients] = np.arange(len(patients))
    number = episode[readings.stay]
    rows = np.flatnonzero(number >= 0)
    second, number = readings.second[rows], number[rows]
    is_inside = (second >= start[number]) & (second < (start + length)[number])
    rows, number, second = rows[is_inside], number[is_inside], second[is_inside]
    return Episodes(rows, number, (second - start[number]) / HOUR, ((start + length)[number] - second) / HOUR)


def _random_rows(rng: np.random.Generator, readings: Readings, patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """A random reading of each of `patients` that has at least three before it and after it."""
    first, end = np.searchsorted(readings.stay, patients), np.searchsorted(readings.stay, patients, side="right")
    return first + 3 + (rng.random(len(patients)) * (end - first - 6)).astype(np.int64)


def _label_rows(day: Day, readings: Readings, rows: NDArray[np.int64], scenario: str) -> Readings:
    """Labels the readings of `rows` in place, and returns all."""
    # No patient's name: a case is a text that is stored as it is.
    readings.scenario[rows] = scenario
    readings.case[rows] = [f"{scenario}:{day.date}:{stay}" for stay in readings.stay[rows]]
    return readings
