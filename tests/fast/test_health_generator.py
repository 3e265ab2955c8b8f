"""The simulated hospital: the same seed makes the same bytes, every anomaly is what its name says, and look-alikes are there."""

import hashlib
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from health_monitoring import VERTICAL, detector
from health_monitoring.events import EVENT_SCHEMA
from health_monitoring.generator import DIRTY_FIELDS, generate_day
from health_monitoring.settings import Population
from health_monitoring.simulation.population import (
    COPD,
    FRAIL,
    LONGEST_STAY,
    SHORTEST_STAY,
    hashed_normal,
    hashed_uniform,
    stays_on,
)
from health_monitoring.simulation.scenarios import ANOMALIES, LOOK_ALIKES, SETTLED_DAYS, Day
from health_monitoring.simulation.vitals import ordinary_readings, reported_readings

START = date(2026, 2, 2)
DAYS = 21
SMALL = Population(beds=30)
SCENARIOS = {scenario.__name__: scenario for scenario in (*ANOMALIES, *LOOK_ALIKES)}


@pytest.fixture(scope="module")
def observation_frame():
    """Three weeks at the default size: observations by patient and time with scenario and case ("" if ordinary)."""
    days = [generate_day(7, START + timedelta(days=number), Population()) for number in range(DAYS)]
    events = pd.concat([day.events.to_pandas() for day in days], ignore_index=True)
    labels = pd.concat([day.labels.to_pandas() for day in days]).set_index("event_id")
    events["scenario"] = events["observation_id"].map(labels["scenario"]).fillna("")
    events["case"] = events["observation_id"].map(labels["case_id"]).fillna("")
    return events.sort_values(["patient_id", "event_time"], ignore_index=True)


def courses(observation_frame, scenario):
    """Observations of each case of a scenario, and the patient's ordinary ones of the same day."""
    for _, marked in observation_frame[observation_frame["scenario"] == scenario].groupby("case"):
        same = (observation_frame["patient_id"] == marked["patient_id"].iloc[0]) & (observation_frame["scenario"] == "")
        same &= observation_frame["event_time"].dt.date == marked["event_time"].dt.date.iloc[0]
        yield marked, observation_frame[same]


def digest(seed, start, days):
    summed = hashlib.sha256()
    for chunk in VERTICAL.generate(seed, start, days, SMALL):
        for value in chunk.messages.values:
            summed.update(value)
    return summed.hexdigest()


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others():
    assert digest(7, START, 3) == digest(7, START, 3)
    assert digest(7, START, 3) != digest(8, START, 3)


def test_a_day_does_not_depend_on_the_days_before_it():
    alone = generate_day(7, START + timedelta(days=5), SMALL)
    chunks = list(VERTICAL.generate(7, START, 7, SMALL))
    assert chunks[5].events.equals(alone.events) and chunks[5].labels.equals(alone.labels)


def test_events_have_the_schema_and_stand_in_order_of_time():
    day = generate_day(7, START, SMALL)
    assert day.events.column_names == EVENT_SCHEMA.names
    times = day.events["event_time"].to_numpy()
    assert (times[1:] >= times[:-1]).all()
    assert len(set(day.events["observation_id"].to_pylist())) == len(day.events)
    assert day.events[DIRTY_FIELDS.number].null_count == 0


def test_a_case_does_not_name_its_patient(observation_frame):
    patients = set(observation_frame["patient_id"])
    assert not any(patient in case for case in observation_frame["case"].unique() for patient in patients)


def test_a_patient_stays_for_days_and_is_taken_off_at_the_end(observation_frame):
    inside = observation_frame.groupby("patient_id")["event_time"].agg(["min", "max"])
    whole_stays = inside[(inside["min"].dt.date > START) & (inside["max"].dt.date < START + timedelta(days=DAYS - 1))]
    nights = (whole_stays["max"].dt.normalize() - whole_stays["min"].dt.normalize()).dt.days
    assert nights.between(SHORTEST_STAY - 1, LONGEST_STAY - 1).all() and len(whole_stays) > 50
    last = observation_frame.groupby("patient_id").tail(1).set_index("patient_id")["monitoring"]
    assert (last[whole_stays.index] == "ended").all()
    assert (observation_frame["monitoring"] == "ended").sum() == (last == "ended").sum()


def test_every_scenario_has_its_number_of_cases(observation_frame):
    cases = observation_frame[observation_frame["case"] != ""].groupby("scenario")["case"].nunique()
    expected = {scenario.__name__: rate * Population().beds * DAYS for scenario, rate in ANOMALIES.items()}
    assert set(cases.index) == set(expected) == {scenario.name for scenario in detector.SCENARIOS}
    assert all(abs(cases[name] - number) <= 2 for name, number in expected.items())


def test_nothing_happens_to_patients_who_have_just_come(observation_frame):
    admitted = observation_frame.groupby("patient_id")["event_time"].transform("min")
    came_within = admitted.dt.date > START
    age = (observation_frame["event_time"].dt.normalize() - admitted.dt.normalize()).dt.days
    assert age[came_within & (observation_frame["scenario"] != "")].min() >= SETTLED_DAYS


