"""Repairs quarantined events and sends them to the events topic again; table `redriven` keeps what was sent and what was not.

A record is sent if it meets the contract now; the others stay in quarantine. A record that was sent once is not sent again: its
event is in `events`, or, if it was rejected for another reason, in `quarantine` under its new place. A redrive that is killed
between sending and writing to `redriven` sends up to ROWS_AT_ONCE records again, which the archive then takes for duplicates.
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
from common.archive.archive_tables import PLACE_FIELDS, RECORD, ensure_tables
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
        *PLACE_FIELDS,
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
    """Counts of quarantined records by their reason.

    sent: those sent, or that would be sent. still_invalid: those rejected again, by (reason, new reason); REFUSED is the new
    reason of one that meets the contract and that Kafka refuses. earlier: those that an earlier redrive sent.
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
        while records := list(islice(remaining, ROWS_AT_ONCE)):
            rows = [_redrive_row(record) for record in records]
            if connection:
                try:
                    _send(records, rows, vertical, connection)
                finally:  # cut short, too: what Kafka took is not sent again
                    settled_rows = [row for row in rows if row["status"] != SENT or "sent_offset" in row]
                    _append_redrive_rows(settled_rows, fixes, workspace)
            result.sent.update(row["reason"] for row in rows if row["status"] == SENT)
            rejected_rows = (row for row in rows if row["status"] != SENT)
            result.still_invalid.update((row["reason"], row["refused_as"] or row["status"]) for row in rejected_rows)
    except PySparkException as problem:
        # Not Spark's own message, which may show what a record holds.
        condition = problem.getCondition() or type(problem).__name__
        raise FixError(f"the records cannot be repaired or judged: Spark gave up ({condition})") from None
    return result


def _unsent(spark: SparkSession, deployment: Deployment, reasons: Sequence[str], result: Redrive) -> DataFrame:
    """Quarantined events of these reasons that were not sent before, in the clear."""
    vertical, workspace = deployment.vertical, deployment.workspace
    quarantined = tables.read(spark, workspace.table("quarantine")).where(F.col("topic") == topic_names(vertical).events)
    present_reasons = sorted(row.reason for row in quarantined.select("reason").distinct().collect())
    absent_reasons = [reason for reason in reasons if reason not in present_reasons]
    if absent_reasons:
        reasons_text = ", ".join(present_reasons) or "nothing at all"
        raise FixError(f"--reason {absent_reasons[0]}: nothing was quarantined for it; there is {reasons_text}")
    candidates = quarantined.where(F.col("reason").isin(list(reasons)) if reasons else F.col("reason") != DUPLICATE)
    sent_records = tables.read(spark, workspace.table("redriven")).where(F.col("status") == SENT).select(*RECORD)
    sent_join = _join_on_record(candidates, F.broadcast(sent_records.distinct()))
    sent_counts = candidates.join(*sent_join, "left_semi").groupBy("reason").count().collect()
    result.earlier.update({row.reason: row["count"] for row in sent_counts})
    # Once each, also where a version before this one has kept a record twice.
    unsent = candidates.join(*sent_join, "left_anti").dropDuplicates([*RECORD]).select("raw", "key", "reason", *RECORD)
    return _decrypt_records(unsent) if vertical.pseudonymised else unsent


def _decrypt_records(records: DataFrame) -> DataFrame:
    """The records decrypted; those that no known key opens are left out, and the log names their keys' ids."""
    clear = records.withColumns({name: decrypt(F.col(name)) for name in ("raw", "key")} | {"_encrypted": F.col("raw")})
    is_decrypted = F.col("_encrypted").isNull() | F.col("raw").isNotNull()
    key_counts = clear.where(~is_decrypted).groupBy(F.lower(F.hex(key_id(F.col("_encrypted")))).alias("id")).count()
    for row in key_counts.orderBy(F.desc("count"), "id").limit(MAX_NAMED_KEYS).collect():
        LOG.warning(
            "%d records stay in quarantine: no known key opens them, they name the key with id %s. Give former keys in "
            "HYBRID_PSEUDONYM_FORMER_KEYS",
            row["count"],
            row.id,
        )
    return clear.where(is_decrypted).drop("_encrypted")


def _join_on_record(rows: DataFrame, sent_records: DataFrame) -> tuple[DataFrame, Column]:
    """The frame and the condition of a join with the same records.

    Versions before this one wrote no ingest time into `redriven`: of their records the place alone is compared.
    """
    are_equal = [rows[column.name] == sent_records[column.name] for column in PLACE_FIELDS]
    has_same_time = sent_records["ingest_time"].isNull() | (rows["ingest_time"] == sent_records["ingest_time"])
    return sent_records, reduce(and_, are_equal) & has_same_time


def _with_verdicts(quarantined: DataFrame, deployment: Deployment, fixes: Sequence[Fix]) -> DataFrame:
    """The records repaired: key, value, RECORD, reason, and in `refused_as` why they still break the contract."""
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


def _send(records: Sequence[Row], rows: list[dict[str, Any]], vertical: Vertical, connection: Connection) -> None:
    """Send the valid records; the row of each gets the place that Kafka gave the record, or the status REFUSED."""
    pairs = [(record, row) for record, row in zip(records, rows, strict=True) if row["status"] == SENT]
    try:
        with Producer(connection) as producer:
            for record, row in pairs:
                key, value = (None if record[name] is None else bytes(record[name]) for name in ("key", "value"))
                producer.send(topic_names(vertical).events, key, value, on_delivery=_PlaceRecorder(row))
    except RecordsRefused as problem:
        LOG.warning("%s. They stay in quarantine", problem)
        for _, row in pairs:
            if "sent_offset" not in row:
                row["status"] = REFUSED


def _redrive_row(record: Row) -> dict[str, Any]:
    """The row of `redriven` for a record about to be sent."""
    return {
        "topic": record.topic,
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
        "ingest_time": record.ingest_micros,
        "reason": record.reason,
        "status": STILL_INVALID if record.refused_as else SENT,
        "refused_as": record.refused_as,
        "redriven_at": datetime.now(UTC),
    }


@dataclass(frozen=True)
class _PlaceRecorder:
    """Notes in a row of `redriven` where Kafka put the record."""

    redrive_row: dict[str, Any]

    def __call__(self, message: Message) -> None:
        self.redrive_row.update(sent_partition=message.partition(), sent_offset=message.offset())


def _append_redrive_rows(rows: list[dict[str, Any]], fixes: Sequence[Fix], workspace: Workspace) -> None:
    fix_text = "; ".join(map(str, fixes)) or None
    tables.append_rows([row | {"fix": fix_text} for row in rows], REDRIVEN_SCHEMA, workspace.table("redriven"))
