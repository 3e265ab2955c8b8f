"""Generates observation sets of a simulated hospital, day by day, and apart from them labels: which belong to an anomaly.

Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from datetime import date

import numpy as np

from common.authoring import DirtyFields, EventColumns, GeneratedEvents, delays, object_array, random_for
from health_monitoring.events import CHARTING_DELAY, ENTITY, EVENT_ID, EVENT_TIME, VITALS
from health_monitoring.settings import Population
from health_monitoring.simulation.population import COPD, WARDS, Stays, stays_on
from health_monitoring.simulation.scenarios import Day, apply_incidents
from health_monitoring.simulation.vitals import Readings, ordinary_readings, reported_readings

EVENT_COLUMNS = EventColumns(EVENT_ID, ENTITY, EVENT_TIME, label_delay=CHARTING_DELAY)
DIRTY_FIELDS = DirtyFields(number="heart_rate_bpm", out_of_range=-12.5, required="patient_id", time="event_time")

OXYGEN_FLOWS = (1, 2, 3, 4)  # L/min


def generate_day(seed: int, day: date, population: Population) -> GeneratedEvents:
    """The valid observation sets of one UTC day and the labels of the anomalous ones; no messages yet."""
    stays = stays_on(seed, day, population)
    today = Day(day, seed, stays, population.cases)
    readings = apply_incidents(today, population.beds, ordinary_readings(seed, day, stays))
    return _events_and_labels(today, reported_readings(seed, day, readings))


def _events_and_labels(today: Day, readings: Readings) -> GeneratedEvents:
    """Readings as events in order of time, and labels of those with a scenario."""
    is_last = _is_last_of_stay(today.stays, readings)
    order = np.argsort(readings.second, kind="stable")
    readings, is_last = readings.take(order), is_last[order]
    stays, stay = today.stays, readings.stay
    time = np.datetime64(today.date, "ms") + (readings.second * 1_000).astype("timedelta64[ms]")
    on_oxygen = stays.on_oxygen[stay]
    fields = readings.values | {
        "oxygen_flow_l_per_min": np.where(on_oxygen, np.array(OXYGEN_FLOWS, float)[stays.number[stay] % len(OXYGEN_FLOWS)], 0.0),
        "fio2": np.full(len(readings), np.nan),  # not known with nasal prongs
    }
    prefix = f"o{today.date:%Y%m%d}"
    columns = {
        EVENT_ID: object_array([f"{prefix}{number:07d}" for number in range(len(readings))]),
        ENTITY: object_array(stays.patient_id)[stay],
        "ward": np.array([name for name, *_ in WARDS], object)[stays.ward[stay]],
        "device_id": object_array([f"M{bed:05d}" for bed in stays.bed])[stay],
        **{vital.field: fields[vital.field] for vital in VITALS},
        "consciousness": readings.consciousness,
        "on_oxygen": on_oxygen,
        "spo2_scale": np.where(stays.kind[stay] == COPD, 2, 1).astype(np.int32),
        "sampling_minutes": stays.interval[stay] / 60,
        "battery_percent": readings.battery,
        "monitoring": np.where(is_last, "ended", "active").astype(object),
        EVENT_TIME: time,
    }
    arrival_time = time + delays(random_for(today.seed, today.date, "delays"), len(readings))
    return GeneratedEvents.from_columns(today.date, columns, readings.scenario, arrival_time, EVENT_COLUMNS, case=readings.case)


def _is_last_of_stay(stays: Stays, readings: Readings) -> np.ndarray:
    """Whether a reading is the one with which monitoring ends: the last of a stay on its day of discharge.

    readings: by stay and time.
    """
    ends = np.append(readings.stay[1:] != readings.stay[:-1], True) if len(readings) else np.empty(0, bool)
    return ends & stays.last_day[readings.stay]
