"""NEWS2 agrees with the college's table at every border and with every vector; a gap is told, never guessed."""

import pandas as pd
import pytest
from pyspark.sql import functions as F

from health_monitoring.rules import news2

pytestmark = pytest.mark.files

CALM = {
    "respiratory_rate_per_min": 16.0, "spo2_percent": 97.0, "spo2_scale": 1, "on_oxygen": False, "fio2": None,
    "oxygen_flow_l_per_min": None, "systolic_mmhg": 120.0, "heart_rate_bpm": 70.0, "consciousness": "A", "temperature_c": 37.0,
}  # fmt: skip
SCHEMA = (
    "respiratory_rate_per_min double, spo2_percent double, spo2_scale int, on_oxygen boolean, fio2 double, "
    "oxygen_flow_l_per_min double, systolic_mmhg double, heart_rate_bpm double, consciousness string, temperature_c double"
)
SCALE_2, ON_OXYGEN = {"spo2_scale": 2}, {"on_oxygen": True}

# The published table, at both sides of every border and of the rounding to it: field, value, circumstances, points.
BORDERS = [
    *(("respiratory_rate_per_min", value, {}, points) for value, points in (
        (0, 3), (8, 3), (8.49, 3), (8.5, 1), (9, 1), (11, 1), (11.5, 0), (12, 0), (20, 0), (20.5, 2), (21, 2), (24, 2),
        (24.5, 3), (25, 3), (60, 3))),
    *(("spo2_percent", value, {}, points) for value, points in (
        (60, 3), (91, 3), (91.49, 3), (91.5, 2), (92, 2), (93, 2), (93.5, 1), (94, 1), (95, 1), (95.5, 0), (96, 0), (100, 0))),
    *(("spo2_percent", value, ON_OXYGEN, points) for value, points in ((91, 3), (92, 2), (94, 1), (96, 0), (100, 0))),
    *(("spo2_percent", value, SCALE_2, points) for value, points in (
        (60, 3), (83, 3), (83.5, 2), (84, 2), (85, 2), (85.5, 1), (86, 1), (87, 1), (87.5, 0), (88, 0), (92, 0), (93, 0),
        (95, 0), (97, 0), (100, 0))),
    *(("spo2_percent", value, SCALE_2 | ON_OXYGEN, points) for value, points in (
        (83, 3), (84, 2), (86, 1), (88, 0), (92, 0), (92.49, 0), (92.5, 1), (93, 1), (94, 1), (94.5, 2), (95, 2), (96, 2),
        (96.5, 3), (97, 3), (100, 3))),
    *(("systolic_mmhg", value, {}, points) for value, points in (
        (50, 3), (90, 3), (90.5, 2), (91, 2), (100, 2), (100.5, 1), (101, 1), (110, 1), (110.5, 0), (111, 0), (219, 0),
        (219.5, 3), (220, 3))),
    *(("heart_rate_bpm", value, {}, points) for value, points in (
        (30, 3), (40, 3), (40.5, 1), (41, 1), (50, 1), (50.5, 0), (51, 0), (90, 0), (90.5, 1), (91, 1), (110, 1), (110.5, 2),
        (111, 2), (130, 2), (130.5, 3), (131, 3))),
    *(("temperature_c", value, {}, points) for value, points in (
        (34.9, 3), (35.0, 3), (35.04, 3), (35.05, 1), (35.1, 1), (36.0, 1), (36.05, 0), (36.1, 0), (38.0, 0), (38.04, 0),
        (38.05, 1), (38.1, 1), (39.0, 1), (39.05, 2), (39.1, 2))),
    *(("consciousness", value, {}, 0 if value == "A" else 3) for value in "ACVPU"),
]  # fmt: skip


@pytest.fixture
def scored(spark):
    """The score of each of some observations, given as what differs from a calm one."""

    def run(*observations):
        rows = [{**CALM, **observation} for observation in observations]
        return [row.score for row in spark.createDataFrame(rows, SCHEMA).select(news2.news2().alias("score")).collect()]

    return run


