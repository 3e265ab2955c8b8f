"""Locust users that send a vertical's own synthetic events, fed by its generator."""

import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import gevent
from confluent_kafka import KafkaException, Message, Producer
from locust import User, constant_throughput, task

from common.commands.context import existing_broker, population_of, read_settings
from common.ingestion.topics import ensure_topics, topic_names
from common.vertical import find_vertical

START, DAYS = date(2020, 2, 15), 3650
POLL_SECONDS = 0.005
BUFFERED_RECORDS = 20_000


class KafkaUser(User):
    """Sends one event a task to Kafka and reports the time until the broker has acknowledged it (acks=all).

    The producer's own threads do the sending; a greenlet serves its delivery reports, so that nothing blocks the
    event loop. A full buffer is a failure that is reported, not a wait. Set `vertical_name` in a subclass.
    """

    abstract = True
    vertical_name = ""
    wait_time = constant_throughput(100)

    def on_start(self) -> None:
        vertical = find_vertical(self.vertical_name)
        connection = existing_broker(read_settings(servers=self.host or None))
        ensure_topics(connection, vertical)
        self._topic = topic_names(vertical).events
        self._producer = Producer({
            **connection.client_options(), "acks": "all", "enable.idempotence": True, "linger.ms": 1,
            "queue.buffering.max.messages": BUFFERED_RECORDS, "partitioner": "murmur2_random",
        })
        self._messages = self._events(vertical)
        self._polling = gevent.spawn(self._poll)

    def on_stop(self) -> None:
        while len(self._producer):
            self._producer.poll(0)
            gevent.sleep(POLL_SECONDS)
        self._polling.kill()

    @task
    def send(self) -> None:
        key, value = next(self._messages)
        sent = time.perf_counter()

        def delivered(error: Any, message: Message) -> None:
            failure = KafkaException(error) if error else None
            self._report((time.perf_counter() - sent) * 1_000, len(value), failure)

        try:
            self._producer.produce(self._topic, value, key, on_delivery=delivered)
        except BufferError as full:
            self._report(0.0, len(value), full)

    def _events(self, vertical: Any) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order of arrival; another seed for each user, so that no two send the same events."""
        seed = 1_000 + id(self) % 1_000_000
        for chunk in vertical.generate(seed, START, DAYS, population_of(vertical), True):
            yield from zip(chunk.messages.keys, chunk.messages.values, strict=True)

    def _poll(self) -> None:
        while True:
            self._producer.poll(0)
            gevent.sleep(POLL_SECONDS)

    def _report(self, milliseconds: float, size: int, failure: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="kafka",
            name=self._topic,
            response_time=milliseconds,
            response_length=size,
            exception=failure,
            context={},
        )
