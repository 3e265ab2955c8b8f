"""What batch learns of patients and reports to people, on rows that can be counted."""

from datetime import date, datetime, timedelta

import pytest

from health_monitoring import VERTICAL, features, trends
from health_monitoring.baselines import baselines
from health_monitoring.events import CHARTING_DELAY

pytestmark = pytest.mark.files

MIDNIGHT = datetime(2020, 3, 2)
CALM = {
    "patient_id": "p1", "ward": "surgery", "heart_rate_bpm": 70.0, "respiratory_rate_per_min": 16.0, "spo2_percent": 97.0,
    "systolic_mmhg": 120.0, "diastolic_mmhg": 75.0, "temperature_c": 37.0, "consciousness": "A", "on_oxygen": False, "fio2": None,
    "oxygen_flow_l_per_min": None, "spo2_scale": 1,
}  # fmt: skip
TYPES = {"patient_id": "string", "ward": "string", "consciousness": "string", "on_oxygen": "boolean", "spo2_scale": "int"}
SCHEMA = "observation_id string, event_time timestamp, " + ", ".join(f"{name} {TYPES.get(name, 'double')}" for name in CALM)
LABELS = "event_id string, entity_id string, scenario string, case_id string, event_time timestamp, known_time timestamp"
ALERTS = "alert_id string, rule string, event_time timestamp"


def at(hours, **values):
    return {"event_time": MIDNIGHT + timedelta(hours=hours)} | values


@pytest.fixture(scope="module")
def frame(spark):
    def make(*observations):
        rows = [CALM | {"observation_id": f"o{number}"} | observation for number, observation in enumerate(observations)]
        return spark.createDataFrame(rows, SCHEMA)

    return make


@pytest.fixture(scope="module")
def labels(spark):
    def make(*named):
        rows = [(event, patient, "deterioration", "c1", MIDNIGHT + timedelta(hours=at), None) for event, patient, at in named]
        return spark.createDataFrame(rows, LABELS)

    return make


def test_a_baseline_is_of_the_three_days_before(frame, labels):
    rows = frame(
        at(-73, heart_rate_bpm=200.0),
        at(-71, heart_rate_bpm=60.0),
        at(-1, heart_rate_bpm=80.0),
        at(0, heart_rate_bpm=200.0),
        at(-2, patient_id="p2", heart_rate_bpm=None, temperature_c=36.0),
    )
    by_patient = {row.patient_id: row for row in baselines(rows, labels(), [MIDNIGHT.date()])["patient"].collect()}
    first, second = by_patient["p1"], by_patient["p2"]
    assert (first.patient_observations, first.patient_heart_rate_mean, first.patient_heart_rate_std) == (2, 70.0, 10.0)
    assert (second.patient_observations, second.patient_heart_rate_mean, second.patient_temperature_mean) == (1, None, 36.0)
    assert first.as_of == date(2020, 3, 2) and len(by_patient) == 2


def test_an_outcome_is_a_deterioration_now_or_within_six_hours(frame, labels):
    rows = frame(*(at(hours) for hours in (3, 4, 9, 10, 12, 13)), at(9, patient_id="p2"))
    outcomes = features.outcomes(rows, labels(("o3", "p1", 10), ("o4", "p1", 12))).collect()
    assert {row.event_id: row.label for row in outcomes} == {"o0": 0, "o1": 1, "o2": 1, "o3": 1, "o4": 1, "o5": 0, "o6": 0}


def test_features_are_never_null_and_measure_from_the_patients_own_normal(spark, frame):
    means = {"heart_rate": 60.0, "respiratory_rate": 16.0, "spo2": 97.0, "systolic": 120.0, "temperature": 37.0}
    names = [f"patient_{name}_{what}" for name in means for what in ("mean", "std")]
    values = [value for mean in means.values() for value in (mean, 5.0)]
    baseline = spark.createDataFrame([("p1", *values)], "patient_id string, " + ", ".join(f"{name} double" for name in names))
    rows = frame(at(0, heart_rate_bpm=95.0), at(1, **dict.fromkeys(CALM) | {"patient_id": "p1"}), at(2, patient_id="p2"))
    odd, empty, new = features.with_features(rows.join(baseline, "patient_id", "left")).orderBy("event_time").collect()
    assert (odd.heart_rate_deviations, odd.deviations_total, odd.pulse_points, odd.news2_known) == (7.0, 7.0, 1.0, 1.0)
    assert all(row[name] is not None for row in (odd, empty, new) for name in features.FEATURES)
    assert (empty.deviations_total, new.deviations_total, empty.news2_known) == (0.0, 0.0, 0.0)


