"""Whether stream and history agree: the same rules over the archived events, compared with the stored alerts, alert by alert.

Each event is judged under the baseline and model version that the stream judged its offset with, as the queries'
progress recorded them. Statuses:

equal           the same alert, the same score
late            they differ, and an event behind the alert came after the watermark: batch has it, the stream may not
score_differs   the same alert with another score
missing         batch raises it, the stream did not
extra           the stream raised it, batch does not
"""

from dataclasses import dataclass
from datetime import UTC
from functools import reduce

from pyspark.sql import Column, DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import tables
from common.alerts import event_ids
from common.models.storage import from_json
from common.processing.batch import came_live
from common.processing.learnt import MODEL_SCHEMA, Learnt, prepared, with_baselines, with_model
from common.processing.session import use_pool
from common.processing.versions import BASELINE, MODEL, baseline_path, versions
from common.vertical import Query, Vertical
from common.workspace import Workspace

SCORE_TOLERANCE = 1e-9
BEYOND = 1 << 62  # after any offset
STATUSES = ("equal", "late", "score_differs", "missing", "extra")


@dataclass(frozen=True)
class Reconciled:
    """counts: alerts by (rule, status); differences: rows that are not equal, as DataFrame."""

    counts: dict[tuple[str, str], int]
    differences: DataFrame

    @property
    def agrees(self) -> bool:
        return not any(count for (_, status), count in self.counts.items() if status not in ("equal", "late"))


def reconcile(spark: SparkSession, vertical: Vertical, workspace: Workspace, rule_settings: object) -> Reconciled:
    """Compare every stored alert with what batch finds in the events that came through Kafka; writes table `reconciled`."""
    use_pool(spark, "batch")
    events, _, alerts = came_live(spark, workspace)
    came = events.drop("event_day")
    batch = judged_again(spark, vertical, workspace, came, rule_settings)
    compared = compare(alerts, batch, late_events(came, vertical.event_id, rule_settings))
    path = workspace.table("reconciled")
    tables.ensure_table(path, compared.schema)
    tables.overwrite(compared, path)
    stored = tables.read(spark, path)
    counts = {(row.rule, row.status): row["count"] for row in stored.groupBy("rule", "status").count().collect()}
    return Reconciled(counts, stored.where("status <> 'equal'").orderBy("status", "rule", "event_time"))


def judged_again(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, events: DataFrame, rule_settings: object
) -> DataFrame:
    """The alerts of every rule over `events`, by the functions that the stream runs."""
    judged = []
    for query in vertical.queries:
        if query.raises_alerts:
            alerts = query.build(_as_judged(spark, vertical, workspace, query, events, rule_settings), rule_settings)
            judged.append(alerts.where(_has_closed(events, rule_settings)) if query.output_mode == "append" else alerts)
    return _united(judged)


def _has_closed(events: DataFrame, rule_settings: object) -> Column:
    """Whether the stream can have spoken of a window by now: the watermark has passed its end."""
    newest = events.agg(F.max("event_time")).first()
    return F.col("event_time") <= F.lit(newest[0] if newest else None) - _watermark_delay(rule_settings)


def _watermark_delay(rule_settings: object) -> Column:
    return F.expr(f"interval {getattr(rule_settings, 'watermark', '0 seconds')}")


