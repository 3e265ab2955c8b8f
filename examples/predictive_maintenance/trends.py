"""What batch learns of machines (their healthy values), and what it reports to people (trends)."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.monitoring.plots import Bars, Chart, DailyLines, draw_all
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

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("failures", DailyLines("Readings of the five days before a failure, by part", "scenario", "readings", "readings a day")),
    ("most_worn", Bars("Machines that have run longest", "machine_id", "run_hours", "hours since the overhaul")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"machine"}: one row per machine and `as_of` day of `days`, from the whole days (UTC) before it.

    Healthy is what is usual in the better half of its readings: wear shows in the last third of a life, so that the median of six
    weeks, about one life, is hardly touched by it. Readings known by then to be the last before a failure are left out.
    """
    first = min(days) - timedelta(days=BASELINE_DAYS)
    asked = history.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    age = F.datediff(F.col("as_of"), F.to_date("event_time"))
    past = asked.where((F.col("event_time") >= F.lit(first).cast("timestamp")) & age.between(1, BASELINE_DAYS))
    known = labels.select(F.col("event_id").alias("reading_id"), "known_time").dropDuplicates(["reading_id"])
    is_known = F.coalesce(F.col("known_time") <= F.col("as_of").cast("timestamp"), F.lit(False))
    ordinary = past.join(known, "reading_id", "left").where(~is_known)
    learnt = ordinary.groupBy("machine_id", "as_of").agg(
        F.count("*").alias("readings"),
        F.percentile(vibration_at_usual_load(), 0.4).alias("vibration_healthy"),
        F.percentile(temperature_at_usual_load(), 0.4).alias("temperature_healthy"),
        F.percentile(F.col("pressure_bar"), 0.6).alias("pressure_healthy"),
    )
    return {"machine": learnt}


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: Any = None) -> dict[str, DataFrame]:
    """Readings before failures by day and part; how long each machine has run; alerts by day and rule."""
    day = F.to_date("event_time").alias("day")
    return {
        "failures": labels.groupBy(day, "scenario").agg(F.count("*").alias("readings")),
        "most_worn": history.groupBy("machine_id").agg(F.max_by("run_hours", "event_time").alias("run_hours")),
        "alerts_by_rule": alerts.groupBy(day, "rule").agg(F.count("*").alias("alerts")),
    }


def plots(tables: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Draw the trends that have rows as PNG into `folder`; returns the files."""
    return draw_all(tables, CHARTS, folder)
