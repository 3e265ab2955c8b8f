"""Models in Spark: the exported SQL is the model, a new version is data, and nothing is learnt before it is known."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline

from common.models.check import check_structure
from common.models.drift import stability
from common.models.protocol import Protocol, describe_evaluation, evaluate_protocol, point_in_time_features, with_labels
from common.models.scoring import have_same_structure, score_column, with_score
from common.models.storage import from_json, load, save
from common.models.training import ParityBroken, TrainingRefused, export_sql, fit_logistic, prove_parity, train
from common.vertical import Baseline, ModelSpec

pytestmark = pytest.mark.files

FEATURES = ("amount", "usual")
START = date(2026, 1, 1)
DAYS = 21


def numbers(seed, size=300):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"amount": rng.normal(50, 20, size), "usual": rng.normal(50, 10, size)})
    return rows.assign(label=(rows["amount"] - rows["usual"] + rng.normal(0, 10, size) > 20).astype(int))


@pytest.fixture(scope="module")
def trained(spark):
    return train(spark.createDataFrame(numbers(1)), FEATURES)


def test_spark_gives_the_probabilities_of_scikit_learn(spark):
    rows = numbers(1)
    pipeline = fit_logistic(rows[list(FEATURES)], rows["label"].to_numpy())
    structure, parameters = export_sql(pipeline, FEATURES)
    extreme = pd.DataFrame([(0.0, 0.0), (1e6, -1e6), (-1e6, 1e6)], columns=FEATURES)
    both = pd.concat([rows[list(FEATURES)], extreme], ignore_index=True)
    assert prove_parity(spark, pipeline, structure, parameters, both, tolerance=1e-9) <= 1e-12


def test_a_parameter_off_by_a_millionth_breaks_parity(spark):
    rows = numbers(1)
    pipeline = fit_logistic(rows[list(FEATURES)], rows["label"].to_numpy())
    structure, parameters = export_sql(pipeline, FEATURES)
    with pytest.raises(ParityBroken, match="differs from predict_proba"):
        prove_parity(spark, pipeline, structure, (parameters[0] + 1e-6, *parameters[1:]), rows[list(FEATURES)], 1e-9)


def test_trees_keep_parity_to_single_precision(spark):
    def fit(features, labels):
        return Pipeline([("trees", GradientBoostingClassifier(n_estimators=5, random_state=0).fit(features, labels))])

    assert "CASE WHEN" in train(spark.createDataFrame(numbers(1)), FEATURES, fit, tolerance=1e-5).structure


def test_the_same_training_gives_the_same_version_however_it_is_partitioned(spark, trained):
    again = train(spark.createDataFrame(numbers(1)).repartition(7, "amount"), FEATURES)
    assert again.version == trained.version
    assert train(spark.createDataFrame(numbers(2)), FEATURES).version != trained.version


def test_a_stored_model_scores_the_same(spark, trained, tmp_path):
    rows = spark.createDataFrame(numbers(3))
    loaded = load(save(trained, tmp_path), FEATURES)
    assert with_score(rows, loaded).collect() == with_score(rows, trained).collect()


def test_a_query_built_for_one_version_serves_the_next_from_its_one_row_table(spark, trained):
    """The stream's way: structure fixed when the query was built, numbers from a frame joined to each row."""
    newer = train(spark.createDataFrame(numbers(2)), FEATURES)
    assert have_same_structure(trained, newer)
    rows = spark.createDataFrame(numbers(3))
    schema = "model_version string, model_parameters array<double>"
    in_force = spark.createDataFrame([(newer.version, list(newer.parameters))], schema)
    served = rows.join(F.broadcast(in_force), how="left").withColumn("model_score", score_column(trained)).toPandas()
    batch = with_score(rows, newer).toPandas()
    assert served["model_score"].tolist() == batch["model_score"].tolist()
    assert set(served["model_version"]) == {newer.version}


@pytest.mark.parametrize("sql_type", ["bigint", "int", "float", "decimal(20,3)", "string", "boolean"])
def test_a_feature_counts_as_a_double_whatever_its_column_is(spark, sql_type):
    model = SimpleNamespace(features=("a",), structure="`a` * `a` * GET(model_parameters, 0)", parameters=(1.0,), version="v")
    largest = {"bigint": "9223372036854775807", "int": "2147483647", "boolean": "true"}.get(sql_type, "3")
    rows = spark.sql(f"SELECT CAST({largest} AS {sql_type}) AS a")
    [row] = with_score(rows, model).collect()
    number = float({"true": 1}.get(largest, largest))
    assert row["model_score"] == number * number and row["a"] == rows.collect()[0]["a"], "the column itself stays as it is"


