"""Alarms with a life: raised, changed and cleared under one id (TM Forum TMF642, perceived severities of X.733).

An alarm is about an entity, a rule and an event-time window (or a silence: `silence`). Reports in trouble are gathered in a
set; the alarm's score is the worst stretch of them, and it is cleared once the entity has reported for CLEAR_MINUTES without
trouble. As all that depends on sets alone, neither order nor duplicates matter, and the last update equals what batch computes.
"""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import Rule, shaped
from common.thresholds import threshold, with_thresholds

CLEAR_MINUTES = 60


def in_trouble(weight: Column, least: float, *more: Column) -> Column:
    """Aggregate: the set of reports whose `weight` is at least `least`: structs of event_time, report_id, weight and `more`."""
    report = F.struct("event_time", "report_id", weight.cast("double").alias("weight"), *more)
    return F.collect_set(F.when(weight >= least, report))


def worst_stretch(reports: Column, minutes: int) -> Column:
    """Of the stretches of `minutes` that end with a report in trouble, the weightiest: a struct of weight, ids and size."""
    def stretch(last: Column) -> Column:
        return F.filter(reports, lambda other: (other.event_time <= last.event_time)
                        & (F.unix_seconds(last.event_time) - F.unix_seconds(other.event_time) < 60 * minutes))

    def summed(last: Column) -> Column:
        weight = F.aggregate(stretch(last), F.lit(0.0), lambda sofar, report: sofar + report.weight)
        # Rounded: a set has no order, and the order of a sum shows in its last digits.
        return F.struct(F.round(weight, 6).alias("weight"), _ids(stretch(last)).alias("ids"))
    return F.array_max(F.transform(reports, summed))


def _ids(reports: Column) -> Column:
    return F.sort_array(F.transform(reports, lambda report: report.report_id))


def raise_alarms(
    rows: DataFrame, rules: Sequence[tuple[Rule, Column | None]], settings: Any, *, entity: str, subject: Column
) -> DataFrame:
    """Alerts of `rules`, each with the column that tells whether its alarm is over (None: it does not clear)."""
    verdicts = F.array(*[_verdict(rule, is_over, settings) for rule, is_over in rules])
    judged = with_thresholds(rows, [rule for rule, _ in rules], settings)
    hits = judged.withColumn("verdict", F.explode(F.filter(verdicts, lambda verdict: verdict.score >= verdict.threshold)))
    said = {name: F.col(f"verdict.{name}") for name in ("rule", "severity", "score", "threshold", "reason", "evidence")}
    return shaped(hits, vertical="telecom_anomaly", entity=entity, subject=subject, **said)


def trouble_is_over(reports: str) -> Column:
    """Whether the entity has reported for CLEAR_MINUTES since the last of its set of `reports` in trouble."""
    last = F.array_max(F.transform(reports, lambda report: report.event_time))
    return F.unix_seconds("event_time") - F.unix_seconds(last) >= 60 * CLEAR_MINUTES


def _verdict(rule: Rule, is_over: Column | None, settings: Any) -> Column:
    least = threshold(rule.threshold)
    score = rule.score(settings).cast("double")
    severity = F.when(score >= least * rule.critical_at, F.lit("critical")).otherwise(F.lit(rule.severity))
    if is_over is not None:
        severity = F.when(is_over, F.lit("cleared")).otherwise(severity)
    return F.struct(
        F.lit(rule.name).alias("rule"), score.alias("score"), least.alias("threshold"),
        severity.alias("severity"), rule.reason(settings).alias("reason"), rule.evidence(settings).alias("evidence"),
    )
