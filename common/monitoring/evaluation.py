"""What the alerts were worth, by the labels that no detector saw.

An alert is right when at least one of the events behind it is labelled; a labelled event is found when an alert names
it. Only events that came through Kafka count: history that was backfilled was never judged live.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common.alerts import event_ids
from common.processing.batch import history
from common.vertical import Vertical
from common.workspace import Workspace


@dataclass(frozen=True)
class ByRule:
    """alerts, and how many of them were right; precision is None without alerts."""

    rule: str
    alerts: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.alerts if self.alerts else None


@dataclass(frozen=True)
class ByScenario:
    """Labelled events, how many were found, by which rule most, and the median event time until the alert that found one."""

    scenario: str
    events: int
    found: int
    by: str
    median_seconds: float | None

    @property
    def recall(self) -> float | None:
        return self.found / self.events if self.events else None


@dataclass(frozen=True)
class Evaluation:
    """rules and scenarios in the vertical's order; `overall` counts each alert and each labelled event once."""

    rules: list[ByRule]
    scenarios: list[ByScenario]
    overall: ByRule


def evaluate(spark: SparkSession, vertical: Vertical, workspace: Workspace) -> Evaluation:
    """Stored alerts against the labels of the events that came through Kafka."""
    events, labels, alerts = history(spark, workspace)
    came = events.where("kafka_partition >= 0").select(F.col(vertical.event_id).alias("event_id"))
    named = named_events(alerts)
    judged = named.join(
        labels.join(came, "event_id", "left_semi").withColumnRenamed("event_time", "labelled_time"), "event_id", "left"
    )
    rules = {row.rule: ByRule(row.rule, row.alerts, row.right) for row in _by_rule(judged).collect()}
    total = judged.agg(
        F.countDistinct("alert_id"), F.countDistinct(F.when(F.col("scenario").isNotNull(), F.col("alert_id")))
    ).first()
    assert total is not None
    scenarios = _by_scenario(labels.join(came, "event_id", "left_semi"), named)
    return Evaluation(
        [rules.get(rule.name, ByRule(rule.name, 0, 0)) for rule in vertical.rules],
        [scenarios.get(name, ByScenario(name, 0, 0, "", None)) for name in vertical.scenarios],
        ByRule("all rules", total[0], total[1]),
    )


def named_events(alerts: DataFrame) -> DataFrame:
    """One row per alert and event behind it: alert_id, rule, event_id, alert_time (of its first appearance)."""
    return alerts.select(
        "alert_id", "rule", F.explode(event_ids("event")).alias("event_id"), F.col("first_event_time").alias("alert_time")
    )


def _by_rule(judged: DataFrame) -> DataFrame:
    return judged.groupBy("rule").agg(
        F.countDistinct("alert_id").alias("alerts"),
        F.countDistinct(F.when(F.col("scenario").isNotNull(), F.col("alert_id"))).alias("right"),
    )


def _by_scenario(labels: DataFrame, named: DataFrame) -> dict[str, ByScenario]:
    first = named.groupBy("event_id").agg(F.min_by("rule", "alert_time").alias("rule"), F.min("alert_time").alias("alert_time"))
    # Not `greatest` alone: it skips nulls, and an event that nothing found would count as found at once.
    seconds = F.greatest(F.lit(0.0), F.unix_millis("alert_time") - F.unix_millis("event_time")) / 1000
    found = labels.join(first, "event_id", "left").withColumn("seconds", F.when(F.col("rule").isNotNull(), seconds))
    rows = found.groupBy("scenario").agg(
        F.count("*").alias("events"),
        F.count("rule").alias("found"),
        F.mode("rule").alias("by"),
        F.median("seconds").alias("seconds"),
    )
    return {row.scenario: ByScenario(row.scenario, row.events, row.found, row.by or "", row.seconds) for row in rows.collect()}
