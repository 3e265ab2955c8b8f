"""Whether stream and history agree: the same rules over the archived events, compared with the stored alerts, alert by alert.

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
from common.batch.batch import came_live
from common.closed_windows import spoken
from common.kafka.topics import topic_names
from common.published.live_thresholds import settings_as_of
from common.published.reference_data import MODEL_SCHEMA, Learnt, model_of, prepared, with_baselines, with_model
from common.published.versions import MODEL, baseline_path, versions
from common.reconciliation.lineage import Era, Judged, judged_ranges, late_events, settings_eras
from common.reconciliation.lineage_rows import BEYOND
from common.spark.session import use_pool
from common.streaming.checkpoint_topics import of_present_topic
from common.vertical import Query, Vertical
from common.workspace import Workspace

SCORE_TOLERANCE = 1e-9
STATUSES = ("equal", "late", "score_differs", "missing", "extra", "repeated_id", "judged_twice")
AGREEING = ("equal", "late", "repeated_id", "judged_twice")  # or explained
# The metric: alerts of each rule by status at each run, so that agreement can be followed over time.
RECONCILIATIONS_SCHEMA = T.StructType([
    T.StructField("reconciled_at", T.TimestampType()),
    T.StructField("since", T.TimestampType()),
    T.StructField("rule", T.StringType()),
    T.StructField("status", T.StringType()),
    T.StructField("alerts", T.LongType()),
])


@dataclass(frozen=True)
class Reconciled:
    """counts: alerts by (rule, status); differences: rows that are not equal, as DataFrame."""

    counts: dict[tuple[str, str], int]
    differences: DataFrame

    @property
    def agrees(self) -> bool:
        return not any(count for (_, status), count in self.counts.items() if status not in AGREEING)


def reconcile(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, rule_settings: object, since: datetime | None = None
) -> Reconciled:
    """Compare every stored alert with what batch finds in the events that came through Kafka, by the topic that is there now.

    Writes table `reconciled`, a row per alert, and adds this run's counts to table `reconciliations`.

    since: compare only alerts whose newest event is of then or later. Earlier events are judged all the same, as windows and
    state reach back to them.
    """
    use_pool(spark, "batch")
    events, _, alerts = came_live(spark, workspace)
    # What judged an earlier topic of that name is not on record any more: its offsets were those of other records.
    events, alerts = (of_present_topic(rows, workspace, topic_names(vertical).events) for rows in (events, alerts))
    came = events.drop("event_day")
    batch = judged_again(spark, vertical, workspace, came, rule_settings)
    compared = compare(alerts, batch, late_events(spark, vertical, workspace, came))
    compared = compared.where(F.col("event_time") >= F.lit(since)) if since else compared
    path = workspace.table("reconciled")
    tables.ensure_table(path, compared.schema, is_made_anew=True)
    tables.overwrite(compared, path)
    counts = _counts(tables.read(spark, path))
    if any(status == "extra" for _, status in counts):
        repeated = judged_again(spark, vertical, workspace, duplicates(spark, vertical, workspace, came.columns), rule_settings)
        told = tables.read(spark, path)
        extra = alerts.join(told.where("status = 'extra'").select("alert_id"), "alert_id", "left_semi")
        earlier = judged_as_named(spark, vertical, workspace, came, extra, rule_settings)
        tables.overwrite(explained(explained(told, repeated, "repeated_id"), earlier, "judged_twice"), path)
        counts = _counts(tables.read(spark, path))
    _record(workspace, counts, since)
    differences = tables.read(spark, path).where("status <> 'equal'").orderBy("status", "rule", "event_time")
    return Reconciled(counts, differences)


def _counts(compared: DataFrame) -> dict[tuple[str, str], int]:
    return {(row.rule, row.status): row["count"] for row in compared.groupBy("rule", "status").count().collect()}


def duplicates(spark: SparkSession, vertical: Vertical, workspace: Workspace, columns: list[str]) -> DataFrame:
    """Events in quarantine because another came before under their id; of pseudonymised ones none, as they cannot be read."""
    refused = tables.read(spark, workspace.table("quarantine")).where("reason = 'duplicate'")
    records = refused.selectExpr("raw AS value", "key", "topic", "kafka_partition AS partition", "kafka_offset AS offset",
                                 "ingest_time AS timestamp")
    return contract.accepted(records, vertical, bounds=None).select(columns)


def judged_as_named(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, events: DataFrame, alerts: DataFrame, rule_settings: object
) -> DataFrame:
    """What per-event rules raise on the events behind `alerts`, each under the baseline and model that its alert names."""
    behind = alerts.select("versions.baseline", "versions.model", F.explode(event_ids("event")).alias(vertical.event_id))
    found = [spark.createDataFrame([], ALERT_SCHEMA)]
    for baseline, model in behind.select("baseline", "model").distinct().collect():
        named = F.col("baseline").eqNullSafe(F.lit(baseline)) & F.col("model").eqNullSafe(F.lit(model))
        own = events.join(behind.where(named), vertical.event_id, "left_semi")
        then = [Judged(None, 0, BEYOND, baseline, model, None)]
        for query in vertical.queries:
            if query.raises_alerts and not query.stateful:
                rows = _as_judged(spark, vertical, workspace, query, own, rule_settings, then)
                found.append(_under_their_thresholds(spark, vertical, workspace, query, rows, rule_settings))
    return _united(found)


def explained(compared: DataFrame, otherwise: DataFrame, status: str) -> DataFrame:
    """What is called extra in `compared` has this status where the same alert, of the same score, is in `otherwise`."""
    found = otherwise.groupBy("alert_id").agg(F.collect_set("score").alias("scores"))
    same = F.exists("scores", lambda score: _near(F.col("stream_score"), score))
    name = F.when((F.col("status") == "extra") & same, F.lit(status)).otherwise(F.col("status"))
    return compared.join(found, "alert_id", "left").withColumn("status", name).select(compared.columns)


def _near(one: Column, other: Column) -> Column:
    return F.abs(one - other) <= SCORE_TOLERANCE * (1 + F.abs(other))


def _record(workspace: Workspace, counts: dict[tuple[str, str], int], since: datetime | None) -> None:
    run = {"reconciled_at": datetime.now(UTC), "since": since}
    rows = [run | {"rule": rule, "status": status, "alerts": count} for (rule, status), count in sorted(counts.items())]
    path = workspace.table("reconciliations")
    tables.ensure_table(path, RECONCILIATIONS_SCHEMA)
    tables.append_rows(rows, RECONCILIATIONS_SCHEMA, path)


def judged_again(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, events: DataFrame, rule_settings: object
) -> DataFrame:
    """The alerts of every rule over `events`, by the functions that the stream runs."""
    judged = []
    for query in vertical.queries:
        if query.raises_alerts:
            rows = _as_judged(spark, vertical, workspace, query, events, rule_settings)
            alerts = _under_their_thresholds(spark, vertical, workspace, query, rows, rule_settings)
            judged.append(spoken(query, alerts, events, rule_settings))
    return _united(judged)


def _united(parts: list[DataFrame]) -> DataFrame:
    return reduce(DataFrame.unionByName, parts)


def compare(stored: DataFrame, batch: DataFrame, late: DataFrame) -> DataFrame:
    """One row per alert id: rule, entity, both scores, how late the latest event behind it was, status."""
    late_alerts = (
        batch.select("alert_id", "rule", F.explode(event_ids("event")).alias("event_id"))
        .join(late, ["event_id", "rule"])
        .groupBy("alert_id")
        .agg(F.max("late_seconds").alias("late_seconds"))
    )
    sides = _scored(stored, "stream").join(_scored(batch, "batch"), "alert_id", "full").join(late_alerts, "alert_id", "left")
    any_side = F.coalesce("stream", "batch")
    near = _near(F.col("stream.score"), F.col("batch.score"))
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


def _under_their_thresholds(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, query: Query, rows: DataFrame, rule_settings: object
) -> DataFrame:
    """The alerts of `query` over `rows`, each under the thresholds of its time."""
    def build(rows: DataFrame, era: Era) -> DataFrame:
        return query.build(rows, settings_as_of(spark, vertical, workspace.tables, rule_settings, era.settings))

    if not any(rule.live for rule in query.rules):
        return query.build(rows, rule_settings)
    eras = settings_eras(workspace, query)
    return _as_closed(rows, eras, build) if query.output_mode == "append" else _as_grown(rows, eras, build)


def _as_grown(rows: DataFrame, eras: list[Era], build: Callable[[DataFrame, Era], DataFrame]) -> DataFrame:
    """Of each alert the last: era by era, over all that had come by then, where the newest event came in that era."""
    eras = [era for era in eras if era.ranges]
    if len(eras) == 1:
        return build(rows, eras[0])
    found = []
    for number, era in enumerate(eras):
        # Where a row says when an event came there now stands in which era, and so an alert's newest event tells its own.
        eras_so_far = [F.when(_inside(each.ranges), _era_time(n)) for n, each in enumerate(eras[: number + 1])]
        so_far = rows.withColumn("ingest_time", F.coalesce(*eras_so_far)).where("ingest_time IS NOT NULL")
        found.append(build(so_far, era).where(F.col("ingest_time") == _era_time(number)))
    last = Window.partitionBy("alert_id").orderBy(F.desc("ingest_time"))
    return _united(found).withColumn("nth", F.row_number().over(last)).where("nth = 1").drop("nth")


def _era_time(number: int) -> Column:
    return F.timestamp_seconds(F.lit(number))


def _as_closed(rows: DataFrame, eras: list[Era], build: Callable[[DataFrame, Era], DataFrame]) -> DataFrame:
    """Each alert by the era whose watermark passed its event_time; what closed after the last belongs to the last."""
    closing = [era for era in eras if era.watermark] or eras[-1:]
    found = []
    for before, era in zip([None, *closing], closing, strict=False):
        alerts = build(rows, era)
        alerts = alerts.where(F.col("event_time") > F.lit(before.watermark)) if before else alerts
        found.append(alerts if era is closing[-1] else alerts.where(F.col("event_time") <= F.lit(era.watermark)))
    return _united(found)


def _as_judged(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, query: Query, events: DataFrame, rule_settings: object,
    given: list[Judged] | None = None,
) -> DataFrame:
    """What `learnt.with_learnt` gives on the stream, each event and row with the versions that judged it there.

    given: what judged which offsets, if it is not to be what is on record.
    """
    rows = events
    if query.baselines or query.model:
        ranges = given or judged_ranges(workspace, query)
        models = {version.version: version.details for version in versions(workspace.tables) if version.kind == MODEL}
    if query.baselines:
        rows = _united([
            with_baselines(rows.where(_inside(own)), _learnt(spark, vertical, workspace, baseline, None, None), vertical, query)
            for baseline, own in _by_version(ranges, lambda each: each.baseline)
        ])
    rows = prepared(rows, query, rule_settings)
    if query.model:
        by_model = _by_version(ranges, lambda each: each.model)
        numbers = {model: _learnt(spark, vertical, workspace, None, model, models.get(model or "")) for model, _ in by_model}
        rows = _united([with_model(rows.where(_inside(own)), numbers[model], vertical, query) for model, own in by_model])
    return rows


def _by_version(ranges: list[Judged], version: Callable[[Judged], str | None]) -> list[tuple[str | None, list[Judged]]]:
    found = sorted({version(each) for each in ranges}, key=str)
    return [(one, [each for each in ranges if version(each) == one]) for one in found]


def _inside(ranges: list[Judged]) -> Column:
    def inside(judged: Judged) -> Column:
        offsets = F.col("kafka_offset").between(judged.start, judged.end - 1)
        return offsets if judged.partition is None else offsets & (F.col("kafka_partition") == judged.partition)

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
    scoring = model_of(details, vertical) if details else None
    numbers = [(model, list(scoring.parameters))] if scoring else []
    return Learnt(frames, spark.createDataFrame(numbers, MODEL_SCHEMA), scoring)
