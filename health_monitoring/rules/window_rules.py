"""Declares rules over a patient's window of observations, computes their findings, and makes alerts of these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Rule, let, threshold, threshold_names, with_thresholds
from health_monitoring.rules.patterns import believable_observations, millis
from health_monitoring.settings import HealthSettings

FIXED_SEVERITY = float("inf")  # critical_at of a rule whose severity does not grow with its score


@dataclass(frozen=True)
class PatientWindow:
    """The observations of one patient within an event-time window, as columns in order of time.

    start: of the window; since: the start of its second half, from which on a pattern counts; both in ms.
    observations: all (`observations.with_observation`). believable: those since `since` whose values can be believed.
    """

    start: Column
    since: Column
    observations: Column
    believable: Column
    settings: HealthSettings


@dataclass(frozen=True)
class WindowRule:
    """A rule over a patient's window, in one declaration.

    name: of the rule, and of the column that holds what it finds. scores: what the score is, in words, with its unit.
    threshold: the setting that holds it.
    find(window, min_score) -> Column, min_score being the threshold: a struct as in `patterns`, null where nothing is found.
    reason(finding) -> Column of text for people, from that struct.
    """

    name: str
    scores: str
    threshold: str
    severity: str
    find: Callable[[PatientWindow, Column], Column]
    reason: Callable[[Column], Column]

    @cached_property
    def rule(self) -> Rule:
        """The rule as the core takes it."""

        def score(settings: HealthSettings) -> Column:
            return F.col(self.name).score

        score.__doc__ = self.scores
        return Rule(
            self.name,
            score,
            self.threshold,
            reason=lambda settings: self.reason(F.col(self.name)),
            evidence=lambda settings: F.to_json(F.col(self.name).evidence),
            severity=self.severity,
            critical_at=FIXED_SEVERITY,
        )


def with_findings(windows: DataFrame, window_rules: Sequence[WindowRule], settings: HealthSettings) -> DataFrame:
    """Windows whose second half has begun, with a column for each rule's finding, in the rule's name.

    windows: window, observations (in order of time), and what else is to be kept.
    """
    start = F.unix_millis("window.start")
    since = start + settings.cooldown_hours * 3_600_000
    observations = F.col("observations")

    def all_findings(believable: Column) -> Column:
        window = PatientWindow(start, since, observations, believable, settings)
        return F.struct(
            *[window_rule.find(window, threshold(window_rule.threshold)).alias(window_rule.name) for window_rule in window_rules]
        )

    # Of the two windows that an observation is in, it is in the second half of one only; the other one's findings are unchanged.
    is_due = millis(F.element_at(observations, -1)) >= since
    columns = F.when(is_due, F.array(let(believable_observations(observations, since, settings), all_findings)))
    # A generator, as a projection would be merged with what reads it and computed anew for every field that is read.
    thresholds = threshold_names(window_rule.rule for window_rule in window_rules)
    return with_thresholds(windows, thresholds, settings).select("*", F.inline(columns))


def alert_of(window_rule: WindowRule, settings: HealthSettings) -> Column:
    """A finding as an alert's fields with `reached_time`; null where its score does not reach the threshold."""
    min_score, rule = threshold(window_rule.threshold), window_rule.rule
    return F.when(
        rule.score(settings) >= min_score,
        F.struct(
            F.lit(rule.name).alias("rule"),
            rule.score(settings).alias("score"),
            min_score.alias("threshold"),
            F.lit(rule.severity).alias("severity"),
            rule.reason(settings).alias("reason"),
            rule.evidence(settings).alias("evidence"),
            F.col(window_rule.name).reached_time.alias("reached_time"),
        ),
    )
