"""What batch reports to people: readings before failures, machines that have run longest, alerts by rule."""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.authoring import Bars, Chart, DailyLines

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("failures", DailyLines("Readings of the five days before a failure, by part", "scenario", "readings", "readings a day")),
    ("most_worn", Bars("Machines that have run longest", "machine_id", "run_hours", "hours since the overhaul")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
)


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: Any = None) -> dict[str, DataFrame]:
    """Readings before failures by day and part; how long each machine has run; alerts by day and rule."""
    day = F.to_date("event_time").alias("day")
    return {
        "failures": labels.groupBy(day, "scenario").agg(F.count("*").alias("readings")),
        "most_worn": history.groupBy("machine_id").agg(F.max_by("run_hours", "event_time").alias("run_hours")),
        "alerts_by_rule": alerts.groupBy(day, "rule").agg(F.count("*").alias("alerts")),
    }
