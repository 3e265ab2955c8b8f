"""Recomputes the alerts of the archived events by the stream's own rules, and compares them with the stored ones, one by one.

Each event is judged under the baseline and model version that the stream judged its offset with, as the queries'
progress recorded them, and each row (an event, a window) under the thresholds in force when its newest event came: where
they changed while a window filled, an alert is what the last of them that saw the window grow and reach them made of it.
What waits for the watermark is judged by the thresholds of the batch whose watermark closed it. Statuses:

equal           the same alert, the same score
late            they differ, and an event behind the alert was behind the watermark of its batch: the stream left it out
score_differs   the same alert with another score
missing         batch raises it, the stream did not
repeated_id     batch does not raise it, but does from a record that stands in quarantine as a duplicate: two different events
                came under one id, of which history keeps the first, and a per-event rule judged both
judged_twice    batch does not raise it, but does from its event under the versions that the alert names: the stream was stopped
                before that batch was finished, and began it again when other versions were in force
extra           the stream raised it, batch does not
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import contract, tables
from common.alerts import ALERT_SCHEMA, event_ids
from common.archive.history import read_live_history
from common.closed_windows import only_closed
from common.deployment import Deployment
from common.kafka.topics import topic_names
from common.published.live_thresholds import settings_as_of
from common.published.reference_data import MODEL_SCHEMA, ReferenceData, model_of, prepare_rows, with_baselines, with_model
from common.published.versions import MODEL, baseline_path, versions
from common.reconciliation.lineage import Era, OffsetRange, find_late_events, read_ranges, settings_eras
from common.spark.session import use_pool
from common.streaming.checkpoint_topics import of_present_topic
from common.streaming.lineage_rows import BEYOND
from common.vertical import Query, Vertical
from common.workspace import Workspace

SCORE_TOLERANCE = 1e-9
STATUSES = ("equal", "late", "score_differs", "missing", "extra", "repeated_id", "judged_twice")
AGREEING = ("equal", "late", "repeated_id", "judged_twice")  # or explained
# The metric: alerts of each rule by status at each run, so that agreement can be followed over time.
RECONCILIATIONS_SCHEMA = T.StructType(
    [
        T.StructField("reconciled_at", T.TimestampType()),
        T.StructField("since", T.TimestampType()),
        T.StructField("rule", T.StringType()),
        T.StructField("status", T.StringType()),
        T.StructField("alerts", T.LongType()),
    ]
)


@dataclass(frozen=True)
class Reconciliation:
    """The result of a comparison. counts: alerts by (rule, status); differences: rows of `reconciled` that are not equal."""

    counts: dict[tuple[str, str], int]
    differences: DataFrame

    @property
    def agrees(self) -> bool:
        return not any(count for (_, status), count in self.counts.items() if status not in AGREEING)


def reconcile(spark: SparkSession, deployment: Deployment, since: datetime | None = None) -> Reconciliation:
    """Compare every stored alert with what batch finds in the events that came through Kafka, by the topic that is there now.

    Writes table `reconciled`, a row per alert, and adds this run's counts to table `reconciliations`.

    since: compare only alerts whose newest event is of then or later. Earlier events are judged all the same, as windows and
    state reach back to them.
    """
    use_pool(spark, "batch")
    vertical, workspace = deployment.vertical, deployment.workspace
    events, _, alerts = read_live_history(spark, workspace)
    # Rows of an earlier topic of that name are left out: the lineage holds the present topic's offsets alone.
    events, alerts = (of_present_topic(rows, workspace, topic_names(vertical).events) for rows in (events, alerts))
    events = events.drop("event_day")
    recomputed = recompute_alerts(spark, deployment, events)
    comparison = compare_alerts(alerts, recomputed, find_late_events(spark, deployment, events))
    comparison = comparison.where(F.col("event_time") >= F.lit(since)) if since else comparison
    path = workspace.table("reconciled")
    tables.ensure_table(path, comparison.schema, is_overwritten=True)
    tables.overwrite(comparison, path)
    counts = _counts(tables.read(spark, path))
    if any(status == "extra" for _, status in counts):
        of_duplicates = recompute_alerts(spark, deployment, read_duplicates(spark, deployment, events.columns))
        first_result = tables.read(spark, path)
        extra = alerts.join(first_result.where("status = 'extra'").select("alert_id"), "alert_id", "left_semi")
        as_named = recompute_as_named(spark, deployment, events, extra)
        explained = explain_extra(explain_extra(first_result, of_duplicates, "repeated_id"), as_named, "judged_twice")
        tables.overwrite(explained, path)
        counts = _counts(tables.read(spark, path))
    _append_counts(workspace, counts, since)
    differences = tables.read(spark, path).where("status <> 'equal'").orderBy("status", "rule", "event_time")
    return Reconciliation(counts, differences)


def _counts(comparison: DataFrame) -> dict[tuple[str, str], int]:
    return {(row.rule, row.status): row["count"] for row in comparison.groupBy("rule", "status").count().collect()}


def read_duplicates(spark: SparkSession, deployment: Deployment, columns: list[str]) -> DataFrame:
    """Events in quarantine because another came before under their id; of pseudonymised ones none, as they cannot be read."""
    duplicates = tables.read(spark, deployment.workspace.table("quarantine")).where("reason = 'duplicate'")
    records = duplicates.selectExpr(
        "raw AS value", "key", "topic", "kafka_partition AS partition", "kafka_offset AS offset", "ingest_time AS timestamp"
    )
    return contract.valid_events(records, deployment.vertical, bounds=None).select(columns)


def recompute_as_named(spark: SparkSession, deployment: Deployment, events: DataFrame, alerts: DataFrame) -> DataFrame:
    """What per-event rules raise on the events behind `alerts`, each under the baseline and model that its alert names."""
    vertical = deployment.vertical
    alert_events = alerts.select("versions.baseline", "versions.model", F.explode(event_ids("event")).alias(vertical.event_id))
    recomputed = [spark.createDataFrame([], ALERT_SCHEMA)]
    for baseline, model in alert_events.select("baseline", "model").distinct().collect():
        has_versions = F.col("baseline").eqNullSafe(F.lit(baseline)) & F.col("model").eqNullSafe(F.lit(model))
        events_of_versions = events.join(alert_events.where(has_versions), vertical.event_id, "left_semi")
        all_offsets = [OffsetRange(None, 0, BEYOND, baseline, model, None)]
        for query in vertical.queries:
            if query.raises_alerts and not query.stateful:
                rows = _with_past_versions(spark, deployment, query, events_of_versions, all_offsets)
                recomputed.append(_with_past_thresholds(spark, deployment, query, rows))
    return _union(recomputed)


def explain_extra(comparison: DataFrame, explanation: DataFrame, status: str) -> DataFrame:
    """Alerts that are extra in `comparison` get this status where the same alert, with the same score, is in `explanation`."""
    scores = explanation.groupBy("alert_id").agg(F.collect_set("score").alias("scores"))
    is_explained = F.exists("scores", lambda score: _is_equal_score(F.col("stream_score"), score))
    new_status = F.when((F.col("status") == "extra") & is_explained, F.lit(status)).otherwise(F.col("status"))
    return comparison.join(scores, "alert_id", "left").withColumn("status", new_status).select(comparison.columns)


def _is_equal_score(score: Column, reference: Column) -> Column:
    return F.abs(score - reference) <= SCORE_TOLERANCE * (1 + F.abs(reference))


def _append_counts(workspace: Workspace, counts: dict[tuple[str, str], int], since: datetime | None) -> None:
    """Appends this run's counts to table `reconciliations`."""
    run_columns = {"reconciled_at": datetime.now(UTC), "since": since}
    rows = [run_columns | {"rule": rule, "status": status, "alerts": count} for (rule, status), count in sorted(counts.items())]
    path = workspace.table("reconciliations")
    tables.ensure_table(path, RECONCILIATIONS_SCHEMA)
    tables.append_rows(rows, RECONCILIATIONS_SCHEMA, path)


