"""Puts Kafka records into the archive's Delta tables, each record once, batch by batch (`streaming.archiving` starts it).

It has three micro-batch queries. Events: the valid ones go to `events`, once per event id; the others, and later ones of the
same id, go to `quarantine` with their reason and raw bytes, and to the dead-letter topic. Labels go to `labels`, alerts
to `alerts`, where a newer update of an alert replaces the older one. Whatever is killed when, the tables end up the same:
every commit carries the query's id and the batch's number, and a batch that is tried again splits as it did before. A record
that is read again under a new checkpoint adds nothing (`archive_tables.RECORD`). The dead-letter topic alone is at-least-once:
what was sent there, but not committed before a kill, is sent again.

An event's identity is its id within the UTC day of its event time: that keeps the look at history to a few partitions.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from common import contract, tables
from common.alerts import ALERT_SCHEMA
from common.archive.archive_tables import (
    ALERTS_SCHEMA,
    HEADER_BYTES,
    LABELS_SCHEMA,
    MOST_BYTES,
    PARTITION,
    QUARANTINE_PARTITION,
    RECORD,
    events_schema,
    parse_json,
    to_dead_letters,
    to_quarantine,
)
from common.archive.duplicates import find_repetitions, without_duplicates, without_stored
from common.deployment import Deployment
from common.failures import cause_texts
from common.kafka.connection import Connection
from common.kafka.topic_settings import read_topic_settings
from common.kafka.topics import topic_names
from common.privacy.pseudonyms import entity_pseudonym
from common.vertical import Vertical

LOG = logging.getLogger(__name__)

ROWS_PER_FILE = 100_000
MAX_DAYS_A_COMMIT = 366  # each is a file at least
TOO_LARGE_ERRORS = ("RecordTooLargeException", "MESSAGE_TOO_LARGE")  # how Kafka says so
DAY_MICROSECONDS = 86_400_000_000
# Of two updates of one alert. Its event_time and its ingest_time are the highest of the events behind it.
NEWEST = tables.Recency(("event_time", "ingest_time"), partition="kafka_partition", offset="kafka_offset", time="alert_time")


@dataclass(frozen=True)
class Batch:
    """A micro-batch: `query` is the id in its checkpoint, `number` what Spark counts batches by.

    committed_until: the newest ingest_time in the tables before the query was started; None where it is not known. A record that
    came later cannot be in them: an earlier one may be, by an attempt at this batch that was cut short, by a query whose
    checkpoint was removed, or as the checkpoint was restored from an older copy than the tables.
    """

    query: str
    number: int
    committed_until: int | None = None  # epoch microseconds

    def is_later_than_all(self, ingest_time: int) -> bool:
        """Whether records from this time on cannot be in the tables yet."""
        return self.committed_until is not None and ingest_time > self.committed_until


@dataclass(frozen=True)
class AddedRows:
    """Rows that one batch added to its table and to the quarantine."""

    rows: int
    quarantined: int


@dataclass
class DeadLetters:
    """The topic of dead letters, and how many bytes a letter's key and value may have there."""

    topic: str
    connection: Connection
    most_bytes: int = MOST_BYTES

    @classmethod
    def for_vertical(cls, vertical: Vertical, connection: Connection) -> "DeadLetters":
        """Reads the topic's limit; where the topic does not exist or may not be read, assumes the limit of a new topic."""
        topic, most_bytes = topic_names(vertical).dead_letter, MOST_BYTES
        with suppress(KafkaException):
            topics = read_topic_settings(AdminClient(connection.client_options()), [topic])
            most_bytes = min([MOST_BYTES, *(max(0, settings.max_bytes - HEADER_BYTES) for settings in topics.values())])
        return cls(topic, connection, most_bytes)

    def send(self, quarantined: DataFrame) -> None:
        """Sends each at least once. Where Kafka refuses a letter as too large, letters go without key and value from then on."""
        try:
            self._send(quarantined)
        except (PySparkException, Py4JJavaError) as failure:
            is_too_large = any(error in text for text in cause_texts(failure) for error in TOO_LARGE_ERRORS)
            if not self.most_bytes or not is_too_large:
                raise
            LOG.warning("topic %s takes no dead letters of %d bytes: they go without key and value", self.topic, self.most_bytes)
            self.most_bytes = 0
            self._send(quarantined)

    def _send(self, quarantined: DataFrame) -> None:
        options = {"topic": self.topic, **self.connection.spark_options()}
        to_dead_letters(quarantined, self.most_bytes).write.format("kafka").options(**options).save()