def test_a_feature_that_is_no_number_gives_no_score(spark):
    model = SimpleNamespace(features=("a",), structure="`a` * GET(model_parameters, 0)", parameters=(1.0,), version="v")
    assert with_score(spark.sql("SELECT 'many' AS a"), model).collect()[0]["model_score"] is None


def test_without_a_model_in_force_there_is_no_score_and_no_failure(spark, trained):
    none = spark.createDataFrame([], "model_version string, model_parameters array<double>")
    short = spark.createDataFrame([("short", [1.0])], "model_version string, model_parameters array<double>")
    for in_force in (none, short):
        rows = spark.createDataFrame(numbers(3)).join(F.broadcast(in_force), how="left")
        assert rows.withColumn("model_score", score_column(trained)).where("model_score IS NOT NULL").isEmpty()


def test_hostile_sql_never_reaches_spark(trained):
    hostile = SimpleNamespace(features=FEATURES, structure="REFLECT('java.lang.System', 'exit', 1)", parameters=(), version="x")
    with pytest.raises(Exception, match="may not hold"):
        score_column(hostile)
    with pytest.raises(Exception, match="may not hold"):
        from_json({"features": list(FEATURES), "structure": hostile.structure, "parameters": []}, FEATURES)


ODD = [None, float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e308, -1e308, 5e-324, 1.0, 9.3e18]


def drawn(random, depth):
    """An expression of those that pass, spelt as the export spells."""
    if depth == 0:
        return random.choice(["`amount`", "`usual`", "GET(model_parameters, 0)", "GET(model_parameters, 1)", "1", "0", "999999"])
    one, two, three, four = (drawn(random, random.randrange(depth)) for _ in range(4))
    return random.choice(
        [
            f"({one}) + `amount`",
            f"({one}) * GET(model_parameters, 1)",
            f"(-({one})) - `usual`",
            f"TRY_DIVIDE({one}, {two})",
            f"EXP({one})",
            f"ABS({one})",
            f"CASE WHEN {one} <= {two} AND NOT {three} = {four} THEN {two} ELSE {three} END",
            f"CASE WHEN {one} > {two} OR {three} < {four} THEN {four} END",
        ]
    )


def test_whatever_passes_fails_on_no_row(spark):
    rows = [(a, b, [p, q]) for a in ODD for b in ODD for p, q in ((0.0, -1e308), (float("nan"), 1.0))] + [(1.0, 2.0, None)]
    frame = spark.createDataFrame(rows, "amount double, usual double, model_parameters array<double>")
    random = Random(0)
    passed = [check_structure(drawn(random, 4), FEATURES, 2) for _ in range(40)]
    scored = frame.select(*[F.expr(each).cast("double").alias(f"s{number}") for number, each in enumerate(passed)])
    assert len(scored.collect()) == len(rows)


@pytest.mark.parametrize(
    ("column", "value", "message"), [("label", 0, "0 known anomalies"), ("amount", None, "nulls or infinities: amount")]
)
def test_rows_that_cannot_train_are_refused_with_the_reason(spark, column, value, message):
    rows = spark.createDataFrame(numbers(1)).withColumn(column, F.lit(value).cast("double"))
    with pytest.raises(TrainingRefused, match=message):
        train(rows, FEATURES)


def learn(events, labels, days):
    """The mean amount before each day: what a small vertical would learn."""
    asked = events.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    past = asked.where(F.to_date("event_time") < F.col("as_of"))
    return {"card": past.groupBy("card_id", "as_of").agg(F.avg("amount").alias("usual_amount"))}


def exact_windows(events, labels):
    return events.withColumn("usual_amount", F.lit(50.0))


VERTICAL = SimpleNamespace(
    name="small",
    event_id="event_id",
    entity="card_id",
    event_time="event_time",
    learn=learn,
    queries=(),
    baselines={"card": Baseline("card_id", T.StructType([T.StructField("usual_amount", T.DoubleType())]))},
    model=ModelSpec(FEATURES, lambda rows: rows.withColumn("usual", F.coalesce("usual_amount", F.lit(0.0))), exact_windows),
)