def test_every_vector_agrees(spark, shared_data):
    vectors = pd.read_csv(shared_data / "health" / "news2_vectors.csv")
    observations = (
        vectors.rename(
            columns={
                "rr": "respiratory_rate_per_min",
                "spo2": "spo2_percent",
                "sbp": "systolic_mmhg",
                "hr": "heart_rate_bpm",
                "acvpu": "consciousness",
                "temp_c": "temperature_c",
                "on_o2": "on_oxygen",
            }
        )
        .astype({"on_oxygen": bool})
        .assign(fio2=float("nan"), oxygen_flow_l_per_min=float("nan"))
    )
    rows = spark.createDataFrame(observations).replace(float("nan"), None)
    scores = pd.json_normalize([row.score.asDict() for row in rows.select(news2.news2().alias("score")).collect()])
    expected = {
        "p_rr": "respiratory_rate", "p_spo2": "spo2", "p_o2": "oxygen", "p_sbp": "systolic", "p_hr": "pulse",
        "p_acvpu": "consciousness", "p_temp": "temperature", "total": "total", "risk": "risk", "any_param_3": "any_red",
    }  # fmt: skip
    assert len(scores) == len(vectors) > 1_000
    differing = {column: int((vectors[column] != scores[name]).sum()) for column, name in expected.items()}
    assert differing == dict.fromkeys(expected, 0)


def test_every_border_of_the_published_table(scored):
    scores = scored(*({field: float(value) if field != "consciousness" else value} | where for field, value, where, _ in BORDERS))
    oxygen = [2 if where.get("on_oxygen") else 0 for _, _, where, _ in BORDERS]
    assert [score.total for score in scores] == [points + extra for (*_, points), extra in zip(BORDERS, oxygen, strict=True)]


BANDS = [
    (0, False, "low"), (4, False, "low"), (3, True, "low-medium"), (4, True, "low-medium"), (5, False, "medium"),
    (5, True, "medium"), (6, True, "medium"), (7, False, "high"), (20, True, "high"),
]  # fmt: skip


def test_bands(spark):
    rows = spark.createDataFrame(BANDS, "total int, any_red boolean, band string")
    bands = rows.select("total", "any_red", news2.risk(F.col("total"), F.col("any_red")).alias("band")).collect()
    assert [tuple(row) for row in bands] == BANDS


MISSING = (
    "respiratory_rate_per_min", "spo2_percent", "on_oxygen", "systolic_mmhg", "heart_rate_bpm", "consciousness", "temperature_c",
)  # fmt: skip


def test_a_missing_parameter_gives_no_total_and_is_counted(scored):
    scores = scored(*({"heart_rate_bpm": 140.0, "systolic_mmhg": 85.0, field: None} for field in MISSING))
    assert {(score.total, score.risk, score.missing) for score in scores} == {(None, None, 1)}
    known_totals = {field: score.known_total for field, score in zip(MISSING, scores, strict=True)}
    assert known_totals == {field: 3 if field in ("heart_rate_bpm", "systolic_mmhg") else 6 for field in MISSING}


def test_nothing_known_gives_no_score_and_no_red_parameter(scored):
    [score] = scored(dict.fromkeys(CALM))
    assert (score.total, score.known_total, score.missing, score.any_red) == (None, 0, 7, False)


def test_a_high_saturation_on_scale_2_is_not_judged_while_oxygen_is_unknown(scored):
    unknown, low = scored(*({"on_oxygen": None, "spo2_percent": value} | SCALE_2 for value in (97.0, 84.0)))
    assert (unknown.spo2, unknown.missing) == (None, 2)
    assert (low.spo2, low.missing) == (2, 1)


OXYGEN = [
    ({"fio2": 0.21}, 0), ({"fio2": 0.28}, 2), ({"oxygen_flow_l_per_min": 0.0}, 0), ({"oxygen_flow_l_per_min": 2.0}, 2),
    ({"fio2": 0.21, "oxygen_flow_l_per_min": 2.0}, 2), ({"fio2": 0.28, "oxygen_flow_l_per_min": 0.0}, 2),
    ({"fio2": 0.209}, 0), ({"on_oxygen": False, "fio2": 0.4}, 0), ({}, None),
]  # fmt: skip


def test_oxygen_is_as_charted_or_else_by_fraction_or_flow(scored):
    scores = scored(*({"on_oxygen": None} | fields for fields, _ in OXYGEN))
    assert [score.oxygen for score in scores] == [points for _, points in OXYGEN]
