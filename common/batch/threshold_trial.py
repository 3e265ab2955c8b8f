"""Tries changed thresholds on past days beside the present ones: it counts what each finds, and lists the alerts that differ."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common import tables
from common.alerts import event_ids
from common.archive.history import NoHistory, newest_days, read_history
from common.batch.backtest import backtest, of_days
from common.batch.evaluation import Evaluation, evaluate
from common.deployment import Deployment
from common.published.live_thresholds import changed_settings, settings_in_force
from common.spark.session import use_pool

STATUSES = ("kept", "added", "removed")


@dataclass(frozen=True)
class ThresholdTrial:
    """Both sets of rules against the labels of `days` days; counts: alerts by (rule, status)."""

    days: int
    present: Evaluation
    changed: Evaluation
    counts: dict[tuple[str, str], int]


def try_thresholds(spark: SparkSession, deployment: Deployment, changes: Mapping[str, str], days: int) -> ThresholdTrial:
    """Judge the newest `days` days by the rules as they are now and as `changes` would make them; writes table `backtest`.

    Any setting may be changed here, also one that decides what a window is. Raises SettingsError or NoHistory.
    """
    use_pool(spark, "batch")
    vertical, workspace = deployment.vertical, deployment.workspace
    present, changed = settings_in_force(vertical, workspace.tables), changed_settings(vertical, workspace.tables, changes)
    events, labels, _ = read_history(spark, workspace)
    trial_days, first_day = newest_days(events, days), events.agg(F.min("event_day")).first()[0]  # type: ignore[index]
    if trial_days[0] <= first_day:
        raise NoHistory(f"the history is of {first_day} to {trial_days[-1]}: not {days} days, and some before them to learn from")
    trial_events = of_days(vertical, events, trial_days)
    old_alerts, new_alerts = (alerts.persist() for alerts in backtest(vertical, events, labels, trial_days, present, changed))
    changes_text = " ".join(f"{name}={value}" for name, value in changes.items())
    comparison = _compare(old_alerts, new_alerts, labels).withColumn("changes", F.lit(changes_text))
    path = workspace.table("backtest")
    tables.ensure_table(path, comparison.schema, is_overwritten=True)
    tables.overwrite(comparison, path)
    count_rows = tables.read(spark, path).groupBy("rule", "status").count().collect()
    old_quality, new_quality = (evaluate(vertical, trial_events, labels, alerts) for alerts in (old_alerts, new_alerts))
    return ThresholdTrial(days, old_quality, new_quality, {(row.rule, row.status): row["count"] for row in count_rows})


def _compare(old_alerts: DataFrame, new_alerts: DataFrame, labels: DataFrame) -> DataFrame:
    """One row per alert id: whether it is kept, added or removed, both scores and severities, and whether it is right."""
    sides = _side(old_alerts, "old").join(_side(new_alerts, "new"), "alert_id", "full")
    newer_side = F.coalesce("new", "old")
    status = F.when(F.col("old").isNull(), "added").when(F.col("new").isNull(), "removed").otherwise("kept")
    labelled_ids = labels.select("event_id").distinct()
    alert_events = old_alerts.unionByName(new_alerts).select("alert_id", F.explode(event_ids("event")).alias("event_id"))
    right_alerts = alert_events.join(labelled_ids, "event_id").select("alert_id", F.lit(True).alias("is_right")).distinct()
    return sides.join(right_alerts, "alert_id", "left").select(
        "alert_id",
        *[newer_side[name].alias(name) for name in ("rule", "entity_id", "event_time", "event")],
        status.alias("status"),
        F.coalesce("is_right", F.lit(False)).alias("is_right"),
        *[F.col(side)[name].alias(f"{side}_{name}") for side in ("old", "new") for name in ("score", "threshold", "severity")],
    )


def _side(alerts: DataFrame, name: str) -> DataFrame:
    fields = F.struct("rule", "entity_id", "event_time", "event", "score", "threshold", "severity")
    return alerts.select("alert_id", fields.alias(name))