def test_reliability_compares_what_was_said_with_what_came(spark, frame, labels):
    rows = frame(*(at(9, patient_id=f"p{number}") for number in range(4)))
    scores = [("o0", 0.3), ("o1", 0.25), ("o2", 0.005), ("o3", None)]
    predictions = spark.createDataFrame(scores, "observation_id string, model_score double")
    table = trends._calibration(rows.join(predictions, "observation_id"), labels(("o0", "p0", 9))).collect()
    assert [(row.expected, row.predicted, row.observed, row.rows) for row in table] == [
        ("from 0.00", 0.005, 0.0, 1),
        ("from 0.20", 0.275, 0.5, 2),
    ]


def test_trends_of_wards_bands_slopes_and_alarms(spark, frame, labels):
    risky = {"respiratory_rate_per_min": 26.0, "systolic_mmhg": 88.0, "temperature_c": 39.2}
    falling = [at(-24 * day, patient_id="p2", systolic_mmhg=100.0 + 10 * day) for day in range(5)]
    other = [
        at(-96, patient_id="p3", spo2_scale=2),
        at(-96, patient_id="p3", on_oxygen=True),
        at(-96, patient_id="p4", on_oxygen=None),
    ]
    rows = frame(at(1), at(2, **risky), at(3, ward=None, consciousness=None), *falling, *other)
    alerts = spark.createDataFrame(
        [("a1", "tachycardia", MIDNIGHT), ("a1", "tachycardia", MIDNIGHT), ("a2", "red_parameter", MIDNIGHT)], ALERTS
    )
    tables = {name: table.collect() for name, table in trends.trends(rows, labels(), alerts).items()}
    today = {row.ward: row for row in tables["wards"] if row.day == MIDNIGHT.date()}
    assert (today["surgery"].patients, today["surgery"].observations, today["unknown"].mean_news2) == (2, 3, None)
    assert today["surgery"].share_medium_or_high == pytest.approx(1 / 3, abs=1e-4)
    bands = {row.risk: row.share for row in tables["risk_bands"] if row.day == MIDNIGHT.date()}
    assert bands == {"low": 0.5, "high": 0.25, "incomplete": 0.25}
    [slope] = tables["slopes"]
    assert (slope.patient_id, slope.days, slope.systolic_per_day) == ("p2", 4.0, -10.0)
    assert {row.rule: (row.alarms, row.per_patient_day) for row in tables["alarms"]} == {
        "tachycardia": (1, 0.5),
        "red_parameter": (1, 0.5),
    }
    assert {row.cohort for row in tables["cohorts"]} == {
        "scale 1, on air",
        "scale 1, on oxygen",
        "scale 1, oxygen unknown",
        "SpO2 scale 2",
    }


def test_a_model_is_judged_by_outcomes_that_are_all_known(frame, labels, monkeypatch):
    """The last observation of a day may be followed by a deterioration six hours later, charted two days after that."""
    days = []
    monkeypatch.setattr(trends, "_rows_as_served", lambda history, labels, of: days.append(of) or history)
    monkeypatch.setattr(trends, "with_score", lambda rows, model: rows)
    trends._scored_week(frame(at(0)), labels(), MIDNIGHT.date(), None)
    charted = datetime.combine(max(days[0]) + timedelta(days=1), datetime.min.time()) + features.HORIZON + CHARTING_DELAY
    assert charted <= MIDNIGHT + timedelta(days=1) and len(days[0]) == 7
    assert timedelta(days=VERTICAL.label_delay.days) >= CHARTING_DELAY + features.HORIZON


def test_without_history_there_are_no_trends(spark, frame, labels):
    assert trends.trends(frame(at(0)).where("false"), labels(), spark.createDataFrame([], ALERTS)) == {}
