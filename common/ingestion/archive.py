"""The archive: what comes in on Kafka is kept in Delta tables, each record once.

Three micro-batch queries. Events: the valid ones go to `events`, once per event id; the others, and later ones of the
same id, go to `quarantine` with their reason and raw bytes, and to the dead-letter topic. Labels go to `labels`, alerts
to `alerts`, where a newer update of an alert replaces the older one. Whatever is killed when, the tables end up the same:
every commit carries the query's id and the batch's number, and a batch that is tried again splits as it did before.
The dead-letter topic alone is at-least-once, as is Spark's Kafka sink: a batch that is tried again is sent again.

An event's identity is its id within the UTC day of its event time: that keeps the look at history to a few partitions.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from common import contract, tables
from common.alerts import ALERT_SCHEMA
from common.ingestion.connection import Connection
from common.ingestion.duplicates import PLACE, without_duplicates
from common.ingestion.stored import (
    ALERTS_SCHEMA,
    LABELS_SCHEMA,
    PARTITION,
    ensure_tables,
    events_schema,
    parse_json,
    to_dead_letters,
    to_quarantine,
)
from common.ingestion.topics import topic_names
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

__all__ = [
    "LABELS_SCHEMA", "PARTITION", "Kept", "archive_alerts", "archive_events", "archive_labels", "ensure_tables",
    "events_schema", "keep_alerts", "keep_events", "keep_labels",
]

LOG = logging.getLogger(__name__)

ROWS_PER_FILE = 100_000
UPKEEP_BATCHES = 20


@dataclass(frozen=True)
class Batch:
    """Which attempt at which work: `query` is the id in its checkpoint, `number` what Spark counts batches by."""

    query: str
    number: int


@dataclass(frozen=True)
class Kept:
    """Rows that one batch added to its table and to the quarantine."""

    rows: int
    quarantined: int


Keep = Callable[[DataFrame, Batch], Kept]


def archive_events(
    records: DataFrame, vertical: Vertical, workspace: Workspace, connection: Connection | None, settings: Settings
) -> StreamingQuery:
    """Start archiving a stream of Kafka records of events; without a connection there is no dead-letter topic."""
    def keep(batch_records: DataFrame, batch: Batch) -> Kept:
        return keep_events(batch_records, batch, vertical, workspace, connection, settings.future_tolerance)

    return _start(records, "events", vertical, workspace, settings, keep)


def archive_labels(
    records: DataFrame, vertical: Vertical, workspace: Workspace, connection: Connection | None, settings: Settings
) -> StreamingQuery:
    """Start archiving a stream of Kafka records of labels."""
    def keep(batch_records: DataFrame, batch: Batch) -> Kept:
        return keep_labels(batch_records, batch, workspace)

    return _start(records, "labels", vertical, workspace, settings, keep)


def archive_alerts(
    records: DataFrame, vertical: Vertical, workspace: Workspace, connection: Connection | None, settings: Settings
) -> StreamingQuery:
    """Start archiving a stream of Kafka records of alerts."""
    def keep(batch_records: DataFrame, batch: Batch) -> Kept:
        return keep_alerts(batch_records, batch, workspace)

    return _start(records, "alerts", vertical, workspace, settings, keep)


def keep_events(
    records: DataFrame, batch: Batch, vertical: Vertical, workspace: Workspace, connection: Connection | None = None,
    future_tolerance: int = contract.FUTURE_TOLERANCE_SECONDS,
) -> Kept:
    """Put one batch of Kafka records into `events` and `quarantine`, and the latter's into the dead-letter topic."""
    parsed = contract.parse(records, vertical, future_tolerance).withColumn(PARTITION, F.to_date(vertical.event_time))
    with _persisted(parsed), _persisted(_split(parsed, vertical, workspace)) as split:
        counts = {row.is_valid: row["count"] for row in split.groupBy(F.isnull("reason").alias("is_valid")).count().collect()}
        valid, rejected = counts.get(True, 0), counts.get(False, 0)
        kept = 0
        if valid:
            rows = split.where("reason is null").select(*events_schema(vertical).names)
            kept = _append(rows, valid, workspace.table("events"), batch)
        if not rejected:
            return Kept(kept, 0)
        quarantined = to_quarantine(split.where("reason is not null"))
        added = _append(quarantined, rejected, workspace.table("quarantine"), batch)
        if connection:
            options = {"topic": topic_names(vertical).dead_letter, **connection.spark_options()}
            to_dead_letters(quarantined).write.format("kafka").options(**options).save()
        return Kept(kept, added)