def test_a_deterioration_goes_on_for_hours_and_over_all_signs(observation_frame):
    for marked, calm in courses(observation_frame, "deterioration"):
        hours = (marked["event_time"].max() - marked["event_time"].min()).total_seconds() / 3_600
        assert 5.8 <= hours <= 9
        worst = marked.iloc[len(marked) // 2 : -8]
        moved = worst.median(numeric_only=True) - calm.median(numeric_only=True)
        assert moved["respiratory_rate_per_min"] > 3 and moved["heart_rate_bpm"] > 10
        assert moved["spo2_percent"] < -1 and moved["systolic_mmhg"] < -4


def test_hypoxia_is_red_on_the_patients_own_scale_and_hardly_below_others(observation_frame):
    for marked, _ in courses(observation_frame, "sustained_hypoxia"):
        red = 83.49 if marked["spo2_scale"].iloc[0] == 2 else 91.49
        assert (marked["spo2_percent"] < red).mean() > 0.9
        assert len(marked) >= 4
    ordinary = observation_frame[observation_frame["scenario"] == ""]
    assert (ordinary["spo2_percent"] <= 89).sum() > 10 * (observation_frame["scenario"] == "sustained_hypoxia").sum()


def test_tachycardia_is_fast_for_its_patient_only(observation_frame):
    pairs = courses(observation_frame, "tachycardia")
    gained = [marked["heart_rate_bpm"].mean() - calm["heart_rate_bpm"].mean() for marked, calm in pairs]
    assert min(gained) > 20 and max(gained) < 60
    fastest = observation_frame[observation_frame["scenario"] == "tachycardia"].groupby("case")["heart_rate_bpm"].max()
    usual = observation_frame[observation_frame["scenario"] == ""].groupby("patient_id")["heart_rate_bpm"].median()
    assert (usual > 100).mean() > 0.05 and (fastest < 110).mean() > 0.2


def test_after_the_last_reading_before_a_silence_nothing_comes_for_hours(observation_frame):
    following = observation_frame.groupby("patient_id")["event_time"].shift(-1)
    gap = (following - observation_frame["event_time"]).dt.total_seconds() / 3_600
    silent = observation_frame["scenario"] == "silent_device"
    assert gap[silent].between(2.9, 7.6).all()
    others = gap[~silent & gap.notna()]
    assert (others >= 1).sum() <= 1 and (others > 0.6).sum() > 20  # pauses, and readings that were lost


def test_an_artefact_is_one_absurd_reading_between_two_ordinary_ones(observation_frame):
    odd = observation_frame.assign(odd=oddness(observation_frame))
    before, after = (odd.groupby("patient_id")["odd"].shift(step) for step in (1, -1))
    marked = odd["scenario"] == "sensor_artefact"
    assert (odd["odd"][marked] >= 1).all()
    assert (np.maximum(before, after)[marked] < 1.1).mean() > 0.95


def test_look_alikes_are_as_odd_as_what_they_look_like(observation_frame):
    odd = oddness(observation_frame)
    ordinary = observation_frame["scenario"] == ""
    assert (odd[ordinary] > 1.5).sum() > (odd[observation_frame["scenario"] == "sensor_artefact"] > 1.5).sum()
    assert (observation_frame[ordinary]["battery_percent"] < 10).sum() > 1_000
    assert all(rate > 0 for rate in LOOK_ALIKES.values())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_touches_only_the_patients_it_is_given(name):
    stays = stays_on(7, START, Population())
    day, patients = Day(START, 7, stays, 1.0), np.array([3, 11, 40])
    before, changed = (ordinary_readings(7, START, stays) for _ in range(2))
    changed = SCENARIOS[name](day, changed, patients)
    touched = [stay for stay in range(len(stays)) if rows_of(before, stay) != rows_of(changed, stay)]
    assert touched == patients.tolist()
    assert set(changed.stay[changed.scenario != ""]) <= set(patients.tolist())
    assert (changed.scenario != "").any() == (name in {scenario.__name__ for scenario in ANOMALIES})


def test_the_hospital_fills_and_its_patients_grow_frailer():
    early, late = (stays_on(7, START + timedelta(days=days), Population(beds=4_000, opening=START)) for days in (0, 1_095))
    assert len(late) > len(early) * 1.05
    assert (late.kind == FRAIL).mean() > (early.kind == FRAIL).mean() + 0.015


def test_values_are_what_devices_report():
    stays = stays_on(7, START, Population())
    reported = reported_readings(7, START, ordinary_readings(7, START, stays))
    assert (reported.values["spo2_percent"] <= 100).all()
    assert np.array_equal(reported.values["heart_rate_bpm"] % 1, np.zeros(len(reported)))
    assert 0.02 < np.isnan(reported.values["temperature_c"]).mean() < 0.04
    copd = stays.kind[reported.stay] == COPD
    assert reported.values["spo2_percent"][copd].mean() < 91.5 < 95 < reported.values["spo2_percent"][~copd].mean()


def test_hashed_numbers_are_spread_evenly_and_depend_on_every_key():
    bed, number = np.repeat(np.arange(200), 100), np.tile(np.arange(100), 200)
    uniform, normal = hashed_uniform(7, "a", bed, number), hashed_normal(7, "a", bed, number)
    assert np.histogram(uniform, bins=20, range=(0, 1))[0] == pytest.approx(1_000, rel=0.15)
    assert abs(normal.mean()) < 0.03 and normal.std() == pytest.approx(1, abs=0.03)
    assert len(np.unique(uniform)) == len(uniform)
    assert abs(np.corrcoef(uniform, hashed_uniform(7, "b", bed, number))[0, 1]) < 0.03
    assert abs(np.corrcoef(uniform, hashed_uniform(8, "a", bed, number))[0, 1]) < 0.03


def oddness(observation_frame):
    parts = [(observation_frame[field] - normal).abs() / jump for field, normal, jump in detector.NORMAL_AND_JUMP]
    return pd.concat(parts, axis=1).max(axis=1)


def rows_of(readings, stay):
    rows = readings.stay == stay
    others = (readings.second, readings.battery, readings.consciousness)
    return [values[rows].tolist() for values in (*others, *readings.values.values())]
