"""What each rule of patient monitoring catches and what it leaves alone, on patients whose readings one can count."""

import json
import random
from collections import defaultdict
from datetime import datetime, timedelta

import pytest
from pyspark.sql import functions as F

from common.alerts import ALERT_SCHEMA
from health_monitoring import detector
from health_monitoring.settings import HealthSettings

pytestmark = pytest.mark.files

NOON = datetime(2020, 3, 2, 12)  # a block of six hours begins
SETTINGS = HealthSettings()
CALM = {
    "ward": "surgery", "device_id": "m1", "heart_rate_bpm": 70.0, "respiratory_rate_per_min": 16.0, "spo2_percent": 97.0,
    "systolic_mmhg": 120.0, "temperature_c": 37.0, "consciousness": "A", "on_oxygen": False, "fio2": None,
    "oxygen_flow_l_per_min": None, "spo2_scale": 1, "sampling_minutes": 15.0, "monitoring": "active",
    "patient_observations": 200, "patient_heart_rate_mean": 70.0, "patient_heart_rate_std": 5.0, "model_score": 0.01,
    "baseline_version": "b1", "model_version": "m1",
}  # fmt: skip
TYPES = {
    "ward": "string", "device_id": "string", "consciousness": "string", "on_oxygen": "boolean", "spo2_scale": "int",
    "monitoring": "string", "patient_observations": "bigint", "baseline_version": "string", "model_version": "string",
}  # fmt: skip
SCHEMA = "observation_id string, patient_id string, event_time timestamp, ingest_time timestamp, " + ", ".join(
    f"{name} {TYPES.get(name, 'double')}" for name in CALM
)

FIVE = {"heart_rate_bpm": 115.0, "respiratory_rate_per_min": 22.0, "temperature_c": 38.5}  # 2 + 2 + 1
EIGHT = {"respiratory_rate_per_min": 26.0, "systolic_mmhg": 88.0, "temperature_c": 39.2}  # 3 + 3 + 2
LOW = {"spo2_percent": 90.0}
FAST = {"heart_rate_bpm": 89.0}
BARE = dict.fromkeys(CALM)
SIZE = 32  # of a sequence of chance readings


def at(minutes, **values):
    """A reading some minutes after noon, calm but for `values`."""
    return {"event_time": NOON + timedelta(minutes=minutes)} | values


def every(step, first, last, **values):
    return [at(minutes, **values) for minutes in range(first, last + 1, step)]


