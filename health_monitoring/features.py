"""Computes what the risk model reads of an observation: NEWS2 points, values, and their distance from the patient's own normal.

`with_features` is the one definition, for training and for serving: native columns over one event and its patient's baseline,
so that it runs in Spark's real-time mode. The model gives the probability that a deterioration is under way or begins within
HORIZON; whether one did is known two days after it, when somebody has charted what happened.
"""

from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from health_monitoring.rules.news2 import PARAMETERS, news2

HORIZON = timedelta(hours=6)

# Field, its name in baselines and features, and the least spread of a patient's own values.
BASELINE_VITALS = (
    ("heart_rate_bpm", "heart_rate", 4.0), ("respiratory_rate_per_min", "respiratory_rate", 1.0),
    ("spo2_percent", "spo2", 1.0), ("systolic_mmhg", "systolic", 5.0), ("temperature_c", "temperature", 0.2),
)  # fmt: skip
FEATURES = (
    "respiratory_rate_points", "spo2_points", "oxygen_points", "systolic_points", "pulse_points", "consciousness_points",
    "temperature_points", "news2_known",
    "heart_rate_deviations", "respiratory_rate_deviations", "spo2_deviations", "systolic_deviations", "temperature_deviations",
    "deviations_total", "shock_index",
)  # fmt: skip
MAX_DEVIATIONS = 8.0  # more than these count as these
WORSE = {"heart_rate": 1, "respiratory_rate": 1, "spo2": -1, "systolic": -1, "temperature": 1}  # the sign of a bad deviation


def with_features(rows: DataFrame) -> DataFrame:
    """Adds FEATURES, never null, to observations with the patient_ columns of their baseline, which may be null.

    A missing vital sign scores no points; a patient without a baseline, or a value that is missing, deviates by nothing.
    """
    scored_rows = rows.withColumn("score", news2())
    points = {f"{parameter}_points": _points_or_zero(F.col("score")[parameter]) for parameter in PARAMETERS}
    deviations = {f"{name}_deviations": _deviations(field, name, least_spread) for field, name, least_spread in BASELINE_VITALS}
    total = sum((F.greatest(F.lit(0.0), sign * deviations[f"{name}_deviations"]) for name, sign in WORSE.items()), F.lit(0.0))
    pulse, systolic = F.coalesce("heart_rate_bpm", F.lit(75.0)), F.coalesce("systolic_mmhg", F.lit(125.0))
    return scored_rows.withColumns(
        points
        | deviations
        | {
            "news2_known": F.col("score").known_total.cast("double"),
            "deviations_total": total,
            "shock_index": F.least(pulse / F.greatest(systolic, F.lit(30.0)), F.lit(4.0)),
        }
    ).drop("score")


def outcomes(events: DataFrame, labels: DataFrame) -> DataFrame:
    """event_id and label: 1 where a deterioration of the patient is under way or begins within HORIZON, else 0."""
    courses = (
        labels.where("scenario = 'deterioration'")
        .groupBy("entity_id", "case_id")
        .agg(F.min("event_time").alias("began"), F.max("event_time").alias("ended"))
    )
    horizon = F.make_dt_interval(hours=F.lit(HORIZON.seconds // 3_600))
    observations = events.select(F.col("observation_id").alias("event_id"), F.col("patient_id").alias("entity_id"), "event_time")
    is_in_course = (F.col("event_time") >= F.col("began") - horizon) & (F.col("event_time") <= F.col("ended"))
    positive_ids = (
        observations.join(F.broadcast(courses), "entity_id")
        .where(is_in_course)
        .select("event_id", F.lit(1).alias("label"))
        .distinct()
    )
    return observations.select("event_id").join(positive_ids, "event_id", "left").fillna(0, ["label"])


def _points_or_zero(points: Column) -> Column:
    return F.coalesce(points, F.lit(0)).cast("double")


def _deviations(field: str, name: str, least_spread: float) -> Column:
    """Standard deviations of the value from the patient's own mean; 0 where either is not known."""
    spread = F.greatest(F.col(f"patient_{name}_std"), F.lit(least_spread))
    deviations = (F.col(field) - F.col(f"patient_{name}_mean")) / spread
    # Filled first: greatest and least pass over nulls.
    return F.least(F.greatest(F.coalesce(deviations, F.lit(0.0)), F.lit(-MAX_DEVIATIONS)), F.lit(MAX_DEVIATIONS))
