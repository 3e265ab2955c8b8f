"""Finds the day up to which a topic holds the simulation, so that another load test goes on behind it."""

import time
from datetime import date, datetime, timedelta

import orjson
from confluent_kafka import Consumer, TopicPartition

from common.kafka.connection import GROUP_PREFIX, Connection
from common.kafka.topics import end_offsets, topic_names
from common.vertical import Vertical

WAIT_SECONDS = 10.0
MAX_LATENESS = timedelta(days=3)  # of events, by which a day may still be written to after it has ended


def read_next_day(connection: Connection, vertical: Vertical) -> date | None:
    """The first day to which no event on the topic belongs, by the newest labels; None while there is no label.

    To simulate the same days again would send the same ids again, and the running queries would take all of them as late.
    """
    topic = topic_names(vertical).labels
    newest_labels = [
        TopicPartition(topic, partition, end - 1) for partition, end in end_offsets(connection, topic).items() if end
    ]
    newest_days: dict[int, date] = {}
    group = {"group.id": f"{GROUP_PREFIX}load-start", "enable.auto.commit": False}
    consumer = Consumer({**connection.client_options(), **group})
    try:
        consumer.assign(newest_labels)
        deadline = time.monotonic() + WAIT_SECONDS
        while len(newest_days) < len(newest_labels) and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                event_time = datetime.fromisoformat(orjson.loads(message.value())["event_time"])
                newest_days[message.partition()] = event_time.date()
    finally:
        consumer.close()
    return max(newest_days.values()) + MAX_LATENESS if newest_days else None
