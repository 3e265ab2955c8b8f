"""Results as tables for people (rich)."""

from collections.abc import Iterator, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from rich.table import Table

from common import tables
from common.batch.batch import Studied
from common.batch.evaluation import Evaluation
from common.batch.threshold_trial import STATUSES as CHANGES
from common.batch.threshold_trial import Rehearsed
from common.monitoring.alert_watch import Percentiles
from common.monitoring.plain_table import plain_table
from common.reconciliation.reconcile import STATUSES, Reconciled
from common.streaming.shadow import Compared
from common.vertical import Vertical
from common.workspace import Workspace

FEW_ALERTS, FEW_CASES, FEW_UPDATES = 20, 5, 1_000  # below which a share, or a percentile, is chance
ROWS = 8


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def time_span(seconds: float | None) -> str:
    """Seconds, minutes, hours or days, whichever reads best."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table]:
    rules = plain_table("What each rule raised", "rule", "alerts", "right", "precision")
    for row in (*evaluation.rules, evaluation.overall):
        rules.add_row(row.rule, f"{row.alerts:,}", f"{row.right:,}", share(row.precision))
    few = [row.rule for row in evaluation.rules if 0 < row.alerts < FEW_ALERTS]
    rules.caption = f"false alerts a 1,000 entity-days: {1_000 * evaluation.false_alerts_per_entity_day:.3g}" + _too_few(
        few, f"of fewer than {FEW_ALERTS} alerts a precision says little")
    yield rules
    scenarios = plain_table(
        "What was found of each injected scenario (plain: recall of the best plain threshold at precision 80% or more)",
        *("scenario", "cases", "found", "recall", "precision", "plain", "time to detect", "first found by"),
    )
    for case in evaluation.scenarios:
        scenarios.add_row(
            case.scenario,
            f"{case.cases:,}",
            f"{case.found:,}",
            share(case.recall),
            share(case.of_its_rules.precision),
            share(case.plain_recall),
            time_span(case.median_seconds),
            case.by or "-",
        )
    few = [case.scenario for case in evaluation.scenarios if 0 < case.cases < FEW_CASES]
    scenarios.caption = _too_few(few, f"of fewer than {FEW_CASES} cases a recall says little, a longer run has more").lstrip("; ")
    yield scenarios


def _too_few(names: Sequence[str], why: str) -> str:
    """That results are too short to judge by, and whose."""
    return f"; {why}: {', '.join(names)}" if names else ""


def rehearsal_tables(result: Rehearsed) -> Iterator[Table]:
    """Present and changed rules side by side."""
    columns = ("alerts a day", "precision")
    rules = plain_table(
        f"{result.days} days of history, judged by the present rules and by the changed ones",
        *("rule", *(f"{column}: {side}" for column in columns for side in ("present", "changed")), *CHANGES),
    )
    present, changed = result.present, result.changed
    for old, new in zip((*present.rules, present.overall), (*changed.rules, changed.overall), strict=True):
        every = old is present.overall
        counts = [sum(n for (rule, each), n in result.counts.items() if each == status and (every or rule == old.rule))
                  for status in CHANGES]  # fmt: skip
        per_day = [f"{each.alerts / result.days:,.1f}" for each in (old, new)]
        rules.add_row(old.rule, *per_day, share(old.precision), share(new.precision), *(f"{count:,}" for count in counts))
    yield rules
    scenarios = plain_table(
        "What was found of each injected scenario, by the rules meant for it",
        *("scenario", "cases", *(f"{column}: {side}" for column in ("recall", "precision") for side in ("present", "changed"))),
    )
    for before, after in zip(present.scenarios, changed.scenarios, strict=True):
        told = [share(each.recall) for each in (before, after)] + [share(each.of_its_rules.precision) for each in (before, after)]
        scenarios.add_row(before.scenario, f"{before.cases:,}", *told)
    yield scenarios


def quality_tables(found: dict[str, Evaluation]) -> Iterator[Table]:
    """The live quality of several verticals, a table each: a row per scenario, and one of all its alerts."""
    for name, evaluation in found.items():
        table = plain_table(
            f"Live quality of {name}: alerts against labels",
            *("scenario", "rules", "cases", "recall", "precision", "time to detect"),
        )
        for case in evaluation.scenarios:
            own = case.of_its_rules
            recall, detected = share(case.recall), time_span(case.median_seconds)
            table.add_row(case.scenario, own.rule, f"{case.cases:,}", recall, share(own.precision), detected)
        table.add_row("all", "all rules", "", "", share(evaluation.overall.precision), "")
        table.caption = f"false alerts a 1,000 entity-days: {1_000 * evaluation.false_alerts_per_entity_day:.3g}"
        yield table


def reconciled_line(result: Reconciled) -> str:
    """How many alerts have each status, all rules together."""
    counts = {status: sum(count for (_, each), count in result.counts.items() if each == status) for status in STATUSES}
    return "stream against history: " + ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in counts.items())


def latency_table(measured: dict[str, Percentiles], remark: str = "") -> Table:
    table = plain_table(
        "Event to alert, milliseconds (Kafka timestamp of the event to a subscriber's receipt)",
        *("", "updates", "p50", "p95", "p99"),
    )
    for name, latency in measured.items():
        table.add_row(
            name,
            f"{latency.count:,}",
            *("-" if value is None else f"{value:.1f}" for value in (latency.p50, latency.p95, latency.p99)),
        )
    few = [name for name, latency in measured.items() if 0 < latency.count < FEW_UPDATES]
    table.caption = (remark + _too_few(few, f"of fewer than {FEW_UPDATES:,} updates p99 says little")).lstrip("; ") or None
    return table


def reconcile_table(result: Reconciled, vertical: Vertical) -> Table:
    table = plain_table("Stream against history, alerts", "rule", *(status.replace("_", " ") for status in STATUSES))
    for rule in vertical.rules:
        table.add_row(rule.name, *(f"{result.counts.get((rule.name, status), 0):,}" for status in STATUSES))
    return table


def differences_table(result: Reconciled) -> Table:
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
    for row in result.differences.limit(ROWS).collect():
        table.add_row(
            row.status,
            row.rule,
            row.entity_id,
            f"{row.event_time:%Y-%m-%d %H:%M:%S}",
            _cell(row.stream_score),
            _cell(row.batch_score),
            time_span(row.late_seconds),
        )
    return table


def suite_line(studied: Studied) -> str:
    verdict = "keeps its contract" if studied.suite.success else "[red]breaks its contract[/]"
    return f"{studied.events:,} events: the history {verdict}; baselines {studied.baseline_version} as of {studied.as_of}"


def trend_tables(spark: SparkSession, workspace: Workspace, names: list[str]) -> Iterator[Table]:
    """The newest, or largest, rows of every trend."""
    for name in names:
        rows = tables.read(spark, workspace.table(f"trend_{name}"))
        table = plain_table(f"Trend: {name.replace('_', ' ')}", *(column.replace("_", " ") for column in rows.columns))
        newest = [F.desc("day")] if "day" in rows.columns else []
        for row in rows.orderBy(*newest, *_largest(rows)).limit(ROWS).collect():
            table.add_row(*map(_cell, row))
        if not table.row_count:
            table.title = f"{table.title}: nothing yet"
        yield table


def _largest(rows: DataFrame) -> list[Column]:
    """By size of the last column that holds numbers."""
    numbers = [field.name for field in rows.schema if isinstance(field.dataType, T.NumericType)]
    # A count of rows says nothing of what a trend is about.
    weighty = next((name for name in reversed(numbers) if not name.endswith("rows")), None)
    return [F.desc(F.abs(F.col(weighty)))] if weighty else []


def compared_table(found: Compared) -> Table:
    table = plain_table(f"Both models on {found.events:,} events of the stream with known labels", "", "champion", "challenger")
    for name, value in found.champion.items():
        table.add_row(name.replace("_", " "), _cell(value), _cell(found.challenger[name]))
    return table


def model_summary(trained: Any) -> Table | str:
    """What was measured of a model; a sentence where history is too short to have rehearsed its training."""
    if not trained.metrics:
        return f"model {trained.version}, not measured: that takes more days of history"
    table = plain_table(f"Model {trained.version}", "", "")
    for name, value in trained.metrics.items():
        table.add_row(name.replace("_", " "), _cell(value))
    if any("ceiling" in name for name in trained.metrics):
        table.caption = "ceiling: what a score that knows the labels would reach, as no more entities were anomalous"
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