def _united(parts: list[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, parts)


def late_events(events: DataFrame, event_id: str, rule_settings: object) -> DataFrame:
    """event_id and late_seconds of events further behind the newest of their partition than the watermark allows."""
    before = Window.partitionBy("kafka_partition").orderBy("kafka_offset")
    behind = F.unix_seconds(F.max("event_time").over(before)) - F.unix_seconds("event_time")
    delay = F.unix_seconds(F.timestamp_seconds(F.lit(0)) + _watermark_delay(rule_settings))
    return events.select(F.col(event_id).alias("event_id"), behind.alias("late_seconds")).where(F.col("late_seconds") > delay)


def compare(stored: DataFrame, batch: DataFrame, late: DataFrame) -> DataFrame:
    """One row per alert id: rule, entity, both scores, how late the latest event behind it was, status."""
    late_alerts = (
        batch.select("alert_id", F.explode(event_ids("event")).alias("event_id"))
        .join(late, "event_id")
        .groupBy("alert_id")
        .agg(F.max("late_seconds").alias("late_seconds"))
    )
    sides = _scored(stored, "stream").join(_scored(batch, "batch"), "alert_id", "full").join(late_alerts, "alert_id", "left")
    any_side = F.coalesce("stream", "batch")
    near = F.abs(F.col("stream.score") - F.col("batch.score")) <= SCORE_TOLERANCE * (1 + F.abs(F.col("batch.score")))
    status = (
        F.when(near, "equal")
        .when(F.col("late_seconds").isNotNull(), "late")
        .when(F.col("stream").isNull(), "missing")
        .when(F.col("batch").isNull(), "extra")
        .otherwise("score_differs")
    )
    return sides.select(
        "alert_id",
        any_side.rule.alias("rule"),
        any_side.entity_id.alias("entity_id"),
        any_side.event_time.alias("event_time"),
        F.col("stream.score").alias("stream_score"),
        F.col("batch.score").alias("batch_score"),
        "late_seconds",
        status.alias("status"),
    )


def _scored(alerts: DataFrame, name: str) -> DataFrame:
    return alerts.select("alert_id", F.struct("rule", "entity_id", "event_time", "score").alias(name))


def _as_judged(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, query: Query, events: DataFrame, rule_settings: object
) -> DataFrame:
    """What `learnt.with_learnt` gives on the stream, each event and row with the versions that judged it there."""
    rows = events
    if query.baselines or query.model:
        ranges = judged_ranges(spark, workspace, query)
        models = {version.version: version.details for version in versions(workspace.tables) if version.kind == MODEL}
    if query.baselines:
        rows = _united([
            with_baselines(rows.where(_inside(own)), _learnt(spark, vertical, workspace, baseline, None, None), vertical, query)
            for baseline, own in _by_version(ranges, "baseline_version")
        ])
    rows = prepared(rows, query, rule_settings)
    if query.model:
        by_model = _by_version(ranges, "model_version")
        numbers = {model: _learnt(spark, vertical, workspace, None, model, models.get(model or "")) for model, _ in by_model}
        rows = _united([with_model(rows.where(_inside(own)), numbers[model], vertical, query) for model, own in by_model])
    return rows


def _by_version(ranges: list[Row], kind: str) -> list[tuple[str | None, list[Row]]]:
    found = sorted({getattr(row, kind) for row in ranges}, key=str)
    return [(version, [row for row in ranges if getattr(row, kind) == version]) for version in found]


def judged_ranges(spark: SparkSession, workspace: Workspace, query: Query) -> list[Row]:
    """kafka_partition (null: any), start_offset, end_offset and the versions that judged them, without gaps or overlap.

    By the progress of `query`, the last attempt at each batch. What lies beyond was judged by the batch that was
    under way in the end: by the versions in force when the last progress was reported.
    """
    judged = tables.read(spark, workspace.table("judged")).where(F.col("query") == query.name).orderBy("ended_at").collect()
    last_try = {(row.batch, row.kafka_partition): row for row in judged if row.kafka_partition is not None}
    ranges = list(last_try.values())
    then = max(row.ended_at for row in judged).replace(tzinfo=UTC)
    found = [version for version in versions(workspace.tables) if version.created_at <= then]
    in_force = {kind: next((v.version for v in reversed(found) if v.kind == kind), None) for kind in (BASELINE, MODEL)}
    ends: dict[int | None, int] = {}
    for row in ranges:
        ends[row.kafka_partition] = max(row.end_offset, ends.get(row.kafka_partition, 0))
    model = in_force[MODEL] if query.model else None
    beyond = [
        Row(
            kafka_partition=partition,
            start_offset=end,
            end_offset=BEYOND,
            baseline_version=in_force[BASELINE],
            model_version=model,
        )
        for partition, end in (ends or {None: 0}).items()
    ]
    return [*ranges, *beyond]


def _inside(ranges: list[Row]) -> Column:
    def inside(row: Row) -> Column:
        offsets = F.col("kafka_offset").between(row.start_offset, row.end_offset - 1)
        return offsets if row.kafka_partition is None else offsets & (F.col("kafka_partition") == row.kafka_partition)

    return reduce(Column.__or__, map(inside, ranges))


def _learnt(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, baseline: str | None, model: str | None, details: dict | None
) -> Learnt:
    frames = {}
    for name, kind in vertical.baselines.items():
        schema = T.StructType([*kind.schema, T.StructField("baseline_version", T.StringType())])
        if baseline is None:  # judged before anything was learnt
            frames[name] = spark.createDataFrame([], schema)
            continue
        rows = tables.read(spark, baseline_path(workspace.tables, name))
        frames[name] = rows.where(F.col("baseline_version") == baseline).select(*schema.names)
    scoring = from_json(details) if details else None
    numbers = [(model, list(scoring.parameters))] if scoring else []
    return Learnt(frames, spark.createDataFrame(numbers, MODEL_SCHEMA), scoring)
