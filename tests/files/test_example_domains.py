"""The rules of the domains among the examples: what each catches, and what it leaves alone."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import functions as F

from common.settings import load
from examples.predictive_maintenance import VERTICAL as MACHINES
from examples.predictive_maintenance.detector import per_event
from examples.predictive_maintenance.remaining_life import MAX_SIMULATED_CYCLES, evaluate, phm_score, simulated_lives
from examples.social_trends import VERTICAL as TRENDS
from examples.social_trends.detector import by_term, by_text
from examples.social_trends.sentiment import lexicon, sentiment, sentiment_of

pytestmark = pytest.mark.files

NOON = datetime(2020, 3, 2, 12)
SEASON = {"days": 28, "by_hour": [4.0] * 24, "by_weekday": [1.0] * 7, "negative_share": 0.1, "baseline_version": "b1"}
POST = (
    "post_id string, term string, author_id string, followers long, text string, event_time timestamp, ingest_time timestamp, "
    "days long, by_hour array<double>, by_weekday array<double>, negative_share double, baseline_version string"
)
READING = {
    "reading_id": "r1", "machine_id": "m", "run_hours": 700.0, "load": 0.6, "vibration_mm_s": 2.0, "temperature_c": 50.0,
    "pressure_bar": 7.0, "event_time": NOON, "ingest_time": NOON, "readings": 300, "vibration_healthy": 2.0,
    "temperature_healthy": 50.0, "pressure_healthy": 7.0, "model_score": 0.01, "model_version": "m1", "baseline_version": "b1",
}  # fmt: skip


def posts(spark, number, text="so it is, number {}", **fields):
    """So many posts within ten minutes of one window's last half, and no other's."""
    rows = [
        {"post_id": f"p{n:03d}", "term": "t", "author_id": f"a{n}", "followers": 1, "text": text.format(n),
         "event_time": NOON + timedelta(minutes=1, seconds=n), "ingest_time": NOON + timedelta(minutes=1, seconds=n)}
        | SEASON | fields
        for n in range(number)
    ]  # fmt: skip
    return spark.createDataFrame(rows, POST)


def highest(alerts):
    return {row.rule: round(row.best, 6) for row in alerts.groupBy("rule").agg(F.max("score").alias("best")).collect()}


def test_a_term_bursts_against_its_own_season(spark):
    settings = load(TRENDS.settings)
    assert highest(by_term(posts(spark, 19), settings)) == {}
    assert highest(by_term(posts(spark, 20), settings)) == {"burst": 8.0}, "16 more than the 4 that are usual, whose root is 2"
    usual = {"by_hour": [20.0] * 24}
    assert highest(by_term(posts(spark, 20, **usual), settings)) == {}, "another term has as many every day"
    assert highest(by_term(posts(spark, 20, by_weekday=[5.0] * 7), settings)) == {}, "or on such a day"
    assert highest(by_term(posts(spark, 400, days=3), settings)) == {}, "a new term has no season"


def test_anger_is_more_negative_posts_than_a_term_has(spark):
    settings = load(TRENDS.settings)
    angry = posts(spark, 8, "what a disaster and a scandal, number {}")
    assert highest(by_term(angry, settings)) == {"outrage": 7.6}, "8 where 0.4 are usual"
    assert highest(by_term(posts(spark, 8, "wonderful, great, number {}"), settings)) == {}
    assert highest(by_term(posts(spark, 8, "what a disaster and a scandal, number {}", negative_share=0.9), settings)) == {}


def test_a_text_that_many_post_is_copied_and_one_that_one_posts_often_is_not(spark):
    settings, slogan = load(TRENDS.settings), "vote for it now, you will thank us"
    assert highest(by_text(posts(spark, 8, slogan), settings)) == {"copied_text": 8.0}
    assert highest(by_text(posts(spark, 7, slogan), settings)) == {}
    assert highest(by_text(posts(spark, 30, slogan, author_id="one"), settings)) == {}
    assert highest(by_text(posts(spark, 30, "yes"), settings)) == {}, "short texts are alike by chance"


def test_a_post_that_was_sent_twice_counts_once(spark):
    twice = posts(spark, 19).union(posts(spark, 19))
    assert highest(by_term(twice, load(TRENDS.settings))) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I love it", 3.2 / np.hypot(3.2, 15**0.5)),
        ("NOT good.", -0.74 * 1.9 / np.hypot(0.74 * 1.9, 15**0.5)),
        ("awful, awful disaster!", -7.1 / np.hypot(7.1, 15**0.5)),
        ("on my way home", 0.0),
        ("", 0.0),
        ("日本 $$ \x00", 0.0),
        ("don't hate", 0.74 * 2.7 / np.hypot(0.74 * 2.7, 15**0.5)),
    ],
)
def test_a_text_feels_as_its_words_do(spark, text, expected):
    [row] = spark.createDataFrame([(text,)], "text string").select(sentiment(F.col("text")).alias("s")).collect()
    assert row.s == pytest.approx(expected, abs=1e-9) == sentiment_of(text)


def test_the_lexicon_is_on_its_scale():
    assert len(lexicon()) == 154 and all(1 <= abs(valence) <= 4 for valence in lexicon().values())


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({}, set()),
        ({"model_score": 0.5}, {"work_order"}),
        ({"vibration_mm_s": 3.81}, {"worn"}),
        ({"vibration_mm_s": 3.79}, set()),
        ({"vibration_mm_s": 3.81, "load": 1.2}, set()),  # it vibrates as it does at such a load
        ({"temperature_c": 64.1}, {"worn"}),
        ({"temperature_c": 64.1, "load": 1.2}, set()),
        ({"pressure_bar": 6.15}, {"worn"}),
        ({"pressure_bar": None}, set()),
        ({"vibration_mm_s": 7.2, "vibration_healthy": 7.0}, {"vibration"}),
        ({"vibration_mm_s": 6.9, "readings": 10}, set()),  # nobody knows yet what is healthy for it
    ],
)
def test_a_machine_is_worn_by_its_own_healthy_values(spark, fields, rules):
    kinds = {"reading_id": "string", "machine_id": "string", "event_time": "timestamp", "ingest_time": "timestamp",
             "readings": "long", "model_version": "string", "baseline_version": "string"}  # fmt: skip
    schema = ", ".join(f"{name} {kinds.get(name, 'double')}" for name in READING)
    rows = spark.createDataFrame([tuple((READING | fields).values())], schema)
    assert {alert.rule for alert in per_event(rows, load(MACHINES.settings)).collect()} == rules


def test_the_score_of_the_challenge_is_harder_on_what_comes_too_late():
    assert phm_score(np.array([50.0]), np.array([50.0])) == 0
    assert phm_score(np.array([60.0, 37.0]), np.array([50.0, 50.0])) == pytest.approx(2 * (np.e - 1))
    assert phm_score(np.array([60.0]), np.array([50.0])) > phm_score(np.array([40.0]), np.array([50.0]))


def test_remaining_life_is_known_better_than_by_the_mean_alone():
    evaluation = evaluate(*simulated_lives(seed=3, machines=40), MAX_SIMULATED_CYCLES)
    assert evaluation.units > 30 and evaluation.rmse < 0.7 * evaluation.plain_rmse
    assert evaluation.score < phm_score(np.full(evaluation.units, 60.0), np.zeros(evaluation.units))