KeepBatch = Callable[[DataFrame, Batch], AddedRows]


def archive_events(records: DataFrame, deployment: Deployment) -> StreamingQuery:
    """Start archiving a stream of Kafka records of events; without a connection there is no dead-letter topic."""
    vertical, connection = deployment.vertical, deployment.connection
    letters = DeadLetters.for_vertical(vertical, connection) if connection else None
    times = [tables.newest_time(deployment.workspace.table(name), "ingest_time") for name in ("events", "quarantine")]
    committed_until = None if None in times else max(time for time in times if time is not None)

    def keep(parsed: DataFrame, batch: Batch) -> AddedRows:
        return keep_events(parsed, replace(batch, committed_until=committed_until), deployment, letters)

    # Parsed as a stream: the contract's many expressions are planned once a batch, not once for each use of it.
    parsed = contract.parse(records, vertical, contract.TimeBounds.from_settings(deployment.settings))
    return _start(parsed, "events", deployment, keep)


def archive_labels(records: DataFrame, deployment: Deployment) -> StreamingQuery:
    """Start archiving a stream of Kafka records of labels."""

    def keep(batch_records: DataFrame, batch: Batch) -> AddedRows:
        return keep_labels(batch_records, batch, deployment)

    return _start(records, "labels", deployment, keep)


def archive_alerts(records: DataFrame, deployment: Deployment) -> StreamingQuery:
    """Start archiving a stream of Kafka records of alerts."""

    def keep(batch_records: DataFrame, batch: Batch) -> AddedRows:
        return keep_alerts(batch_records, batch, deployment)

    return _start(records, "alerts", deployment, keep)


def keep_events(parsed: DataFrame, batch: Batch, deployment: Deployment, letters: DeadLetters | None = None) -> AddedRows:
    """Put one batch of parsed records (`contract.parse`) into `events` or `quarantine`; the latter's are dead letters too."""
    vertical, workspace = deployment.vertical, deployment.workspace
    with _persisted(parsed.withColumn(PARTITION, F.to_date(vertical.event_time))) as received:
        is_valid = F.isnull("reason")
        # An event of another time is not stored, and Python has no day for it.
        is_storable = contract.is_storable(F.col(vertical.event_time))
        summary = _observe_aggregate(received, F.struct(
            F.collect_set(F.when(is_valid, F.col(PARTITION))).alias("days"),
            F.count_if(is_valid).alias("valid"),
            F.collect_set(F.when(~is_valid & is_storable, F.col(PARTITION))).alias("invalid_days"),
            F.collect_set(F.when(is_valid, F.to_date("ingest_time"))).alias("ingest_days"),
            F.min(F.unix_micros("ingest_time")).alias("oldest"),
        ))  # fmt: skip
        path, valid, invalid = workspace.table("events"), received.where("reason is null"), received.where("reason is not null")
        if summary["oldest"] is not None and not batch.is_later_than_all(summary["oldest"]):
            # It may have been judged by other settings then: what was put into one table is not to come into the other too.
            quarantine, spark = workspace.table("quarantine"), received.sparkSession
            valid = without_stored(valid, tables.read(spark, quarantine, _days_to_read(summary["ingest_days"]), RECORD))
            invalid = without_stored(invalid, tables.read(spark, path, _days_to_read(summary["invalid_days"]), RECORD))
        identity = [vertical.event_id, PARTITION, *RECORD]
        stored_events = tables.read(received.sparkSession, path, _days_to_read(summary["days"]), identity)
        with _persisted(find_repetitions(valid, stored_events, vertical.event_id)) as repetitions:
            new_records = without_duplicates(valid, repetitions, vertical.event_id)
            events = new_records.where("reason is null").select(*events_schema(vertical).names)
            event_count = _append(events, summary["valid"], PARTITION, summary["days"], path, batch)
            rejected = invalid.unionByName(new_records.where("reason is not null"))
            return AddedRows(event_count, _quarantine(rejected, deployment, batch, letters))


