"""Alarm life cycle: raise, change and clear under one id (TM Forum TMF642, perceived severities of X.733).

An alert is a row that a rule raises; an alarm is all alerts of one id: it is raised, changes, and clears. An alarm is about an
entity, a rule and an event-time window (or a silence: `silence`). Reports in trouble are gathered in a set. Each stretch of
minutes that ends with one of them has a score, the sum of their weights over a divisor; the alarm's score is that of the worst
stretch. The alarm is cleared once the entity's newest report that is not planned work is CLEAR_MINUTES later than the last
stretch that reached the threshold. All that depends on sets alone: neither the order of reports nor duplicates matter, and the
last alert of a stream equals what batch computes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Rule, alert_rows, threshold, threshold_names, with_thresholds
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.settings import TelecomSettings

CLEAR_MINUTES = 60


@dataclass(frozen=True)
class AlarmColumns:
    """Names of the columns that an alarm has in its query's rows, one row per entity and window.

    gathered_reports: the set of reports in trouble (`gather_reports`). stretches: structs of score, ids and `end`.
    worst: the stretch with the highest score.
    summed_reports: those of the gathered reports whose weights are summed, where not all are; the query adds it.
    """

    gathered_reports: str
    stretches: str
    worst: str
    summed_reports: str = ""

    @property
    def reports(self) -> str:
        """The column of the reports whose weights are summed."""
        return self.summed_reports or self.gathered_reports


@dataclass(frozen=True)
class Alarm:
    """A rule over reports in trouble, in one declaration.

    name: of the rule, and of the setting that holds its threshold. scores: what the score is, in words, with its unit.
    weight() -> Column: how much trouble a report is in. From `counts_from` on the report is gathered; below, it adds nothing.
    stretch_minutes: length of the stretches whose weights are summed. divisor: of the sum, a number or the column that holds it;
    None: the number of reports that a stretch has when none is missing.
    details() -> further columns of a gathered report. reason(score) -> Column of text for people.
    severity: of an alarm below `critical_at` times the threshold; from there on it is critical.
    """

    name: str
    scores: str
    weight: Callable[[], Column]
    counts_from: float
    stretch_minutes: int
    reason: Callable[[Column], Column]
    columns: AlarmColumns
    divisor: float | str | None = None
    details: Callable[[], tuple[Column, ...]] = lambda: ()
    severity: str = "major"
    critical_at: float = 2.0

    @cached_property
    def rule(self) -> Rule:
        """The rule as the core takes it. It reads the worst stretch."""

        def score(settings: TelecomSettings) -> Column:
            return F.col(self.columns.worst).score

        score.__doc__ = self.scores
        return Rule(
            name=self.name,
            score=score,
            threshold=self.name,
            reason=lambda settings: self.reason(score(settings)),
            evidence=lambda settings: F.to_json(F.col(self.columns.worst).ids),
            severity=self.severity,
            critical_at=self.critical_at,
        )


def gather_reports(alarm: Alarm) -> Column:
    """Aggregate: the set of reports in trouble, structs of event_time, report_id, weight and the alarm's details."""
    weight = alarm.weight()
    report = F.struct("event_time", "report_id", weight.cast("double").alias("weight"), *alarm.details())
    return F.collect_set(F.when(weight >= alarm.counts_from, report)).alias(alarm.columns.gathered_reports)


def with_stretches(rows: DataFrame, alarms: Sequence[Alarm]) -> DataFrame:
    """Adds the columns `stretches` and `worst` of each alarm.

    Columns of their own, so that Spark computes each stretch once and not once for every use.
    """
    rows = rows.withColumns({alarm.columns.stretches: _stretches(alarm) for alarm in alarms})
    return rows.withColumns({alarm.columns.worst: F.array_max(alarm.columns.stretches) for alarm in alarms})


def reports_of_worst(alarm: Alarm) -> Column:
    """The reports in trouble, as gathered, of the worst stretch."""
    return _reports_of_stretch(alarm, F.col(alarm.columns.worst).end)


def trouble_is_over(alarm: Alarm) -> Column:
    """Whether the row's newest report is CLEAR_MINUTES or more later than the last stretch that reached the threshold.

    Later than that stretch, not than the last report in trouble: one alone, hours later, does not bring back what is over.
    """
    bad_stretches = F.filter(alarm.columns.stretches, lambda stretch: stretch.score >= threshold(alarm.rule.threshold))
    last_end = F.array_max(F.transform(bad_stretches, lambda stretch: stretch.end))
    return F.unix_seconds("event_time") - F.unix_seconds(last_end) >= 60 * CLEAR_MINUTES


def raise_alarms(
    rows: DataFrame, rules: Sequence[tuple[Rule, Column | None]], settings: TelecomSettings, *, entity: str, subject: Column
) -> DataFrame:
    """The alerts of `rules`. Beside each rule stands the column that tells whether its alarm is over; None: it never clears."""
    verdicts = F.array_compact(F.array(*[_verdict(rule, is_over, settings) for rule, is_over in rules]))
    hits = with_thresholds(rows, threshold_names(rule for rule, _ in rules), settings).withColumn("verdict", F.explode(verdicts))
    return alert_rows(hits, F.col("verdict"), vertical="telecom_anomaly", entity=entity, subject=subject)


def _stretches(alarm: Alarm) -> Column:
    """A stretch that ends with each report in trouble: its score, the ids of its reports, and its end."""

    def stretch(last_report: Column) -> Column:
        reports = _reports_of_stretch(alarm, last_report.event_time)
        weight = F.aggregate(reports, F.lit(0.0), lambda total, report: total + report.weight)
        ids = F.sort_array(F.transform(reports, lambda report: report.report_id))
        # Rounded: a set has no order, and the order of a sum shows in its last digits.
        score = F.round(weight, 6) / _divisor(alarm)
        return F.struct(score.alias("score"), ids.alias("ids"), last_report.event_time.alias("end"))

    return F.transform(alarm.columns.reports, stretch)


def _divisor(alarm: Alarm) -> Column:
    divisor = alarm.divisor or 60 * alarm.stretch_minutes / GRANULARITY_S
    return F.col(divisor) if isinstance(divisor, str) else F.lit(divisor)


def _reports_of_stretch(alarm: Alarm, end: Column) -> Column:
    return F.filter(
        alarm.columns.reports,
        lambda report: (
            (report.event_time <= end) & (F.unix_seconds(end) - F.unix_seconds(report.event_time) < 60 * alarm.stretch_minutes)
        ),
    )


def _verdict(rule: Rule, is_over: Column | None, settings: TelecomSettings) -> Column:
    """A rule's alert; null where its score does not reach the threshold: no text is put together for what is no alert."""
    least = threshold(rule.threshold)
    score = rule.score(settings).cast("double")
    severity = F.when(score >= least * rule.critical_at, F.lit("critical")).otherwise(F.lit(rule.severity))
    if is_over is not None:
        severity = F.when(is_over, F.lit("cleared")).otherwise(severity)
    return F.when(
        score >= least,
        F.struct(
            F.lit(rule.name).alias("rule"),
            score.alias("score"),
            least.alias("threshold"),
            severity.alias("severity"),
            rule.reason(settings).alias("reason"),
            rule.evidence(settings).alias("evidence"),
        ),
    )