def recompute_alerts(spark: SparkSession, deployment: Deployment, events: DataFrame) -> DataFrame:
    """The alerts of every rule over `events`, by the functions that the stream runs and the versions that judged them there."""
    alerts_by_query = []
    for query in deployment.vertical.queries:
        if query.raises_alerts:
            rows = _with_past_versions(spark, deployment, query, events)
            alerts = _with_past_thresholds(spark, deployment, query, rows)
            alerts_by_query.append(only_closed(query, alerts, events, deployment.rules))
    return _union(alerts_by_query)


def _union(parts: list[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, parts)


def compare_alerts(stream_alerts: DataFrame, batch_alerts: DataFrame, late_events: DataFrame) -> DataFrame:
    """One row per alert id: rule, entity, both scores, how late the latest event behind it was, status."""
    late_alerts = (
        batch_alerts.select("alert_id", "rule", F.explode(event_ids("event")).alias("event_id"))
        .join(late_events, ["event_id", "rule"])
        .groupBy("alert_id")
        .agg(F.max("late_seconds").alias("late_seconds"))
    )
    both_sides = _side(stream_alerts, "stream").join(_side(batch_alerts, "batch"), "alert_id", "full")
    sides = both_sides.join(late_alerts, "alert_id", "left")
    any_side = F.coalesce("stream", "batch")
    status = (
        F.when(_is_equal_score(F.col("stream.score"), F.col("batch.score")), "equal")
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


def _side(alerts: DataFrame, name: str) -> DataFrame:
    return alerts.select("alert_id", F.struct("rule", "entity_id", "event_time", "score").alias(name))


def _with_past_thresholds(spark: SparkSession, deployment: Deployment, query: Query, rows: DataFrame) -> DataFrame:
    """The alerts of `query` over `rows`, each under the thresholds of its time."""

    def build(rows: DataFrame, era: Era) -> DataFrame:
        settings = settings_as_of(spark, deployment.vertical, deployment.tables, deployment.rules, era.settings)
        return query.build(rows, settings)

    if not any(rule.live for rule in query.rules):
        return query.build(rows, deployment.rules)
    eras = settings_eras(deployment.workspace, query)
    return _of_append_query(rows, eras, build) if query.output_mode == "append" else _of_update_query(rows, eras, build)


def _of_update_query(rows: DataFrame, eras: list[Era], build: Callable[[DataFrame, Era], DataFrame]) -> DataFrame:
    """The last state of each alert: built era by era from all events up to its end, where the newest came in that era."""
    eras = [era for era in eras if era.ranges]
    if len(eras) == 1:
        return build(rows, eras[0])
    alerts_by_era = []
    for number, era in enumerate(eras):
        # ingest_time now holds the number of the era in which an event came: so an alert's newest event tells the alert's era.
        eras_so_far = [F.when(_is_inside(past_era.ranges), _era_time(n)) for n, past_era in enumerate(eras[: number + 1])]
        so_far = rows.withColumn("ingest_time", F.coalesce(*eras_so_far)).where("ingest_time IS NOT NULL")
        alerts_by_era.append(build(so_far, era).where(F.col("ingest_time") == _era_time(number)))
    newest_first = Window.partitionBy("alert_id").orderBy(F.desc("ingest_time"))
    return _union(alerts_by_era).withColumn("nth", F.row_number().over(newest_first)).where("nth = 1").drop("nth")


def _era_time(number: int) -> Column:
    return F.timestamp_seconds(F.lit(number))


def _of_append_query(rows: DataFrame, eras: list[Era], build: Callable[[DataFrame, Era], DataFrame]) -> DataFrame:
    """Each alert by the era whose watermark passed its event_time; windows that closed after the last era belong to the last."""
    closing = [era for era in eras if era.watermark] or eras[-1:]
    alerts_by_era = []
    for earlier_era, era in zip([None, *closing], closing, strict=False):
        alerts = build(rows, era)
        alerts = alerts.where(F.col("event_time") > F.lit(earlier_era.watermark)) if earlier_era else alerts
        alerts_by_era.append(alerts if era is closing[-1] else alerts.where(F.col("event_time") <= F.lit(era.watermark)))
    return _union(alerts_by_era)


def _with_past_versions(
    spark: SparkSession, deployment: Deployment, query: Query, events: DataFrame, named_ranges: list[OffsetRange] | None = None
) -> DataFrame:
    """Events joined as `join_reference_data` joins them on the stream, each with the versions that judged it there.

    named_ranges: which versions to take for which offsets, in place of the lineage.
    """
    vertical, workspace, rows = deployment.vertical, deployment.workspace, events
    if query.baselines or query.model:
        ranges = named_ranges or read_ranges(workspace, query)
        models = {version.version: version.details for version in versions(workspace.tables) if version.kind == MODEL}
    if query.baselines:
        rows = _union(
            [
                with_baselines(rows.where(_is_inside(own_ranges)), _baselines_of(spark, deployment, baseline), vertical, query)
                for baseline, own_ranges in _by_version(ranges, lambda offsets: offsets.baseline)
            ]
        )
    rows = prepare_rows(rows, query, deployment.rules)
    if query.model:
        by_model = _by_version(ranges, lambda offsets: offsets.model)
        data = {version: _model_data(spark, vertical, version, models.get(version or "")) for version, _ in by_model}
        rows = _union(
            [with_model(rows.where(_is_inside(own_ranges)), data[version], vertical, query) for version, own_ranges in by_model]
        )
    return rows


def _by_version(
    ranges: list[OffsetRange], version_of: Callable[[OffsetRange], str | None]
) -> list[tuple[str | None, list[OffsetRange]]]:
    names = sorted({version_of(offsets) for offsets in ranges}, key=str)
    return [(name, [offsets for offsets in ranges if version_of(offsets) == name]) for name in names]


def _is_inside(ranges: list[OffsetRange]) -> Column:
    """Whether a row's Kafka record lies in one of the ranges."""

    def is_inside_range(offsets: OffsetRange) -> Column:
        is_between = F.col("kafka_offset").between(offsets.start, offsets.end - 1)
        return is_between if offsets.partition is None else is_between & (F.col("kafka_partition") == offsets.partition)

    return reduce(Column.__or__, map(is_inside_range, ranges))


def _baselines_of(spark: SparkSession, deployment: Deployment, version: str | None) -> ReferenceData:
    """The baselines of one version; empty ones for None, as before anything was learnt."""
    frames = {}
    for name, baseline in deployment.vertical.baselines.items():
        schema = T.StructType([*baseline.schema, T.StructField("baseline_version", T.StringType())])
        if version is None:
            frames[name] = spark.createDataFrame([], schema)
            continue
        rows = tables.read(spark, baseline_path(deployment.tables, name))
        frames[name] = rows.where(F.col("baseline_version") == version).select(*schema.names)
    return ReferenceData(frames, spark.createDataFrame([], MODEL_SCHEMA))


def _model_data(spark: SparkSession, vertical: Vertical, version: str | None, details: dict | None) -> ReferenceData:
    """The model of one version; none for None, as before one was in force."""
    model = model_of(details, vertical) if details else None
    model_rows = [(version, list(model.parameters))] if model else []
    return ReferenceData({}, spark.createDataFrame(model_rows, MODEL_SCHEMA), model)