CALM_MORNING = every(15, -360, -15)
PATIENTS = {
    "calm": every(15, -360, 345),
    "nothing known": every(15, -60, 60, **BARE),
    "a red parameter": [at(-30), at(0), at(15, heart_rate_bpm=132.0), at(30)],
    "red, one missing": [at(0, heart_rate_bpm=132.0, consciousness=None)],
    "four points, none red": [at(0, heart_rate_bpm=115.0, respiratory_rate_per_min=22.0)],
    "five points": [at(0, **FIVE)],
    "five points and red": [at(0, heart_rate_bpm=135.0, respiratory_rate_per_min=22.0)],
    "eight points": [at(0, **EIGHT)],
    "five known, one missing": [at(0, **FIVE, consciousness=None)],
    "worse within a block": [at(10, **FIVE), at(40, **EIGHT)],
    "an afternoon of five": every(15, 0, 345, **FIVE),
    "five again after the block": [at(10, **FIVE), at(350, **FIVE), at(365, **FIVE)],
    "worse for an hour": [*CALM_MORNING, *every(15, 0, 45, **EIGHT)],
    "worse, one missing": [*CALM_MORNING, *every(15, 0, 45, **EIGHT, consciousness=None)],
    "worse for half an hour": [*CALM_MORNING, at(0, **EIGHT), at(15, **EIGHT), at(30), at(45)],
    "bad from the beginning": [*every(15, -360, 45, **EIGHT)],
    "better": [*every(15, -360, -15, **EIGHT), *every(15, 0, 45)],
    "incomplete morning": [*every(15, -360, -15, **EIGHT | {"consciousness": None}), *every(15, 0, 45, **EIGHT)],
    "hypoxic for half an hour": [at(-15), at(0, **LOW), at(15, **LOW), at(30, **LOW), at(45)],
    "hypoxic twice": [at(0, **LOW), at(15, **LOW), at(30), at(45, **LOW), at(60, **LOW)],
    "hypoxic with a reading lost": [at(0, **LOW), at(15, **LOW), at(45, **LOW)],
    "copd at ninety": every(15, 0, 120, **LOW, spo2_scale=2),
    "copd at eighty-two": every(15, 0, 30, spo2_percent=82.0, spo2_scale=2),
    "copd on too much oxygen": every(15, 0, 120, spo2_percent=98.0, spo2_scale=2, on_oxygen=True),
    "hypoxic across the block": every(15, -15, 15, **LOW),
    "hypoxic with another device between": [at(0, **LOW), at(10, **LOW, sampling_minutes=1.0), at(15, **LOW), at(30, **LOW)],
    "hypoxic, absurdly, hour by hour": every(60, 0, 120, spo2_percent=70.0, sampling_minutes=60.0),
    "fast for this patient": every(15, 0, 45, **FAST),
    "fast for half an hour": every(15, 0, 30, **FAST),
    "fast as ever": every(15, 0, 120, **FAST, patient_heart_rate_mean=84.0),
    "fast but erratic": every(15, 0, 120, **FAST, patient_heart_rate_std=9.0),
    "fast and new": every(15, 0, 120, **FAST, patient_observations=23),
    "fast and unknown": every(15, 0, 120, **FAST, patient_observations=None, patient_heart_rate_mean=None),
    "probe off": [at(0), at(15, spo2_percent=42.0), at(30)],
    "probe off and never back": [at(0), at(15, spo2_percent=42.0), at(30, spo2_percent=44.0), at(45)],
    "desaturation with an answer": [
        at(0), at(15, spo2_percent=62.0, heart_rate_bpm=112.0, respiratory_rate_per_min=28.0), at(30)],
    "probe off on oxygen": [at(minutes, **{"on_oxygen": True} | odd) for minutes, odd in (
        (0, {}), (15, {"spo2_percent": 42.0}), (30, {}))],
    "a slow heart and a dip that patients make": [
        at(minutes, heart_rate_bpm=34.0, spo2_percent=spo2) for minutes, spo2 in ((0, 98.0), (15, 76.0), (30, 98.0))],
    "lead shaken": [at(0), at(15, heart_rate_bpm=215.0), at(30)],
    "a dip that patients make": [at(0), at(15, spo2_percent=83.0), at(30)],
    "probe off for an hour": [at(0), at(30, spo2_percent=42.0), at(60)],
    "at risk": [at(0, model_score=0.3), at(15, model_score=0.6)],
    "hardly at risk": [at(0, model_score=0.49)],
    "no model": [at(0, model_score=None, model_version=None)],
}  # fmt: skip


def rows_of(patients):
    for patient, readings in patients.items():
        for number, reading in enumerate(readings):
            identity = {"patient_id": patient, "observation_id": f"{patient} {number}", "ingest_time": reading["event_time"]}
            yield CALM | identity | reading


@pytest.fixture(scope="module")
def alerts(spark):
    """{patient: {rule: [alerts by time]}} of all PATIENTS in one run."""
    rows = spark.createDataFrame(list(rows_of(PATIENTS)), SCHEMA)
    by_patient = {patient: {} for patient in PATIENTS}
    raised = detector.by_patient(rows, SETTINGS)
    assert raised.columns == ALERT_SCHEMA.names
    for alert in sorted(raised.collect(), key=lambda alert: alert.event_time):
        by_patient[alert.entity_id].setdefault(alert.rule, []).append(alert)
    return by_patient


@pytest.mark.parametrize(("patient", "rules"), [
    ("calm", []),
    ("nothing known", []),
    ("a red parameter", ["red_parameter"]),
    ("red, one missing", ["red_parameter"]),
    ("four points, none red", []),
    ("five points", ["urgent_response"]),
    ("five points and red", ["urgent_response"]),
    ("eight points", ["emergency_response"]),
    ("five known, one missing", ["urgent_response"]),
    ("worse for an hour", ["deterioration", "emergency_response"]),
    ("worse, one missing", ["deterioration", "emergency_response"]),
    ("worse for half an hour", ["emergency_response"]),
    ("bad from the beginning", ["emergency_response"]),
    ("better", ["emergency_response"]),
    ("incomplete morning", ["emergency_response"]),
    ("hypoxic for half an hour", ["red_parameter", "sustained_hypoxia"]),
    ("hypoxic twice", ["red_parameter"]),
    ("hypoxic with a reading lost", ["red_parameter"]),
    ("copd at ninety", []),
    ("copd at eighty-two", ["red_parameter", "sustained_hypoxia"]),
    ("copd on too much oxygen", ["urgent_response"]),
    ("hypoxic across the block", ["red_parameter", "sustained_hypoxia"]),
    ("hypoxic with another device between", ["red_parameter", "sustained_hypoxia"]),
    ("hypoxic, absurdly, hour by hour", ["red_parameter", "sustained_hypoxia"]),
    ("fast for this patient", ["tachycardia"]),
    ("fast for half an hour", []),
    ("fast as ever", []),
    ("fast but erratic", []),
    ("fast and new", []),
    ("fast and unknown", []),
    ("probe off", ["sensor_artefact"]),
    ("probe off and never back", ["red_parameter"]),
    ("desaturation with an answer", ["emergency_response"]),
    ("probe off on oxygen", ["sensor_artefact"]),
    ("a slow heart and a dip that patients make", ["red_parameter", "urgent_response"]),
    ("lead shaken", ["sensor_artefact"]),
    ("a dip that patients make", ["red_parameter"]),
    ("probe off for an hour", []),
    ("at risk", ["deterioration_risk"]),
    ("hardly at risk", []),
    ("no model", []),
])  # fmt: skip
def test_who_is_alarmed_of_what(alerts, patient, rules):
    assert sorted(alerts[patient]) == rules


