"""Redrive: quarantined events, repaired or not, go back through the front door, and what was tried is kept in table `redriven`.

Only what meets the contract now is sent; the rest stays where it is. A record that was sent once is not sent again: its
event is in `events`, or, if it was refused for another reason, in `quarantine` under its new place. A redrive that is
killed between sending and writing that down sends up to a batch again, which the archive then knows as duplicates.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from itertools import islice
from operator import and_
from typing import Any

from confluent_kafka import Message
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import contract, tables
from common.archive.archive_tables import PLACE, RECORD, ensure_tables
from common.archive.repairs import Fix, FixError, with_fixes
from common.deployment import Deployment
from common.kafka.connection import Connection
from common.kafka.producers import Producer, RecordsRefused
from common.kafka.topics import topic_names
from common.privacy.pseudonyms import decrypt, key_id
from common.vertical import Vertical
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

SENT, STILL_INVALID = "sent", "still invalid"
REFUSED = "refused by Kafka"  # mostly as too large, as a record may have come compressed: tried again at the next redrive
DUPLICATE = "duplicate"  # its event is in `events` already: driven only when asked for by name
ROWS_AT_ONCE = 1_000
RECORD_NUMBER = "redrive_number"  # of a record among those that are judged
MAX_NAMED_KEYS = 9  # of unknown keys, in a warning

# The quarantined record (`archive_tables.RECORD`); sent_partition and sent_offset are where it is on the topic now.
REDRIVEN_SCHEMA = T.StructType(
    [
        *PLACE,
        T.StructField("ingest_time", T.TimestampType()),
        T.StructField("reason", T.StringType()),
        T.StructField("fix", T.StringType()),
        T.StructField("status", T.StringType()),
        T.StructField("refused_as", T.StringType()),
        T.StructField("sent_partition", T.IntegerType()),
        T.StructField("sent_offset", T.LongType()),
        T.StructField("redriven_at", T.TimestampType()),
    ]
)


@dataclass
class Redrive:
    """Quarantined records by their reason: those sent (or that would be), those refused again, by (reason, new reason).

    What meets the contract, and Kafka does not take, has REFUSED for its new reason.
    """

    sent: Counter[str] = field(default_factory=Counter)
    still_invalid: Counter[tuple[str, str]] = field(default_factory=Counter)
    earlier: Counter[str] = field(default_factory=Counter)


def redrive(
    spark: SparkSession, deployment: Deployment, reasons: Sequence[str], fixes: Sequence[Fix], *, dry_run: bool = False
) -> Redrive:
    """Repair and send the quarantined events of these reasons (none: all but duplicates); with dry_run only count.

    Raises FixError.
    """
    vertical, workspace = deployment.vertical, deployment.workspace
    connection = None if dry_run else deployment.kafka
    ensure_tables(vertical, workspace)
    tables.ensure_table(workspace.table("redriven"), REDRIVEN_SCHEMA)
    result = Redrive()
    unsent = _unsent(spark, deployment, reasons, result)
    try:
        verdicts = _with_verdicts(unsent, deployment, fixes).persist()
        remaining = verdicts.toLocalIterator()
        while rows := list(islice(remaining, ROWS_AT_ONCE)):
            attempts = [_attempt(row) for row in rows]
            if connection:
                try:
                    _send(rows, attempts, vertical, connection)
                finally:  # cut short, too: what Kafka took is not sent again
                    done = [attempt for attempt in attempts if attempt["status"] != SENT or "sent_offset" in attempt]
                    _record(done, fixes, workspace)
            result.sent.update(attempt["reason"] for attempt in attempts if attempt["status"] == SENT)
            refused = (attempt for attempt in attempts if attempt["status"] != SENT)
            result.still_invalid.update((attempt["reason"], attempt["refused_as"] or attempt["status"]) for attempt in refused)
    except PySparkException as problem:
        # Not Spark's own message, which may show what a record holds.
        condition = problem.getCondition() or type(problem).__name__
        raise FixError(f"the records cannot be repaired or judged: Spark gave up ({condition})") from None
    return result


def _unsent(spark: SparkSession, deployment: Deployment, reasons: Sequence[str], result: Redrive) -> DataFrame:
    """Quarantined events of these reasons that were not sent before, in the clear."""
    vertical, workspace = deployment.vertical, deployment.workspace
    refused = tables.read(spark, workspace.table("quarantine")).where(F.col("topic") == topic_names(vertical).events)
    existing = sorted(row.reason for row in refused.select("reason").distinct().collect())
    missing = [reason for reason in reasons if reason not in existing]
    if missing:
        listed = ", ".join(existing) or "nothing at all"
        raise FixError(f"--reason {missing[0]}: nothing was quarantined for it; there is {listed}")
    chosen = refused.where(F.col("reason").isin(list(reasons)) if reasons else F.col("reason") != DUPLICATE)
    sent = tables.read(spark, workspace.table("redriven")).where(F.col("status") == SENT).select(*RECORD)
    before = _same_record(chosen, F.broadcast(sent.distinct()))
    sent_counts = chosen.join(*before, "left_semi").groupBy("reason").count().collect()
    result.earlier.update({row.reason: row["count"] for row in sent_counts})
    # Once each, also where a version before this one has kept a record twice.
    unsent = chosen.join(*before, "left_anti").dropDuplicates([*RECORD]).select("raw", "key", "reason", *RECORD)
    return _decrypted(unsent) if vertical.pseudonymised else unsent


def _decrypted(encrypted: DataFrame) -> DataFrame:
    """The records decrypted; those that no known key opens stay where they are, which is said."""
    clear = encrypted.withColumns({name: decrypt(F.col(name)) for name in ("raw", "key")} | {"_hidden": F.col("raw")})
    is_read = F.col("_hidden").isNull() | F.col("raw").isNotNull()
    unread = clear.where(~is_read).groupBy(F.lower(F.hex(key_id(F.col("_hidden")))).alias("id")).count()
    for row in unread.orderBy(F.desc("count"), "id").limit(MAX_NAMED_KEYS).collect():
        LOG.warning(
            "%d records stay in quarantine: no known key opens them, they name the key with id %s. Give former keys in "
            "HYBRID_PSEUDONYM_FORMER_KEYS",
            row["count"],
            row.id,
        )
    return clear.where(is_read).drop("_hidden")


def _same_record(rows: DataFrame, sent: DataFrame) -> tuple[DataFrame, Column]:
    """What to join with: versions before this one wrote no time down of what they sent, so that the place alone is known."""
    place = [rows[column.name] == sent[column.name] for column in PLACE]
    return sent, reduce(and_, place) & (sent["ingest_time"].isNull() | (rows["ingest_time"] == sent["ingest_time"]))


def _with_verdicts(quarantined: DataFrame, deployment: Deployment, fixes: Sequence[Fix]) -> DataFrame:
    """The records repaired: key, value, which record it was, reason, and `refused_as` where they still break the contract."""
    vertical, bounds = deployment.vertical, contract.TimeBounds.from_settings(deployment.settings)
    records = quarantined.select(
        F.col("raw").alias("value"),
        "key",
        "topic",
        F.col("kafka_partition").alias("partition"),
        F.col("kafka_offset").alias("offset"),
        F.current_timestamp().alias("timestamp"),
        "reason",
        "ingest_time",
        # Not the time itself: Python would have it in its own zone, and knows no year above 9999.
        F.unix_micros("ingest_time").alias("ingest_micros"),
        F.monotonically_increasing_id().alias(RECORD_NUMBER),
    )
    # Kept, so that what is judged is what is sent: a fix may make something up, such as an id. Counted, so that what fails
    # does so here and once; two stages that fail side by side are an error that says nothing of its cause.
    repaired = with_fixes(records, fixes, vertical).persist()
    repaired.count()
    # Judged under their numbers: two records may be of one place, where a topic was made anew.
    verdicts = contract.parse(repaired.withColumn("offset", F.col(RECORD_NUMBER)), vertical, bounds).select(
        F.col("kafka_offset").alias(RECORD_NUMBER), F.col("reason").alias("refused_as")
    )
    return repaired.join(verdicts, RECORD_NUMBER).orderBy("partition", "offset", "ingest_time")


def _send(rows: Sequence[Row], attempts: list[dict[str, Any]], vertical: Vertical, connection: Connection) -> None:
    """Send what is valid now; the row's attempt gets the place that Kafka gave it, or REFUSED."""
    valid = [(row, attempt) for row, attempt in zip(rows, attempts, strict=True) if attempt["status"] == SENT]
    try:
        with Producer(connection) as producer:
            for row, attempt in valid:
                key, value = (None if row[name] is None else bytes(row[name]) for name in ("key", "value"))
                producer.send(topic_names(vertical).events, key, value, on_delivery=_PlaceRecorder(attempt))
    except RecordsRefused as refused:
        LOG.warning("%s. They stay in quarantine", refused)
        for _, attempt in valid:
            if "sent_offset" not in attempt:
                attempt["status"] = REFUSED


def _attempt(row: Row) -> dict[str, Any]:
    """A row of table `redriven`, as it is before the record is sent."""
    return {
        "topic": row.topic,
        "kafka_partition": row.partition,
        "kafka_offset": row.offset,
        "ingest_time": row.ingest_micros,
        "reason": row.reason,
        "status": STILL_INVALID if row.refused_as else SENT,
        "refused_as": row.refused_as,
        "redriven_at": datetime.now(UTC),
    }


@dataclass(frozen=True)
class _PlaceRecorder:
    """Notes where Kafka put a record."""

    attempt: dict[str, Any]

    def __call__(self, message: Message) -> None:
        self.attempt.update(sent_partition=message.partition(), sent_offset=message.offset())


def _record(attempts: list[dict[str, Any]], fixes: Sequence[Fix], workspace: Workspace) -> None:
    rows = [attempt | {"fix": "; ".join(map(str, fixes)) or None} for attempt in attempts]
    tables.append_rows(rows, REDRIVEN_SCHEMA, workspace.table("redriven"))
