"""Finds the day up to which a topic holds the simulation, so that another load test goes on behind it."""

import time
from datetime import date, datetime, timedelta

import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition

from common.kafka.connection import GROUP_PREFIX, Connection
from common.kafka.topics import end_offsets, topic_names
from common.vertical import Vertical

WAIT_SECONDS = 10.0
NEWEST_RECORDS = 100  # of a partition that are looked at: the last may be a tombstone, or none of ours
MAX_LATENESS = timedelta(days=3)  # of events, by which a day may still be written to after it has ended


def read_next_day(connection: Connection, vertical: Vertical) -> date | None:
    """The first day to which no event on the topic belongs, by the newest labels; None while there is none.

    To simulate the same days again would send the same ids again, and the running queries would take all of them as late.
    """
    topic = topic_names(vertical).labels
    newest_records = [
        TopicPartition(topic, partition, max(0, end - NEWEST_RECORDS))
        for partition, end in end_offsets(connection, topic).items() if end
    ]  # fmt: skip
    newest_days: dict[int, date] = {}
    ended_partitions: set[int] = set()
    options = {"group.id": f"{GROUP_PREFIX}load-start", "enable.auto.commit": False, "auto.offset.reset": "earliest",
               "enable.partition.eof": True}  # fmt: skip
    consumer = Consumer({**connection.client_options(), **options})
    try:
        consumer.assign(newest_records)
        deadline = time.monotonic() + WAIT_SECONDS
        while len(ended_partitions) < len(newest_records) and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            error, partition = message.error(), message.partition()
            if error is not None and error.code() == KafkaError._PARTITION_EOF and partition is not None:
                ended_partitions.add(partition)
            elif error is None and partition is not None and (day := _label_day(message.value())):
                newest_days[partition] = day
    finally:
        consumer.close()
    return max(newest_days.values()) + MAX_LATENESS if newest_days else None


def _label_day(value: bytes | None) -> date | None:
    """The day of a label's event; None for a record that is no label, as a tombstone."""
    try:
        return datetime.fromisoformat(orjson.loads(value or b"")["event_time"]).date()
    except (ValueError, TypeError, KeyError):
        return None
