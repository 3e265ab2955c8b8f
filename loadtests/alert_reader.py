"""Reads alerts and labels as they arrive, in a thread of the operating system, so that a busy event loop delays no measurement.

`common.monitoring.alert_watch` reads alerts only, with a cooldown for screens and in a thread that gevent makes a greenlet.
"""

import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from gevent import get_hub

from common.kafka.connection import Connection
from common.kafka.reader import consume_from_ends, poll_batch
from common.kafka.topics import TopicNames

MAX_BUFFERED_RECORDS = 500_000  # that may wait to be counted; beyond that the oldest are dropped, and counted as dropped


@dataclass(frozen=True)
class Alert:
    """One alert or update of one. arrival_time: when it came; ingest_time: of its newest event, by Kafka; epoch seconds.

    event: the id, or a JSON array of the ids, of the events behind it.
    """

    alert_id: str
    rule: str
    event: str
    arrival_time: float
    ingest_time: float

    @property
    def latency_ms(self) -> float:
        return (self.arrival_time - self.ingest_time) * 1_000


@dataclass(frozen=True)
class Label:
    """One labelled event: which scenario it belongs to, and which case of it."""

    event_id: str
    scenario: str
    case_id: str


class AlertAndLabelReader:
    """Reads the topics of alerts and labels from their present ends until `stop`.

    dropped_records: those for which there was no room. unreadable_records: those that are neither an alert nor a label. Neither
    are counted in precision and recall.
    """

    def __init__(self, connection: Connection, topics: TopicNames) -> None:
        self.dropped_records = self.unreadable_records = 0
        self._topics = topics
        self._buffer: deque[Alert | Label] = deque()
        self._is_stopping = False
        self._consumer = consume_from_ends(connection, topics.alerts, topics.labels, group="load-watch")
        self._thread = get_hub().threadpool.spawn(self._read)

    def take(self) -> list[Alert | Label]:
        """Empties the buffer: what has come since the last call, in order."""
        return [self._buffer.popleft() for _ in range(len(self._buffer))]

    def stop(self) -> None:
        self._is_stopping = True
        self._thread.get()
        self._consumer.close()

    def _read(self) -> None:
        while not self._is_stopping:
            for message in poll_batch(self._consumer, timeout=0.1):
                if message.error() is None:
                    try:
                        self._append(message.topic(), orjson.loads(message.value()))
                    except (ValueError, TypeError, KeyError, OverflowError):
                        self.unreadable_records += 1

    def _append(self, topic: str, row: dict[str, Any]) -> None:
        if len(self._buffer) >= MAX_BUFFERED_RECORDS:
            self._buffer.popleft()
            self.dropped_records += 1
        if topic == self._topics.labels:
            self._buffer.append(Label(row["event_id"], row["scenario"], row["case_id"]))
        else:
            ingest_time = datetime.fromisoformat(row["ingest_time"]).timestamp()
            self._buffer.append(Alert(row["alert_id"], row["rule"], row["event"], time.time(), ingest_time))