def keep_labels(records: DataFrame, batch: Batch, deployment: Deployment) -> AddedRows:
    """Put one batch of Kafka records into `labels`; one whose event has a label already adds nothing.

    As an event's, its identity is its id within the UTC day of its event time, so that only labels of these days are read.
    """
    vertical, path, time = deployment.vertical, deployment.workspace.table("labels"), F.unix_micros("event_time")
    label_records = parse_json(records, LABELS_SCHEMA, ("event_id", "event_time", "known_time"))
    label_records = label_records.withColumn("entity_id", entity_pseudonym(vertical, F.col("entity_id")))
    with _persisted(_with_protected_bytes(label_records, vertical)) as parsed:
        valid_time = F.when(F.isnull("reason"), time)
        time_range = F.struct(F.min(valid_time).alias("earliest"), F.max(valid_time).alias("latest"))
        earliest, latest = _observe_aggregate(parsed, time_range)
        if earliest is None:
            return AddedRows(0, _quarantine(_unreadable(parsed), deployment, batch))
        day = DAY_MICROSECONDS
        days = tables.TimeRange("event_time", earliest - earliest % day, latest - latest % day + day - 1)
        identity = ["event_id", "day"]
        stored_labels = tables.read(records.sparkSession, path, columns=["event_id", "event_time"], between=days)
        stored_labels = stored_labels.withColumn("day", F.to_date("event_time")).select(*identity)
        labels = parsed.where("reason is null").withColumn("day", F.to_date("event_time")).dropDuplicates(identity)
        common_ids = stored_labels.join(F.broadcast(labels.select(*identity)), identity, "left_semi")
        new_labels = labels.join(common_ids, identity, "left_anti").select(*LABELS_SCHEMA.names)
        label_count = _append_new(new_labels.coalesce(1), path, batch.query, batch)
        return AddedRows(label_count, _quarantine(_unreadable(parsed), deployment, batch))


def keep_alerts(records: DataFrame, batch: Batch, deployment: Deployment) -> AddedRows:
    """Put one batch of Kafka records into `alerts`: one row per alert id, its newest update."""
    alert_records = parse_json(records, ALERT_SCHEMA, ("alert_id", "event_time", "ingest_time"))
    with _persisted(_with_protected_bytes(alert_records, deployment.vertical)) as parsed:
        alerts = (
            parsed.where("reason is null")
            .withColumns(
                {"first_event_time": F.col("event_time"), "alert_time": F.col("timestamp"), PARTITION: F.to_date("event_time")}
            )
            .select(*ALERTS_SCHEMA.names)
        )
        path, earliest = deployment.workspace.table("alerts"), ["first_event_time"]
        # Without the batch's number: a batch that is merged again changes nothing, and one of that number may have held others.
        rows = tables.upsert(alerts, path, tables.MergeRule(["alert_id"], NEWEST, earliest))
        return AddedRows(rows, _quarantine(_unreadable(parsed), deployment, batch))


def _observe_aggregate(rows: DataFrame, aggregate: Column) -> Any:
    """The aggregate over all rows, in the one job that also fills their cache: no shuffle."""
    observation = Observation()
    rows.observe(observation, aggregate.alias("value")).write.format("noop").mode("overwrite").save()
    return observation.get["value"]


