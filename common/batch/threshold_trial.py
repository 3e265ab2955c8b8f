"""Tries changed thresholds on past days beside the present ones: what each catches, and which alerts differ."""

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
    trial_days, first = newest_days(events, days), events.agg(F.min("event_day")).first()[0]  # type: ignore[index]
    if trial_days[0] <= first:
        raise NoHistory(f"the history is of {first} to {trial_days[-1]}: not {days} days, and some before them to learn from")
    trial_events = of_days(vertical, events, trial_days)
    old, new = (alerts.persist() for alerts in backtest(vertical, events, labels, trial_days, present, changed))
    compared = _compare(old, new, labels).withColumn("changes", F.lit(" ".join(f"{n}={v}" for n, v in changes.items())))
    path = workspace.table("backtest")
    tables.ensure_table(path, compared.schema, is_overwritten=True)
    tables.overwrite(compared, path)
    stored = tables.read(spark, path).groupBy("rule", "status").count().collect()
    before, after = (evaluate(vertical, trial_events, labels, alerts) for alerts in (old, new))
    return ThresholdTrial(days, before, after, {(row.rule, row.status): row["count"] for row in stored})


def _compare(old: DataFrame, new: DataFrame, labels: DataFrame) -> DataFrame:
    """One row per alert id: whether it is kept, added or removed, both scores and severities, and whether it is right."""
    sides = _side(old, "old").join(_side(new, "new"), "alert_id", "full")
    either = F.coalesce("new", "old")
    status = F.when(F.col("old").isNull(), "added").when(F.col("new").isNull(), "removed").otherwise("kept")
    labelled = labels.select("event_id").distinct()
    behind = old.unionByName(new).select("alert_id", F.explode(event_ids("event")).alias("event_id"))
    right = behind.join(labelled, "event_id").select("alert_id", F.lit(True).alias("is_right")).distinct()
    return sides.join(right, "alert_id", "left").select(
        "alert_id",
        *[either[name].alias(name) for name in ("rule", "entity_id", "event_time", "event")],
        status.alias("status"),
        F.coalesce("is_right", F.lit(False)).alias("is_right"),
        *[F.col(side)[name].alias(f"{side}_{name}") for side in ("old", "new") for name in ("score", "threshold", "severity")],
    )


def _side(alerts: DataFrame, name: str) -> DataFrame:
    fields = F.struct("rule", "entity_id", "event_time", "event", "score", "threshold", "severity")
    return alerts.select("alert_id", fields.alias(name))
