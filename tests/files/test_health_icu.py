"""Published hours of intensive care: each accounted for with its dirt, and the risk model at its bars by the official scorer."""

import importlib.util
import json
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from common import contract
from common.models.training import export_sql, prove_parity
from common.simulation.messages import encode_rows, json_columns
from health_monitoring import VERTICAL
from health_monitoring.events import VITALS
from health_monitoring.studies import icu, sepsis_risk
from health_monitoring.studies.sepsis_utility import best_threshold, utility

pytestmark = [pytest.mark.files, pytest.mark.usefixtures("compiled")]

BARS = {"vital signs alone": 0.13, "with laboratory values, age and hours in the ICU": 0.30}


@pytest.fixture(scope="module")
def published(shared_data):
    return shared_data / "health" / "icu_hours.parquet"


@pytest.fixture(scope="module")
def hours(spark, published):
    """All published hours with their features, by patient and time."""
    return sepsis_risk.read_hours(spark, str(published))


@pytest.fixture(scope="module")
def results(hours):
    return {name: sepsis_risk.cross_validate(hours, features) for name, features in sepsis_risk.FEATURE_SETS.items()}


@pytest.fixture(scope="module")
def official(shared_data):
    path = shared_data / "health" / "evaluate_sepsis_score.py"
    spec = importlib.util.spec_from_file_location("evaluate_sepsis_score", path)
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    return scorer.evaluate_sepsis_score


def as_records(spark, sets, path):
    """Observation sets as a replay sends them, in the shape of Spark's Kafka source."""
    values = encode_rows(json_columns(pa.Table.from_pandas(sets, preserve_index=False)))
    table = pa.table({
        "key": pa.array(sets["patient_id"].str.encode("utf-8")), "value": pa.array(values, pa.binary()),
        "offset": pa.array(range(len(sets)), pa.int64()),
    })  # fmt: skip
    pq.write_table(table, path)
    placed = {"topic": F.lit("t"), "partition": F.lit(0), "timestamp": F.lit("2020-01-01").cast("timestamp")}
    return spark.read.parquet(str(path)).withColumns(placed)


def test_every_hour_is_an_event_or_in_quarantine_with_its_reason(spark, published, tmp_path):
    sets = icu.observation_sets(pd.read_parquet(published))
    absurd = sets.head(3).assign(fio2=[4000.0, -50.0, 0.21], temperature_c=[37.0, 37.0, 50.0], observation_id=["a", "b", "c"])
    sets = pd.concat([sets, absurd], ignore_index=True)
    limits = {vital.field: (vital.low, vital.high) for vital in VITALS if vital.field in sets}
    bad = {field: ~(sets[field].between(*bounds) | sets[field].isna()) for field, bounds in limits.items()}
    parsed = contract.parse(as_records(spark, sets, tmp_path / "records.parquet"), VERTICAL)
    rejected = {row.kafka_offset: row for row in parsed.where("reason IS NOT NULL").collect()}
    assert parsed.count() == len(sets)
    assert set(rejected) == set(np.flatnonzero(np.logical_or.reduce(list(bad.values()))))
    assert {row.reason for row in rejected.values()} == {"out_of_range"}
    assert bad["fio2"].sum() > 30 and bad["temperature_c"].sum() >= 3
    blamed = Counter(field for row in rejected.values() for field in limits if field in row.detail)
    assert blamed == Counter({field: int(rows.sum()) for field, rows in bad.items() if rows.any()})
    assert rejected[len(sets) - 3].detail != rejected[len(sets) - 1].detail


def test_an_hour_knows_nothing_of_later_ones(spark, published, hours):
    first_hours = spark.read.parquet(str(published)).where("ICULOS <= 20")
    until_then = icu.with_features(first_hours).select("pid", *icu.ALL_FEATURES).toPandas()
    until_then = until_then.sort_values(["pid", "ICULOS"], ignore_index=True)
    whole = hours[hours["ICULOS"] <= 20].reset_index(drop=True)
    assert len(whole) > 100_000
    pd.testing.assert_frame_equal(whole[["pid", *icu.ALL_FEATURES]], until_then, rtol=1e-9)


@pytest.mark.parametrize("name", BARS)
def test_the_risk_model_reaches_its_bar(results, name):
    assert results[name].utility >= BARS[name]
    assert results[name].is_alarmed.mean() < 0.2


@pytest.mark.parametrize("name", BARS)
def test_a_probability_is_about_the_share_that_is_observed(hours, results, name):
    table = results[name].reliability
    often = table[table["rows"] >= 1_000]
    assert len(often) >= 5
    assert (often["predicted"] / often["observed"]).between(0.6, 1.67).all()
    share = hours["SepsisLabel"].mean()
    assert results[name].brier < share * (1 - share)  # what always saying the overall share would have


def test_utility_is_the_official_scorers(hours, results, official, tmp_path):
    result = results["with laboratory values, age and hours in the ICU"]
    chosen = sepsis_risk.folds(hours["pid"].to_numpy(object)) == 0
    patients, labels = hours["pid"].to_numpy(object)[chosen], hours["SepsisLabel"].to_numpy()[chosen]
    for folder in ("labels", "predictions"):
        (tmp_path / folder).mkdir()
    rows = pd.DataFrame(
        {
            "pid": patients,
            "SepsisLabel": labels,
            "PredictedProbability": result.probability[chosen],
            "PredictedLabel": result.is_alarmed[chosen].astype(int),
        }
    )
    for patient, own in rows.groupby("pid"):
        own[["SepsisLabel"]].to_csv(tmp_path / "labels" / f"{patient}.psv", sep="|", index=False)
        own[["PredictedProbability", "PredictedLabel"]].to_csv(tmp_path / "predictions" / f"{patient}.psv", sep="|", index=False)
    *_, expected = official(str(tmp_path / "labels"), str(tmp_path / "predictions"))
    assert utility(patients, labels, result.is_alarmed[chosen]) == pytest.approx(expected, abs=1e-9)
    assert utility(patients, labels, np.zeros(len(labels), bool)) == 0


def test_the_exported_model_gives_the_same_probabilities_in_sql(spark, hours):
    features = list(icu.VITAL_FEATURES)
    some = hours[sepsis_risk.folds(hours["pid"].to_numpy(object)) == 1]
    model = sepsis_risk.fit_boosting(some[features], some["SepsisLabel"].to_numpy())
    model = sepsis_risk.recalibrate(model, some[features].iloc[::2], some["SepsisLabel"].to_numpy()[::2])
    structure, parameters = export_sql(model, features)
    assert prove_parity(spark, model, structure, parameters, some[features].head(200), tolerance=1e-5) <= 1e-5


def test_the_best_threshold_earns_most():
    patient = np.repeat(np.array(["a", "b"], object), 20)
    label = np.array([0] * 10 + [1] * 10 + [0] * 20)
    score = np.array([0.0] * 6 + [0.9] * 14 + [0.1] * 20)
    threshold = best_threshold(patient, label, score)
    assert threshold == 0.9
    assert utility(patient, label, score >= threshold) == max(utility(patient, label, score >= t) for t in (0.0, 0.1, 0.9))


def test_an_hour_as_an_observation_set_names_no_patient_but_in_its_field(published):
    sets = icu.observation_sets(pd.read_parquet(published).head(50))
    others = sets.drop(columns="patient_id").to_json()
    assert "p10" in json.dumps(sets["patient_id"].tolist()) and "p10" not in others
