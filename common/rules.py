"""Rules, and how they become alerts.

A rule is a function to a Column: a score. Rows whose score reaches the rule's threshold become alerts. Rules over the
same rows are judged in one projection (an array of structs, filtered and exploded), so that the stream is read once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import shaped
from common.thresholds import threshold, with_thresholds


@dataclass(frozen=True)
class Rule:
    """A named score and the threshold that makes it an alert.

    score(settings) -> Column of doubles; null means the rule has nothing to say of this row.
    threshold: the settings' field that holds it. reason(settings) -> Column of text for people. evidence(settings) -> Column of
    text: the id of the event behind it, or a JSON array of ids.
    severity: of an alert at the threshold; at `critical_at` times the threshold it is critical.
    live: whether the threshold can be changed while a stream runs; not where it also is a window's length or kept in state.
    """

    name: str
    score: Callable[[Any], Column]
    threshold: str
    reason: Callable[[Any], Column]
    evidence: Callable[[Any], Column]
    severity: str = "major"
    critical_at: float = 2.0
    live: bool = True


def threshold_names(rules: Iterable[Rule]) -> list[str]:
    """The settings' fields that hold the rules' thresholds."""
    return [rule.threshold for rule in rules]


def judge(
    rows: DataFrame, rules: Sequence[Rule], settings: Any, *, vertical: str, entity: str, subject: Column
) -> DataFrame:
    """The alerts that `rules` raise on `rows`, in the shape of ALERT_SCHEMA.

    subject: what, beside the rule, an alert is about (the event's id, or its entity and window); the alert's id is
    a hash of both, so that a replay makes the same id.
    `rows` has event_time, ingest_time, and where it was joined with them baseline_version and model_version. ingest_time is
    that of the newest event behind a row: by it reconcile knows under which thresholds the row was judged last.
    """
    rows = with_thresholds(rows, threshold_names(rules), settings)
    verdicts = F.array(*[_verdict(rule, settings) for rule in rules])
    any_hit = reduce(Column.__or__, [rule.score(settings) >= threshold(rule.threshold) for rule in rules])
    hits = (
        rows.where(any_hit)
        .withColumn("verdict", F.explode(F.filter(verdicts, lambda verdict: verdict.score >= verdict.threshold)))
    )
    columns = {name: F.col(f"verdict.{name}") for name in ("rule", "severity", "score", "threshold", "reason", "evidence")}
    return shaped(hits, vertical=vertical, entity=entity, subject=subject, **columns)


def _verdict(rule: Rule, settings: Any) -> Column:
    least = threshold(rule.threshold)
    score = rule.score(settings).cast("double")
    severity = F.when(score >= least * rule.critical_at, F.lit("critical")).otherwise(F.lit(rule.severity))
    return F.struct(
        F.lit(rule.name).alias("rule"),
        score.alias("score"),
        least.alias("threshold"),
        severity.alias("severity"),
        rule.reason(settings).alias("reason"),
        rule.evidence(settings).alias("evidence"),
    )