def test_a_rise_in_severity_is_an_alert_of_its_own(alerts):
    by_rule = alerts["worse within a block"]
    [urgent], [emergency] = by_rule["urgent_response"], by_rule["emergency_response"]
    assert (urgent.severity, urgent.score, urgent.event) == ("major", 5.0, '["worse within a block 0"]')
    assert (emergency.severity, emergency.score, emergency.event) == ("critical", 8.0, '["worse within a block 1"]')
    assert urgent.alert_id != emergency.alert_id


def test_a_rule_alarms_once_in_a_block(alerts):
    assert len(alerts["an afternoon of five"]["urgent_response"]) == 1
    assert len(alerts["five again after the block"]["urgent_response"]) == 2


def test_an_alert_says_what_it_rests_on(alerts):
    [rise] = alerts["worse for an hour"]["deterioration"]
    assert (rise.score, rise.threshold, rise.reasons) == (8.0, 4.0, "NEWS2 rose by 8 to 8 within hours")
    assert set(json.loads(rise.event)) == {f"worse for an hour {number}" for number in range(24, 28)}
    [hypoxia] = alerts["hypoxic for half an hour"]["sustained_hypoxia"]
    assert (hypoxia.score, json.loads(hypoxia.event)) == (30.0, [f"hypoxic for half an hour {number}" for number in (1, 2, 3)])
    [partial], [whole] = (alerts[patient]["urgent_response"] for patient in ("five known, one missing", "five points"))
    assert (partial.reasons, whole.reasons) == ("NEWS2 is 5 at least: partial, a vital sign is missing", "NEWS2 is 5")
    [red], [of_partial] = (alerts[patient]["red_parameter"] for patient in ("a red parameter", "red, one missing"))
    assert red.reasons == "a vital sign scores 3 on NEWS2"
    assert of_partial.reasons == "a vital sign scores 3 on NEWS2; the total is partial, a vital sign is missing"
    [risen] = alerts["worse, one missing"]["deterioration"]
    assert risen.reasons == "NEWS2 rose by 8 to 8 within hours; the total is partial, a vital sign is missing"
    [artefact] = alerts["probe off"]["sensor_artefact"]
    assert (artefact.event, artefact.severity) == ('["probe off 1"]', "warning")
    assert artefact.versions.asDict() == {"baseline": "b1", "model": "m1", "rules": None}


def test_an_alert_stands_at_the_instant_it_was_first_true(alerts):
    minutes = {
        patient: {rule: (first.event_time - NOON).total_seconds() / 60 for rule, (first, *_) in by_rule.items()}
        for patient, by_rule in alerts.items()
    }
    assert minutes["worse for an hour"] == {"deterioration": 30, "emergency_response": 0}
    assert minutes["copd at eighty-two"] == {"sustained_hypoxia": 30, "red_parameter": 0}
    assert minutes["fast for this patient"] == {"tachycardia": 45}
    assert minutes["probe off"] == {"sensor_artefact": 30}
    assert minutes["an afternoon of five"]["urgent_response"] == 0


def test_events_sent_twice_or_in_another_order_change_nothing(spark, alerts):
    chosen = ("worse for an hour", "hypoxic for half an hour", "fast for this patient", "probe off", "worse within a block")
    rows = list(rows_of({patient: PATIENTS[patient] for patient in chosen}))
    again = [row | {"ingest_time": row["ingest_time"] + timedelta(seconds=20)} for row in rows]
    raised = detector.by_patient(spark.createDataFrame([*reversed(rows), *again], SCHEMA), SETTINGS).collect()
    expected = [alert for patient in chosen for alerts_of_rule in alerts[patient].values() for alert in alerts_of_rule]
    assert {(alert.alert_id, alert.score, alert.event) for alert in raised} == {
        (alert.alert_id, alert.score, alert.event) for alert in expected
    }


