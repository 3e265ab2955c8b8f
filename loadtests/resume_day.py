"""Where the simulation on a topic has come to, so that another load test goes on behind it."""

import time
from datetime import date, datetime, timedelta

import orjson
from confluent_kafka import Consumer, TopicPartition

from common.kafka.connection import GROUP_PREFIX, Connection
from common.kafka.topics import end_offsets, topic_names
from common.vertical import Vertical

WAIT_SECONDS = 10.0
STRAGGLERS = timedelta(days=3)  # by which events may be late


def next_day(connection: Connection, vertical: Vertical) -> date | None:
    """The first day that no event on the topic belongs to, by the newest labels; None while there is no label.

    The same days again would be the same ids again, and to the running queries all of them would be late.
    """
    topic = topic_names(vertical).labels
    places = [TopicPartition(topic, partition, end - 1) for partition, end in end_offsets(connection, topic).items() if end]
    newest: dict[int, date] = {}
    group = {"group.id": f"{GROUP_PREFIX}load-start", "enable.auto.commit": False}
    consumer = Consumer({**connection.client_options(), **group})
    try:
        consumer.assign(places)
        deadline = time.monotonic() + WAIT_SECONDS
        while len(newest) < len(places) and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                newest[message.partition()] = datetime.fromisoformat(orjson.loads(message.value())["event_time"]).date()
    finally:
        consumer.close()
    return max(newest.values()) + STRAGGLERS if newest else None
