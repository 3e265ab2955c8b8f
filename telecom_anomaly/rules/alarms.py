"""Alarms with a life: raised, changed and cleared under one id (TM Forum TMF642, perceived severities of X.733).

An alarm is about an entity, a rule and an event-time window (or a silence: `silence`). Reports in trouble are gathered in a
set. Each stretch of minutes that ends with one of them has a score, the sum of their weights over a divisor; the alarm's score
is that of the worst stretch. It is cleared once the entity has reported for CLEAR_MINUTES since the last stretch that
reached the threshold. As all that depends on sets alone, neither order nor duplicates matter, and the last update equals what
batch computes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import shaped
from common.rules import Rule, threshold_names
from common.thresholds import threshold, with_thresholds
from telecom_anomaly.events import GRANULARITY_S

CLEAR_MINUTES = 60


class Alarm(NamedTuple):
    """A rule over reports in trouble.

    reports: the column with their set. minutes: how long a stretch of them is. divisor: what the sum of a stretch's weights is
    divided by, a number or the column that holds it; without one, by the reports that a stretch has when none is missing.
    """

    rule: Rule
    reports: str
    minutes: int
    divisor: float | str | None = None

    def score(self, weight: Column) -> Column:
        divisor = self.divisor or 60 * self.minutes / GRANULARITY_S
        return weight / (F.col(divisor) if isinstance(divisor, str) else F.lit(divisor))


def reports_in_trouble(weight: Column, least: float, *more: Column) -> Column:
    """Aggregate: the set of reports whose `weight` is at least `least`: structs of event_time, report_id, weight and `more`."""
    report = F.struct("event_time", "report_id", weight.cast("double").alias("weight"), *more)
    return F.collect_set(F.when(weight >= least, report))


def with_stretches(rows: DataFrame, alarms: Sequence[Alarm]) -> DataFrame:
    """Adds for each alarm <reports>_stretches, structs of score, ids and `end`, and the one of highest score, <reports>_worst.

    Columns of their own, so that Spark finds each stretch once and not once for every use.
    """
    found = rows.withColumns({f"{alarm.reports}_stretches": _stretches(alarm) for alarm in alarms})
    return found.withColumns({f"{alarm.reports}_worst": F.array_max(f"{alarm.reports}_stretches") for alarm in alarms})


def reports_of_worst(alarm: Alarm) -> Column:
    """The reports in trouble, as gathered, of the worst stretch."""
    return _of_stretch(alarm, F.col(f"{alarm.reports}_worst.end"))


def _stretches(alarm: Alarm) -> Column:
    def stretch(last: Column) -> Column:
        reports = _of_stretch(alarm, last.event_time)
        weight = F.aggregate(reports, F.lit(0.0), lambda sofar, report: sofar + report.weight)
        ids = F.sort_array(F.transform(reports, lambda report: report.report_id))
        # Rounded: a set has no order, and the order of a sum shows in its last digits.
        return F.struct(alarm.score(F.round(weight, 6)).alias("score"), ids.alias("ids"), last.event_time.alias("end"))
    return F.transform(alarm.reports, stretch)


def _of_stretch(alarm: Alarm, end: Column) -> Column:
    return F.filter(alarm.reports, lambda report: (report.event_time <= end)
                    & (F.unix_seconds(end) - F.unix_seconds(report.event_time) < 60 * alarm.minutes))


def raise_alarms(
    rows: DataFrame, rules: Sequence[tuple[Rule, Column | None]], settings: Any, *, entity: str, subject: Column
) -> DataFrame:
    """Alerts of `rules`, each with the column that tells whether its alarm is over (None: it does not clear)."""
    verdicts = F.array_compact(F.array(*[_verdict(rule, is_over, settings) for rule, is_over in rules]))
    hits = with_thresholds(rows, threshold_names(rule for rule, _ in rules), settings).withColumn("verdict", F.explode(verdicts))
    said = {name: F.col(f"verdict.{name}") for name in ("rule", "severity", "score", "threshold", "reason", "evidence")}
    return shaped(hits, vertical="telecom_anomaly", entity=entity, subject=subject, **said)


def trouble_is_over(alarm: Alarm) -> Column:
    """Whether the entity has reported for CLEAR_MINUTES since the end of the last stretch that reached the threshold.

    Not since the last report in trouble: one alone, hours later, does not bring back what is over.
    """
    reached = F.filter(f"{alarm.reports}_stretches", lambda stretch: stretch.score >= threshold(alarm.rule.threshold))
    last = F.array_max(F.transform(reached, lambda stretch: stretch.end))
    return F.unix_seconds("event_time") - F.unix_seconds(last) >= 60 * CLEAR_MINUTES


def _verdict(rule: Rule, is_over: Column | None, settings: Any) -> Column:
    """What a rule says; null where its score does not reach the threshold: words for what is no alarm are never made."""
    least = threshold(rule.threshold)
    score = rule.score(settings).cast("double")
    severity = F.when(score >= least * rule.critical_at, F.lit("critical")).otherwise(F.lit(rule.severity))
    if is_over is not None:
        severity = F.when(is_over, F.lit("cleared")).otherwise(severity)
    return F.when(score >= least, F.struct(
        F.lit(rule.name).alias("rule"), score.alias("score"), least.alias("threshold"),
        severity.alias("severity"), rule.reason(settings).alias("reason"), rule.evidence(settings).alias("evidence"),
    ))