def test_an_observation_that_comes_again_under_another_model_counts_once(spark):
    twice = [at(0, **EIGHT, model_score=score, observation_id="again") for score in (0.1, 0.2)]
    rows = rows_of({"twice": [*CALM_MORNING, *twice, at(15, **EIGHT)]})
    assert {alert.rule for alert in detector.by_patient(spark.createDataFrame(list(rows), SCHEMA), SETTINGS).collect()} == {
        "emergency_response"
    }


def test_two_points_alarm_where_they_are_asked_for(spark):
    patients = {"two": [at(0, heart_rate_bpm=115.0)], "one": [at(0, heart_rate_bpm=105.0)], "oxygen": [at(0, on_oxygen=True)]}
    rows = spark.createDataFrame(list(rows_of(patients)), SCHEMA)
    [alert] = detector.by_patient(rows, SETTINGS.model_copy(update={"red_points": 2.0})).collect()
    assert (alert.entity_id, alert.score, alert.reasons) == ("two", 2.0, "a vital sign scores 2 on NEWS2")


def chance_reading(rng, number):
    """Of some device, ill in some way or not, within four hours."""
    ill = rng.choice([{}, {}, {}, FIVE, EIGHT, EIGHT, LOW, FAST, {"spo2_percent": 42.0}, {"consciousness": None}])
    sampling, name = rng.choice([1.0, 15.0, 15.0, 60.0, None]), f"r{number}"
    return at(rng.randrange(-150, 90), observation_id=name, sampling_minutes=sampling, model_score=rng.random(), **ill)


def test_however_late_an_observation_comes_no_score_falls(spark):
    """But that of an artefact, which is one because nothing lies between."""
    rng = random.Random(11)
    sequences = [[chance_reading(rng, number) for number in range(SIZE)] for _ in range(10)]
    arrived = {f"{name} {size}": sequence[:size] for name, sequence in enumerate(sequences) for size in range(1, SIZE + 1)}
    scores = defaultdict(dict)
    for alert in detector.by_patient(spark.createDataFrame(list(rows_of(arrived)), SCHEMA), SETTINGS).collect():
        if alert.rule != "sensor_artefact":
            sequence, size = map(int, alert.entity_id.split())
            scores[sequence, alert.rule, alert.event_time >= NOON][size] = alert.score
    assert {rule for _, rule, _ in scores} >= {"sustained_hypoxia", "tachycardia", "deterioration", "red_parameter"}
    for course in scores.values():
        sizes = sorted(course)
        assert sizes == list(range(sizes[0], SIZE + 1))
        assert sorted(course.values()) == [course[size] for size in sizes]


def test_every_observation_gets_its_score(spark):
    patients = {"mixed": [at(0), at(15, **EIGHT), at(30, **FIVE, consciousness=None)]}
    rows = detector.per_event(spark.createDataFrame(list(rows_of(patients)), SCHEMA), SETTINGS).orderBy("event_time").collect()
    assert [(row.observation_id, row.news2.total, row.news2.risk) for row in rows] == [
        ("mixed 0", 0, "low"),
        ("mixed 1", 8, "high"),
        ("mixed 2", None, None),
    ]
    assert (rows[2].news2.known_total, rows[2].news2.missing, rows[1].news2.any_red) == (5, 1, True)


def test_a_patient_who_falls_silent_is_missed_and_one_who_went_home_is_not(spark):
    patients = {
        "silent": [at(0), at(15), at(30, device_id="m7")],
        "went home": [at(0), at(15), at(30, monitoring="ended")],
        "back after an hour": [at(0), at(15), at(76), at(91, monitoring="ended")],
        "back within the hour": [at(0), at(15), at(74), at(89, monitoring="ended")],
        "says nothing of monitoring": [at(0, monitoring=None)],
        "went home at that instant": [at(0, monitoring="ended"), at(0)],
    }  # fmt: skip
    alerts = detector.by_silence(spark.createDataFrame(list(rows_of(patients)), SCHEMA), SETTINGS)
    raised = alerts.collect()
    by_patient = {alert.entity_id: alert for alert in raised}
    assert sorted(by_patient) == ["back after an hour", "says nothing of monitoring", "silent"] and len(raised) == 3
    assert by_patient["silent"].event == "silent 2"
    assert by_patient["silent"].event_time == NOON + timedelta(minutes=90)
    assert by_patient["silent"].reasons == "m7 has sent nothing for 60 minutes"
    assert by_patient["back after an hour"].event == "back after an hour 1"
    known_by = alerts.where(F.col("event_time") <= F.lit(NOON + timedelta(minutes=75))).collect()
    assert {alert.entity_id for alert in known_by} == {"back after an hour", "says nothing of monitoring"}
