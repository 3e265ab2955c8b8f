"""Defines what a rule is, and judges rows by rules: the rows that reach a rule's threshold become alerts.

A rule is a function to a Column: a score. Rows whose score reaches the rule's threshold become alerts. Rules over the
same rows are judged in one projection (an array of structs, filtered and exploded), so that the stream is read once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import alert_rows
from common.thresholds import threshold, with_thresholds

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True)
class Rule(Generic[SettingsT]):
    """A named score and the threshold that makes it an alert. `SettingsT` is the vertical's settings class."""

    name: str
    """As alerts, results and labels' scenarios name it."""

    score: Callable[[SettingsT], Column]
    """score(settings) gives a column of doubles; null means that the rule has nothing to say of this row."""

    threshold: str
    """The settings' field with the least score of an alert."""

    reason: Callable[[SettingsT], Column]
    """reason(settings) gives a text for people."""

    evidence: Callable[[SettingsT], Column]
    """evidence(settings) gives the id of the event behind the alert, or a JSON array of ids in a fixed order."""

    severity: str = "major"
    """Of an alert at the threshold: see `common.alerts.SEVERITIES`."""

    critical_at: float = 2.0
    """From so many times the threshold on an alert is critical."""

    live: bool = True
    """Whether the threshold can be changed while a stream runs; not where it also is a window's length or kept in state."""


def threshold_names(rules: Iterable[Rule[Any]]) -> list[str]:
    """The settings' fields that hold the rules' thresholds."""
    return [rule.threshold for rule in rules]


def judge(
    rows: DataFrame, rules: Sequence[Rule[Any]], settings: Any, *, vertical: str, entity: str, subject: Column
) -> DataFrame:
    """The alerts that `rules` raise on `rows`, in the shape of ALERT_SCHEMA.

    subject: what, beside the rule, an alert is about (the event's id, or its entity and window); the alert's id is
    a hash of both, so that a replay makes the same id.
    `rows` has event_time, ingest_time, and where it was joined with them baseline_version and model_version. ingest_time is
    that of the newest event behind a row: by it reconcile knows under which thresholds the row was judged last.
    """
    rows = with_thresholds(rows, threshold_names(rules), settings)
    verdicts = F.array(*[_verdict_struct(rule, settings) for rule in rules])
    any_hit = reduce(Column.__or__, [rule.score(settings) >= threshold(rule.threshold) for rule in rules])
    hits = rows.where(any_hit).withColumn(
        "verdict", F.explode(F.filter(verdicts, lambda verdict: verdict.score >= verdict.threshold))
    )
    return alert_rows(hits, F.col("verdict"), vertical=vertical, entity=entity, subject=subject)


def entity_and_window(entity: str) -> Column:
    """The subject of an alert over an entity's window: column `entity` and the window's start."""
    return F.concat_ws("|", F.col(entity), F.col("window.start").cast("string"))


def _verdict_struct(rule: Rule[Any], settings: Any) -> Column:
    """The struct that `alert_rows` takes: rule, score, threshold, severity, reason, evidence."""
    rule_threshold = threshold(rule.threshold)
    score = rule.score(settings).cast("double")
    severity = F.when(score >= rule_threshold * rule.critical_at, F.lit("critical")).otherwise(F.lit(rule.severity))
    return F.struct(
        F.lit(rule.name).alias("rule"),
        score.alias("score"),
        rule_threshold.alias("threshold"),
        severity.alias("severity"),
        rule.reason(settings).alias("reason"),
        rule.evidence(settings).alias("evidence"),
    )
