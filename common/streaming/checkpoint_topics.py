"""Notes beside a checkpoint which topic its offsets are of, and checks before a query resumes that the topic is still the same.

Which topics a vertical has read under one name, one after the other, is kept in table `topics`: rows of `events` and `alerts`
from before the newest of them was made have offsets of another.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import pyarrow.compute as pc
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import tables
from common.clock import now_after
from common.kafka.connection import Connection
from common.kafka.reader import read_first_timestamp
from common.kafka.topic_identity import Topic, TopicChanged, describe_topic
from common.streaming.state import read_note, write_note
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

NOTE_FILE = "source-topic.json"
TABLE = "topics"
# since: when the topic's first record came, of those that were there as it was noted; where there was none, when that was.
TOPICS_SCHEMA = T.StructType(
    [
        T.StructField("name", T.StringType()),
        T.StructField("cluster", T.StringType()),
        T.StructField("id", T.StringType()),
        T.StructField("partitions", T.IntegerType()),
        T.StructField("since", T.TimestampType()),
        T.StructField("noted_at", T.TimestampType()),
    ]
)


def check_topics(
    spark: SparkSession,
    admin: AdminClient,
    connection: Connection,
    workspace: Workspace,
    checkpoints: Mapping[str, Sequence[str]],
) -> list[Topic]:
    """The topics, by name with the checkpoints of the queries that read them, as they are now: noted where they were not yet.

    Raises TopicChanged where a checkpoint is of another topic, which says what to do, and BrokerError.
    """
    topics, foreign_checkpoints = [describe_topic(admin, connection, name) for name in checkpoints], list[str]()
    reason = ""
    for topic in topics:
        for checkpoint in checkpoints[topic.name]:
            noted_topic = _read_noted_topic(spark, checkpoint)
            if noted_topic and (difference := topic.difference_from(noted_topic)):
                reason = difference
                foreign_checkpoints.append(checkpoint)
            elif noted_topic and topic.partitions > noted_topic.partitions:
                LOG.warning(
                    "topic %s has %d partitions, and had %d: the new ones are read from their beginning",
                    topic.name,
                    topic.partitions,
                    noted_topic.partitions,
                )
    if foreign_checkpoints:
        paths = " and ".join(map(quote, foreign_checkpoints))
        raise TopicChanged(
            f"{reason} since it was last read here, so that offsets of the one say nothing of the other. To go on with the one "
            f"that is there now, from its beginning, remove {paths}: tables stay, and no record is added twice. What the one "
            "before held and was not read yet is not there any more"
        )
    for topic in topics:
        for checkpoint in checkpoints[topic.name]:
            if _read_noted_topic(spark, checkpoint) != topic:
                write_note(spark, checkpoint, NOTE_FILE, topic.to_json())
        _append_if_other(topic, workspace, connection)
    return topics


def of_present_topic(rows: DataFrame, workspace: Workspace, topic: str) -> DataFrame:
    """Of the rows of `events` or `alerts` those whose events came through the topic that has this name now.

    They are told by their ingest time, which is Kafka's time of the record; where two clusters' topics existed at the same time,
    a row of that time may be of either.
    """
    topics = _topics(workspace, topic)
    return rows.where(F.col("ingest_time") >= F.lit(topics[-1]["since"])) if _were_several(topics) else rows


def present_since(workspace: Workspace, topic: str) -> datetime | None:
    """When the topic that has this name now was first read here; None where there never was another of that name."""
    topics = _topics(workspace, topic)
    noted_at: datetime | None = topics[-1]["noted_at"] if _were_several(topics) else None
    return noted_at


def _append_if_other(topic: Topic, workspace: Workspace, connection: Connection) -> None:
    """Appends the topic to table `topics`, unless it is the newest there already."""
    if not _is_other(topic, _topics(workspace, topic.name)):
        return
    since = datetime.now(UTC)  # before the topic is read: what comes meanwhile is of this topic
    first_milliseconds = read_first_timestamp(connection, topic.name)
    if first_milliseconds is not None:
        # A producer's own timestamp may be of any year, also of one that Python has no time for.
        since = datetime.fromtimestamp(min(max(0.0, first_milliseconds / 1_000), since.timestamp()), UTC)
    tables.ensure_table(workspace.table(TABLE), TOPICS_SCHEMA)

    def row(table: DeltaTable) -> dict[str, Any]:
        topics = _topics_in(table, topic.name)
        if not _is_other(topic, topics):
            raise _NotedMeanwhile
        return asdict(topic) | {"since": since, "noted_at": now_after(topics[-1]["noted_at"] if topics else None)}

    with suppress(_NotedMeanwhile):
        tables.append_row_after(row, TOPICS_SCHEMA, workspace.table(TABLE))


class _NotedMeanwhile(Exception):
    """Another command that starts now has noted the topic."""


def _is_other(topic: Topic, topics: list[dict[str, Any]]) -> bool:
    return not topics or bool(topic.difference_from(Topic(**{name: topics[-1][name] for name in asdict(topic)})))


def _were_several(topics: list[dict[str, Any]]) -> bool:
    return len({(row["cluster"], row["id"]) for row in topics}) > 1


def _topics(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """The topics that had this name, in the order in which they were noted."""
    path = workspace.table(TABLE)
    return _topics_in(tables.open_table(path), name) if tables.table_exists(path) else []


def _topics_in(table: DeltaTable, name: str) -> list[dict[str, Any]]:
    rows = table.to_pyarrow_table(filters=pc.field("name") == name).to_pylist()
    return sorted(rows, key=lambda row: row["noted_at"])


def _read_noted_topic(spark: SparkSession, checkpoint: str) -> Topic | None:
    note = read_note(spark, checkpoint, NOTE_FILE)
    return Topic.from_json(note) if note else None
