"""Which topic a checkpoint's offsets are of: noted beside it, and compared before a query goes on from it."""

import logging
from collections.abc import Mapping, Sequence
from shlex import quote

from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession

from common.ingestion.connection import Connection
from common.ingestion.same_topic import Topic, TopicChanged, topic_now
from common.processing.state import read_note, write_note

LOG = logging.getLogger(__name__)

FILE = "source-topic.json"


def check_topics(
    spark: SparkSession, admin: AdminClient, connection: Connection, checkpoints: Mapping[str, Sequence[str]]
) -> list[Topic]:
    """The topics, by name with the checkpoints of the queries that read them, as they are now: noted where they were not yet.

    Raises TopicChanged where a checkpoint is of another topic, which says what to do, and BrokerError.
    """
    topics, others = [topic_now(admin, connection, name) for name in checkpoints], list[str]()
    why = ""
    for topic in topics:
        for checkpoint in checkpoints[topic.name]:
            before = _noted(spark, checkpoint)
            if before and (different := topic.other_than(before)):
                why = different
                others.append(checkpoint)
            elif before and topic.partitions > before.partitions:
                LOG.warning("topic %s has %d partitions, and had %d: the new ones are read from their beginning",
                            topic.name, topic.partitions, before.partitions)
    if others:
        raise TopicChanged(
            f"{why} since it was last read here, so that offsets of the one say nothing of the other. To go on with the one that "
            f"is there now, from its beginning, remove {' and '.join(map(quote, others))}: tables stay, and no record is added "
            "twice. What the one before held and was not read yet is not there any more"
        )
    for topic in topics:
        for checkpoint in checkpoints[topic.name]:
            if _noted(spark, checkpoint) != topic:
                write_note(spark, checkpoint, FILE, topic.to_json())
    return topics


def _noted(spark: SparkSession, checkpoint: str) -> Topic | None:
    note = read_note(spark, checkpoint, FILE)
    return Topic.from_json(note) if note else None
