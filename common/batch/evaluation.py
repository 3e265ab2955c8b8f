"""Measures alerts against the labels that no detector saw: precision, recall, time to detect.

An alert is right when at least one of the events behind it is labelled. A case (one injected anomaly, with all its
events) is found when an alert names one of its events. Beside each scenario stands what a plain threshold on single
events could reach at best: the recall at precision 0.8 or more of the threshold that hindsight would choose.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from common.alerts import event_ids
from common.vertical import Scenario, Vertical

LEAST_RECALL, LEAST_PRECISION = 0.9, 0.8


@dataclass(frozen=True)
class RuleQuality:
    """The quality of one rule, or of several together: alerts, and how many of them were right; no precision without alerts."""

    rule: str
    alerts: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.alerts if self.alerts else None


@dataclass(frozen=True)
class ScenarioQuality:
    """How many cases there are, how many of them the rules meant for it found, which rule was first most often, and how soon.

    median_seconds: of event time, from a case's first event to its first alert.

    of_its_rules: the alerts of these rules, right when they name any labelled event. plain_recall: of the best plain threshold.
    """

    scenario: str
    cases: int
    found_cases: int
    first_rule: str
    median_seconds: float | None
    of_its_rules: RuleQuality
    plain_recall: float | None

    @property
    def recall(self) -> float | None:
        return self.found_cases / self.cases if self.cases else None


@dataclass(frozen=True)
class Evaluation:
    """rules and scenarios in the vertical's order; `overall` counts each alert once.

    false_alerts_per_entity_day: alerts that were not right, over the entities seen on each day.
    """

    rules: list[RuleQuality]
    scenarios: list[ScenarioQuality]
    overall: RuleQuality
    false_alerts_per_entity_day: float


def evaluate(vertical: Vertical, events: DataFrame, labels: DataFrame, alerts: DataFrame) -> Evaluation:
    """Compares alerts with the labels of `events`; labels of other events are left out of all counts."""
    ids = events.select(F.col(vertical.event_id).alias("event_id"))
    own_labels = labels.join(ids, "event_id", "left_semi").select("event_id", "scenario", "case_id", "event_time").persist()
    alert_events = named_events(alerts).persist()
    try:
        rules = _quality_by_rule(alert_events, own_labels)
        plain = _plain_recalls(vertical, events, own_labels)
        right = sum(rule.right for rule in rules.values())
        total = RuleQuality("all rules", sum(rule.alerts for rule in rules.values()), right)
        days = events.select(vertical.entity, F.to_date(vertical.event_time)).distinct().count()
        return Evaluation(
            [rules.get(rule.name, RuleQuality(rule.name, 0, 0)) for rule in vertical.rules],
            [
                _scenario_quality(scenario, _count_cases(own_labels, alert_events, scenario), rules, plain)
                for scenario in vertical.scenarios
            ],
            total,
            (total.alerts - total.right) / days if days else 0.0,
        )
    finally:
        alert_events.unpersist()
        own_labels.unpersist()


def shortfalls(evaluation: Evaluation, recall: float = LEAST_RECALL, precision: float = LEAST_PRECISION) -> list[str]:
    """A line for each scenario whose rules find fewer of its cases, or are right less often, than is asked; or that has none."""
    lines = []
    for quality in evaluation.scenarios:
        if (quality.recall or 0.0) < recall:
            lines.append(f"{quality.scenario}: {quality.found_cases} of {quality.cases} cases found, {recall:.0%} asked")
        if (quality.of_its_rules.precision or 0.0) < precision:
            rules = quality.of_its_rules
            ratio = f"{rules.right} of {rules.alerts} alerts of {rules.rule} right"
            lines.append(f"{quality.scenario}: {ratio}, {precision:.0%} asked")
    return lines


def named_events(alerts: DataFrame) -> DataFrame:
    """One row per alert and event behind it: alert_id, rule, event_id, alert_time (of its first appearance)."""
    time = "first_event_time" if "first_event_time" in alerts.columns else "event_time"
    return alerts.select("alert_id", "rule", F.explode(event_ids("event")).alias("event_id"), F.col(time).alias("alert_time"))


def _quality_by_rule(alert_events: DataFrame, labels: DataFrame) -> dict[str, RuleQuality]:
    is_right = F.col("scenario").isNotNull()
    with_scenario = alert_events.join(labels.select("event_id", "scenario"), "event_id", "left")
    rows = with_scenario.groupBy("rule").agg(
        F.countDistinct("alert_id").alias("alerts"), F.countDistinct(F.when(is_right, F.col("alert_id"))).alias("right")
    )
    return {row.rule: RuleQuality(row.rule, row.alerts, row.right) for row in rows.collect()}


def _count_cases(labels: DataFrame, alert_events: DataFrame, scenario: Scenario) -> Row:
    """cases, found_cases (by the scenario's own rules), first_rule (most often), seconds (median, from a case's start)."""
    cases = (
        labels.where(F.col("scenario") == scenario.name)
        .join(alert_events.where(F.col("rule").isin(list(scenario.rules))), "event_id", "left")
        .groupBy("case_id")
        .agg(
            F.min("event_time").alias("started_at"),
            F.min("alert_time").alias("alerted_at"),
            F.min_by("rule", "alert_time").alias("rule"),
        )
    )
    # Not `greatest` alone: it skips nulls, and a case that nothing found would count as found at once.
    seconds = F.greatest(F.lit(0.0), F.unix_millis("alerted_at") - F.unix_millis("started_at")) / 1000
    counts = cases.withColumn("seconds", F.when(F.col("rule").isNotNull(), seconds)).agg(
        F.count("*").alias("cases"),
        F.count("rule").alias("found_cases"),
        F.mode("rule").alias("first_rule"),
        F.median("seconds").alias("seconds"),
    )
    return counts.collect()[0]


def _scenario_quality(
    scenario: Scenario, counts: Row, rules: dict[str, RuleQuality], plain: dict[str, float | None]
) -> ScenarioQuality:
    qualities = [rules[name] for name in scenario.rules if name in rules]
    alerts, right = sum(quality.alerts for quality in qualities), sum(quality.right for quality in qualities)
    return ScenarioQuality(
        scenario.name,
        counts.cases,
        counts.found_cases,
        counts.first_rule or "",
        counts.seconds,
        RuleQuality(", ".join(scenario.rules), alerts, right),
        plain.get(scenario.name),
    )


def _plain_recalls(vertical: Vertical, events: DataFrame, labels: DataFrame) -> dict[str, float | None]:
    """Per scenario with cases, the recall of the best plain threshold."""
    scores = [scenario.plain().cast("double").alias(f"plain_{n}") for n, scenario in enumerate(vertical.scenarios)]
    if not scores:
        return {}
    raw = events.select(F.col(vertical.event_id).alias("event_id"), *scores)
    marks = labels.select("event_id", "scenario", "case_id").dropDuplicates(["event_id"])
    rows: pd.DataFrame = raw.join(marks, "event_id", "left").drop("event_id").toPandas()
    scenario, case = rows["scenario"].to_numpy(object), rows["case_id"].to_numpy(object)
    labelled = rows["scenario"].notna().to_numpy()
    recalls = {}
    for number, declared_scenario in enumerate(vertical.scenarios):
        own_case = np.where(scenario == declared_scenario.name, case, np.array(None, object))
        recall = best_plain_recall(rows[f"plain_{number}"].to_numpy(float), labelled, own_case)
        recalls[declared_scenario.name] = recall
    return recalls


def best_plain_recall(scores: np.ndarray, labelled: np.ndarray, case: np.ndarray) -> float | None:
    """The share of cases above the threshold that finds most of them with a precision of LEAST_PRECISION or more.

    scores, labelled and case (None for events of no case of this scenario) have one entry per event; an event without a
    score (NaN) is never above it. None when there are no cases, 0 when no threshold is precise enough.
    """
    case_ids = {case_id for case_id in case if case_id is not None}
    if not case_ids:
        return None
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isnan(scores[order])]
    precision = np.cumsum(labelled[order]) / np.arange(1, len(order) + 1)
    # A threshold takes all events of one score or none of them.
    is_last_of_score = np.append(np.diff(scores[order]) != 0, True) if len(order) else np.empty(0, bool)
    precise_ranks = np.flatnonzero((precision >= LEAST_PRECISION) & is_last_of_score)
    if not len(precise_ranks):
        return 0.0
    case_above = case[order[: precise_ranks[-1] + 1]]
    return len({case_id for case_id in case_above if case_id is not None}) / len(case_ids)