def keep_labels(records: DataFrame, batch: Batch, workspace: Workspace) -> Kept:
    """Put one batch of Kafka records into `labels`; one whose event has a label already adds nothing."""
    path = workspace.table("labels")
    with _persisted(parse_json(records, LABELS_SCHEMA, ("event_id", "event_time", "known_time"))) as parsed:
        stored = tables.read(records.sparkSession, path, columns=["event_id"])
        labels = parsed.where("reason is null").dropDuplicates(["event_id"])
        known = stored.join(F.broadcast(labels.select("event_id")), "event_id", "left_semi")
        new = labels.join(known, "event_id", "left_anti").select(*LABELS_SCHEMA.names)
        return Kept(tables.append(new.coalesce(1), path, batch.query, batch.number), _quarantine(parsed, workspace, batch))


def keep_alerts(records: DataFrame, batch: Batch, workspace: Workspace) -> Kept:
    """Put one batch of Kafka records into `alerts`: one row per alert id, its newest update."""
    with _persisted(parse_json(records, ALERT_SCHEMA, ("alert_id", "event_time"))) as parsed:
        alerts = parsed.where("reason is null").withColumns(
            {"alert_time": F.col("timestamp"), PARTITION: F.to_date("event_time")}).select(*ALERTS_SCHEMA.names)
        rows = tables.upsert(alerts, workspace.table("alerts"), ["alert_id"], "kafka_offset", batch.query, batch.number)
        return Kept(rows, _quarantine(parsed, workspace, batch))


def _split(parsed: DataFrame, vertical: Vertical, workspace: Workspace) -> DataFrame:
    """Parsed records less those stored by an earlier attempt; duplicates have their reason."""
    spark = parsed.sparkSession
    valid = parsed.where("reason is null")
    days = [row[0] for row in valid.select(PARTITION).distinct().collect()]
    stored = tables.read(spark, workspace.table("events"), days, [vertical.event_id, *PLACE])
    return without_duplicates(valid, stored, vertical.event_id).unionByName(parsed.where("reason is not null"))


def _append(rows: DataFrame, count: int, path: str, batch: Batch) -> int:
    return tables.append(rows.coalesce(1 + count // ROWS_PER_FILE), path, batch.query, batch.number)


def _quarantine(parsed: DataFrame, workspace: Workspace, batch: Batch) -> int:
    rejected = to_quarantine(parsed.where("reason is not null").withColumnRenamed("timestamp", "ingest_time"))
    count = rejected.count()
    return _append(rejected, count, workspace.table("quarantine"), batch) if count else 0


def _start(
    records: DataFrame, name: str, vertical: Vertical, workspace: Workspace, settings: Settings, keep: Keep
) -> StreamingQuery:
    def run(batch_records: DataFrame, number: int) -> None:
        spark = batch_records.sparkSession
        # The id in the checkpoint: a name would make a query with a new checkpoint pass for one that was here before.
        batch = Batch(spark.sparkContext.getLocalProperty("sql.streaming.queryId") or "", number)
        kept = keep(batch_records, batch)
        LOG.info("archive of %s, batch %d: %d kept, %d quarantined", name, number, kept.rows, kept.quarantined)
        if number % UPKEEP_BATCHES == UPKEEP_BATCHES - 1:
            for table in (name, "quarantine"):
                tables.maintain(workspace.table(table), retention_hours=settings.vacuum_hours)

    return (
        records.writeStream.queryName(f"{vertical.name}.archive-{name}").foreachBatch(run)
        .option("checkpointLocation", workspace.checkpoint(f"archive-{name}"))
        .trigger(processingTime=f"{settings.archive_interval} seconds").start()
    )


@contextmanager
def _persisted(frame: DataFrame) -> Iterator[DataFrame]:
    frame.persist()
    try:
        yield frame
    finally:
        frame.unpersist()
