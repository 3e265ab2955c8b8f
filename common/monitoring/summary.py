"""Makes tables (rich) and lines of results, for people."""

from collections.abc import Iterator, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from rich.table import Table

from common import tables
from common.batch.batch import BatchReport
from common.batch.evaluation import Evaluation
from common.batch.model_comparison import ModelComparison
from common.batch.threshold_trial import STATUSES as CHANGES
from common.batch.threshold_trial import ThresholdTrial
from common.monitoring.alert_watch import Percentiles
from common.monitoring.plain_table import plain_table
from common.reconciliation.reconcile import STATUSES, Reconciliation
from common.vertical import Vertical
from common.workspace import Workspace

MIN_ALERTS, MIN_CASES, MIN_UPDATES = 20, 5, 1_000  # below which a share, or a percentile, is chance
MAX_ROWS = 8  # of a table


def format_share(value: float | None) -> str:
    """A share of 1 in percent."""
    return "-" if value is None else f"{value:.1%}"


def format_duration(seconds: float | None) -> str:
    """Seconds, minutes, hours or days, whichever reads best."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table]:
    """What each rule raised, and what was found of each scenario."""
    rules = plain_table("What each rule raised", "rule", "alerts", "right", "precision")
    for row in (*evaluation.rules, evaluation.overall):
        rules.add_row(row.rule, f"{row.alerts:,}", f"{row.right:,}", format_share(row.precision))
    uncertain = [row.rule for row in evaluation.rules if 0 < row.alerts < MIN_ALERTS]
    rules.caption = f"false alerts a 1,000 entity-days: {1_000 * evaluation.false_alerts_per_entity_day:.3g}" + _too_few_remark(
        uncertain, f"of fewer than {MIN_ALERTS} alerts a precision says little"
    )
    yield rules
    scenarios = plain_table(
        "What was found of each injected scenario (plain: recall of the best plain threshold at precision 80% or more)",
        *("scenario", "cases", "found", "recall", "precision", "plain", "time to detect", "first found by"),
    )
    for quality in evaluation.scenarios:
        scenarios.add_row(
            quality.scenario,
            f"{quality.cases:,}",
            f"{quality.found_cases:,}",
            format_share(quality.recall),
            format_share(quality.of_its_rules.precision),
            format_share(quality.plain_recall),
            format_duration(quality.median_seconds),
            quality.first_rule or "-",
        )
    uncertain = [quality.scenario for quality in evaluation.scenarios if 0 < quality.cases < MIN_CASES]
    remark = _too_few_remark(uncertain, f"of fewer than {MIN_CASES} cases a recall says little, a longer run has more")
    scenarios.caption = remark.lstrip("; ")
    yield scenarios


def _too_few_remark(names: Sequence[str], reason: str) -> str:
    """Says whose results are too few to judge by; "" where there are none."""
    return f"; {reason}: {', '.join(names)}" if names else ""


def threshold_trial_tables(result: ThresholdTrial) -> Iterator[Table]:
    """Present and changed rules side by side."""
    columns = ("alerts a day", "precision")
    rules = plain_table(
        f"{result.days} days of history, judged by the present rules and by the changed ones",
        *("rule", *(f"{column}: {side}" for column in columns for side in ("present", "changed")), *CHANGES),
    )
    present, changed = result.present, result.changed
    for pair in zip((*present.rules, present.overall), (*changed.rules, changed.overall), strict=True):
        rule_name, is_total = pair[0].rule, pair[0] is present.overall
        counts = [sum(count for (rule, change), count in result.counts.items()
                      if change == status and (is_total or rule == rule_name)) for status in CHANGES]  # fmt: skip
        per_day = [f"{quality.alerts / result.days:,.1f}" for quality in pair]
        precisions = [format_share(quality.precision) for quality in pair]
        rules.add_row(rule_name, *per_day, *precisions, *(f"{count:,}" for count in counts))
    yield rules
    scenarios = plain_table(
        "What was found of each injected scenario, by the rules meant for it",
        *("scenario", "cases", *(f"{column}: {side}" for column in ("recall", "precision") for side in ("present", "changed"))),
    )
    for sides in zip(present.scenarios, changed.scenarios, strict=True):
        recalls = [format_share(quality.recall) for quality in sides]
        precisions = [format_share(quality.of_its_rules.precision) for quality in sides]
        scenarios.add_row(sides[0].scenario, f"{sides[0].cases:,}", *recalls, *precisions)
    yield scenarios


def quality_tables(evaluations: dict[str, Evaluation]) -> Iterator[Table]:
    """The live quality of several verticals, a table for each: a row per scenario, and one of all its alerts."""
    for name, evaluation in evaluations.items():
        table = plain_table(
            f"Live quality of {name}: alerts against labels",
            *("scenario", "rules", "cases", "recall", "precision", "time to detect"),
        )
        for quality in evaluation.scenarios:
            rule_quality = quality.of_its_rules
            recall, precision = format_share(quality.recall), format_share(rule_quality.precision)
            delay = format_duration(quality.median_seconds)
            table.add_row(quality.scenario, rule_quality.rule, f"{quality.cases:,}", recall, precision, delay)
        table.add_row("all", "all rules", "", "", format_share(evaluation.overall.precision), "")
        table.caption = f"false alerts a 1,000 entity-days: {1_000 * evaluation.false_alerts_per_entity_day:.3g}"
        yield table


def reconciled_line(result: Reconciliation) -> str:
    """How many alerts have each status, all rules together."""
    counts = {name: sum(count for (_, status), count in result.counts.items() if status == name) for name in STATUSES}
    return "stream against history: " + ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in counts.items())


def latency_table(latencies: dict[str, Percentiles], remark: str = "") -> Table:
    """Latencies by name. remark: for the caption."""
    table = plain_table(
        "Event to alert, milliseconds (Kafka timestamp of the event to a subscriber's receipt)",
        *("", "updates", "p50", "p95", "p99"),
    )
    for name, latency in latencies.items():
        table.add_row(
            name,
            f"{latency.count:,}",
            *("-" if value is None else f"{value:.1f}" for value in (latency.p50, latency.p95, latency.p99)),
        )
    uncertain = [name for name, latency in latencies.items() if 0 < latency.count < MIN_UPDATES]
    caption = remark + _too_few_remark(uncertain, f"of fewer than {MIN_UPDATES:,} updates p99 says little")
    table.caption = caption.lstrip("; ") or None
    return table


def reconcile_table(result: Reconciliation, vertical: Vertical) -> Table:
    """How many alerts of each rule have each status."""
    table = plain_table("Stream against history, alerts", "rule", *(status.replace("_", " ") for status in STATUSES))
    for rule in vertical.rules:
        table.add_row(rule.name, *(f"{result.counts.get((rule.name, status), 0):,}" for status in STATUSES))
    return table


def differences_table(result: Reconciliation) -> Table:
    """The first alerts in which stream and history differ."""
    table = plain_table(
        "Where they differ (all rows are in table `reconciled`)",
        "status",
        "rule",
        "entity",
        "event time",
        "stream",
        "batch",
        "late by",
    )
    for row in result.differences.limit(MAX_ROWS).collect():
        table.add_row(
            row.status,
            row.rule,
            row.entity_id,
            f"{row.event_time:%Y-%m-%d %H:%M:%S}",
            _cell(row.stream_score),
            _cell(row.batch_score),
            format_duration(row.late_seconds),
        )
    return table


def suite_line(report: BatchReport) -> str:
    """Whether the history keeps its contract, and which baselines were learnt from it; with rich's markup."""
    contract_text = "keeps its contract" if report.suite.success else "[red]breaks its contract[/]"
    return f"{report.events:,} events: the history {contract_text}; baselines {report.baseline_version} as of {report.as_of}"


