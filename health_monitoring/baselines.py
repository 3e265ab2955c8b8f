"""Learns each patient's own normal vital signs, for the running rules and the model.

A baseline of a day is what was known when that day began: the patient's own values of the three whole days (UTC) before.
"""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from health_monitoring.features import BASELINE_VITALS

BASELINE_DAYS = 3

# Columns of a baseline beside its key and `as_of`.
PATIENT_BASELINE = T.StructType([
    T.StructField("patient_observations", T.LongType()),
    *(T.StructField(name, T.DoubleType()) for name in (
        "patient_heart_rate_mean", "patient_heart_rate_std", "patient_respiratory_rate_mean", "patient_respiratory_rate_std",
        "patient_spo2_mean", "patient_spo2_std", "patient_systolic_mean", "patient_systolic_std",
        "patient_temperature_mean", "patient_temperature_std")),
])  # fmt: skip


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"patient"}: a row for each patient observed within BASELINE_DAYS before `as_of` day of `days`; labels are not read."""
    recent_events = events_between(history, min(days) - timedelta(days=BASELINE_DAYS), max(days))
    sums = [
        column.alias(f"{name}_{total}")
        for field, name, _ in BASELINE_VITALS
        for total, column in (("count", F.count(field)), ("sum", F.sum(field)), ("squares", F.sum(F.col(field) ** 2)))
    ]
    event_day = F.to_date("event_time").alias("event_day")
    daily_sums = recent_events.groupBy("patient_id", event_day).agg(F.count("*").alias("observations"), *sums)
    # Rows of daily, repeated for each day of `days`.
    dated_sums = daily_sums.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    window_sums = dated_sums.where(F.datediff("as_of", "event_day").between(1, BASELINE_DAYS))
    totals = window_sums.groupBy("patient_id", "as_of").agg(
        F.sum("observations").alias("patient_observations"),
        *[
            F.sum(f"{name}_{total}").alias(f"{name}_{total}")
            for _, name, _ in BASELINE_VITALS
            for total in ("count", "sum", "squares")
        ],
    )
    columns = [column for _, name, _ in BASELINE_VITALS for column in _mean_and_std(name)]
    return {"patient": totals.select("patient_id", "as_of", "patient_observations", *columns)}


def events_between(history: DataFrame, first_day: date, end: date) -> DataFrame:
    """The events from the start of the day `first_day` to the start of the day `end` (UTC)."""
    start, stop = F.lit(first_day).cast("timestamp"), F.lit(end).cast("timestamp")
    return history.where((F.col("event_time") >= start) & (F.col("event_time") < stop))


def _mean_and_std(name: str) -> tuple[Column, Column]:
    """Mean and standard deviation (of the population) from count, sum and squares."""
    mean = F.try_divide(F.col(f"{name}_sum"), F.col(f"{name}_count"))
    variance = F.try_divide(F.col(f"{name}_squares"), F.col(f"{name}_count")) - mean**2
    std = F.when(variance.isNotNull(), F.sqrt(F.greatest(variance, F.lit(0.0))))
    return mean.alias(f"patient_{name}_mean"), std.alias(f"patient_{name}_std")