@pytest.fixture(scope="module")
def world(spark):
    """Three weeks of 60 cards, of which a few spend much more on some days; labels are known a week later."""
    rng = np.random.default_rng(0)
    size = 60 * DAYS
    events = pd.DataFrame(
        {
            "event_id": [str(number) for number in range(size)],
            "card_id": [f"card-{number % 60}" for number in range(size)],
            "event_time": [datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=number // 60) for number in range(size)],
        }
    )
    events["anomalous"] = rng.random(size) < 0.03
    events["amount"] = np.where(events["anomalous"], 150.0, 50.0) + rng.normal(0, 15, size)
    frame = spark.createDataFrame(events)
    labels = frame.where("anomalous").selectExpr(
        "event_id", "card_id as entity_id", "'large' as scenario", "event_time", "event_time + interval 7 days as known_time"
    )
    return frame.drop("anomalous"), labels


def test_training_and_serving_give_the_same_numbers(spark, world, trained):
    """The same events both ways: joined with the baselines of many days at once, and with the one in force on the day."""
    events, labels = world
    days = [START + timedelta(days=day) for day in (10, 11)]
    trained_on = with_score(point_in_time_features(VERTICAL, events, labels, days), trained)
    served = []
    for day in days:
        in_force = learn(events, labels, [day])["card"].drop("as_of")
        that_day = events.where(F.to_date("event_time") == F.lit(day)).join(F.broadcast(in_force), "card_id", "left")
        served.append(with_score(VERTICAL.model.with_features(that_day), trained))
    columns = ["event_id", *FEATURES, "model_score"]
    batch = trained_on.select(*columns).toPandas().sort_values("event_id", ignore_index=True)
    stream = served[0].unionByName(served[1]).select(*columns).toPandas().sort_values("event_id", ignore_index=True)
    assert len(batch) == 120
    pd.testing.assert_frame_equal(batch, stream, check_exact=False, rtol=0, atol=1e-12)


def test_the_protocol_judges_both_kinds_and_prints_them(world):
    measured = evaluate_protocol(VERTICAL, *world, Protocol(START + timedelta(days=14), k=5))
    assert measured["exact"]["average_precision"] > 0.8 and measured["served"]["average_precision"] > 0.8
    assert measured["protocol"] == {"train": "2026-01-01 to 2026-01-07", "test": "2026-01-15 to 2026-01-21", "delay_days": 7}
    text = describe_evaluation(measured)
    assert "exact windows" in text and "as served" in text and "of at most" in text


def test_labels_that_are_not_known_yet_train_nothing(world):
    events, labels = world
    later = labels.withColumn("known_time", F.expr("known_time + interval 60 days"))
    with pytest.raises(TrainingRefused, match="known only after their delay"):
        evaluate_protocol(VERTICAL, events, later, Protocol(START + timedelta(days=14)))


def test_an_event_labelled_twice_is_one_row(world):
    events, labels = world
    assert with_labels(VERTICAL, events, events, labels.union(labels)).count() == events.count()


def test_the_stability_index_tells_what_moved(spark):
    rng = np.random.default_rng(0)
    week = pd.DataFrame({"still": rng.normal(size=2000), "moved": rng.normal(size=2000), "constant": 1.0, "is_current": False})
    after = pd.DataFrame({"still": rng.normal(size=2000), "moved": rng.normal(1, size=2000), "constant": 1.0, "is_current": True})
    both = spark.createDataFrame(pd.concat([week, after]))
    rows = stability(both, ["still", "moved", "constant"]).toPandas().set_index("feature")
    assert rows.loc["still", "psi"] < 0.05 and rows.loc["still", "verdict"] == "stable"
    assert rows.loc["moved", "psi"] > 0.5 and rows.loc["moved", "verdict"] == "other population"
    assert rows.loc["constant", "psi"] == 0
    assert (rows["reference_rows"] == 2000).all() and (rows["current_rows"] == 2000).all()


def test_the_stability_index_is_the_formula_counted_by_hand(spark):
    values = [(float(number), False) for number in range(10)] + [(0.0, True)] * 5 + [(9.0, True)] * 5
    rows = stability(spark.createDataFrame(values, "x double, is_current boolean"), ["x"]).toPandas()
    # Ten bins of a tenth; now half in the first and half in the last. Empty bins count 1e-4.
    expected = 2 * (0.5 - 0.1) * np.log(5) + 8 * (1e-4 - 0.1) * np.log(1e-4 / 0.1)
    assert rows["psi"][0] == pytest.approx(expected, rel=1e-9)
