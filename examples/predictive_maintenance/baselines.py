"""What batch learns of machines for the running rules and the model: the healthy values of each."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from examples.predictive_maintenance.features import temperature_at_usual_load, vibration_at_usual_load

BASELINE_DAYS = 42

# Columns of a baseline beside its key and `as_of`, at a load of 0.6.
BASELINE = T.StructType(
    [
        T.StructField("readings", T.LongType()),
        T.StructField("vibration_healthy", T.DoubleType()),
        T.StructField("temperature_healthy", T.DoubleType()),
        T.StructField("pressure_healthy", T.DoubleType()),
    ]
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"machine"}: one row per machine and `as_of` day of `days`, from the whole days (UTC) before it.

    Healthy is what is usual in the better half of its readings: wear shows in the last third of a life, so that the median of six
    weeks, about one life, is hardly touched by it. Readings known by then to be the last before a failure are left out.
    """
    first_day = min(days) - timedelta(days=BASELINE_DAYS)
    # Each reading once for every day of `days`, then only those of the days before it.
    dated_readings = history.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    age_days = F.datediff(F.col("as_of"), F.to_date("event_time"))
    past_readings = dated_readings.where(
        (F.col("event_time") >= F.lit(first_day).cast("timestamp")) & age_days.between(1, BASELINE_DAYS)
    )
    failure_readings = labels.select(F.col("event_id").alias("reading_id"), "known_time").dropDuplicates(["reading_id"])
    is_before_failure = F.coalesce(F.col("known_time") <= F.col("as_of").cast("timestamp"), F.lit(False))
    healthy_readings = past_readings.join(failure_readings, "reading_id", "left").where(~is_before_failure)
    healthy_values = healthy_readings.groupBy("machine_id", "as_of").agg(
        F.count("*").alias("readings"),
        F.percentile(vibration_at_usual_load(), 0.4).alias("vibration_healthy"),
        F.percentile(temperature_at_usual_load(), 0.4).alias("temperature_healthy"),
        F.percentile(F.col("pressure_bar"), 0.6).alias("pressure_healthy"),
    )
    return {"machine": healthy_values}