def trend_tables(spark: SparkSession, workspace: Workspace, names: list[str]) -> Iterator[Table]:
    """The newest, or largest, rows of every trend."""
    for name in names:
        rows = tables.read(spark, workspace.table(f"trend_{name}"))
        table = plain_table(f"Trend: {name.replace('_', ' ')}", *(column.replace("_", " ") for column in rows.columns))
        newest = [F.desc("day")] if "day" in rows.columns else []
        for row in rows.orderBy(*newest, *_largest(rows)).limit(MAX_ROWS).collect():
            table.add_row(*map(_cell, row))
        if not table.row_count:
            table.title = f"{table.title}: nothing yet"
        yield table


def _largest(rows: DataFrame) -> list[Column]:
    """The order by size of the last column that holds numbers, the largest first."""
    numeric_columns = [field.name for field in rows.schema if isinstance(field.dataType, T.NumericType)]
    # A count of rows says nothing about the size of a trend.
    size_column = next((name for name in reversed(numeric_columns) if not name.endswith("rows")), None)
    return [F.desc(F.abs(F.col(size_column)))] if size_column else []


def model_comparison_table(comparison: ModelComparison) -> Table:
    """The champion beside the challenger."""
    title = f"Both models on {comparison.events:,} events of the stream with known labels"
    table = plain_table(title, "", "champion", "challenger")
    for name, value in comparison.champion.items():
        table.add_row(name.replace("_", " "), _cell(value), _cell(comparison.challenger[name]))
    return table


def model_summary(model: Any) -> Table | str:
    """The metrics of a trained model; a sentence where the history is too short to measure it."""
    if not model.metrics:
        return f"model {model.version}, not measured: that takes more days of history"
    table = plain_table(f"Model {model.version}", "", "")
    for name, value in model.metrics.items():
        table.add_row(name.replace("_", " "), _cell(value))
    if any("ceiling" in name for name in model.metrics):
        table.caption = "ceiling: the most that a score which knows the labels could reach, as few entities were anomalous"
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