def _days_to_read(days: Collection[date]) -> Collection[date] | None:
    """The days to read of a table: None for all of them, where there are too many to look for one by one."""
    return days if len(days) <= MAX_DAYS_A_COMMIT else None


def _append(rows: DataFrame, count: int, partition: str, days: Collection[date], path: str, batch: Batch) -> int:
    """Add the rows, which are of these days: where they are very many, a commit for each year, each once like any batch."""
    if not count:
        return 0
    files = 1 + count // ROWS_PER_FILE
    if len(days) <= MAX_DAYS_A_COMMIT:
        return _append_new(rows.coalesce(files), path, batch.query, batch)
    return sum(
        _append_new(rows.where(F.year(partition) == year).coalesce(files), path, f"{batch.query}-{year}", batch)
        for year in sorted({day.year for day in days})
    )


def _append_new(rows: DataFrame, path: str, query: str, batch: Batch) -> int:
    """Add the rows, whose records are not in the table.

    The log may have a batch of this number that held other rows: an attempt that was cut short and judged by other settings, or
    one of before the checkpoint was restored from an older copy. The rows are then committed under a further name. It is chosen
    before anything is written: a commit that was made and whose answer was lost is this one's own.
    """
    name, name_number = query, 1
    while tables.is_committed(tables.open_table(path), name, batch.number):
        name_number += 1
        name = f"{query}-{name_number}"
    return tables.append(rows, path, name, batch.number)


def _with_protected_bytes(parsed: DataFrame, vertical: Vertical) -> DataFrame:
    """Labels or alerts (`parse_json`) with the raw bytes of unreadable ones alone, encrypted where the vertical has pseudonyms.

    Call it before they are persisted or shuffled: Spark's own files on the disk must not name a person.
    """
    raw = {name: F.when(F.col("reason").isNotNull(), F.col(name)) for name in ("raw", "key")}
    if vertical.pseudonymised:
        raw = {name: contract.encrypt_record_part(value, name) for name, value in raw.items()}
    return parsed.withColumns(raw)


def _unreadable(parsed: DataFrame) -> DataFrame:
    """The labels or alerts that could not be read."""
    return parsed.where("reason is not null").withColumn("ingest_time", F.col("timestamp"))


def _quarantine(rejected: DataFrame, deployment: Deployment, batch: Batch, letters: DeadLetters | None = None) -> int:
    """Send the rows that are new to the dead-letter topic, if there is one, then append them to `quarantine`. Their number."""
    path = deployment.workspace.table("quarantine")
    with _persisted(to_quarantine(rejected)) as quarantined:
        days = _observe_aggregate(quarantined, F.collect_set(QUARANTINE_PARTITION))
        if not days:
            return 0
        stored_records = tables.read(quarantined.sparkSession, path, _days_to_read(days), RECORD)
        with _persisted(without_stored(quarantined, stored_records)) as new_rows:
            count = new_rows.count()
            if letters and count:  # before the commit, after which they are not new any more
                letters.send(new_rows)
            return _append(new_rows, count, QUARANTINE_PARTITION, days, path, batch)


def _start(records: DataFrame, name: str, deployment: Deployment, keep: KeepBatch) -> StreamingQuery:
    def keep_batch(batch_records: DataFrame, number: int) -> None:
        added_rows = keep(batch_records, Batch(tables.query_id(batch_records), number))
        LOG.info("archive of %s, batch %d: %d kept, %d quarantined", name, number, added_rows.rows, added_rows.quarantined)

    return (
        records.writeStream.queryName(f"{deployment.vertical.name}.archive-{name}")
        .foreachBatch(keep_batch)
        .option("checkpointLocation", deployment.workspace.checkpoint(f"archive-{name}"))
        .trigger(processingTime=f"{deployment.settings.archive_interval} seconds")
        .start()
    )


@contextmanager
def _persisted(frame: DataFrame) -> Iterator[DataFrame]:
    frame.persist()
    try:
        yield frame
    finally:
        frame.unpersist()
