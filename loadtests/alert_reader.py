"""Alerts and labels as they come, read by a thread of the system's, so that no busy event loop delays a measurement."""

import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime

import orjson
from gevent import get_hub

from common.kafka.connection import Connection
from common.kafka.reader import arrived, from_ends
from common.kafka.topics import TopicNames

WAITING = 500_000  # records that may wait to be counted; beyond that the oldest are dropped, and counted as such


@dataclass(frozen=True)
class Alert:
    """One alert or update: at: when it came; latency: milliseconds from its newest event's Kafka timestamp until then."""

    alert_id: str
    rule: str
    event: str
    at: float
    came_in: float

    @property
    def latency(self) -> float:
        return (self.at - self.came_in) * 1_000


@dataclass(frozen=True)
class Label:
    event_id: str
    scenario: str
    case_id: str


class Watch:
    """Reads both topics from their present ends until `stop`.

    dropped: records for which there was no room; unreadable: records that are none of ours. Neither is counted.
    """

    def __init__(self, connection: Connection, topics: TopicNames) -> None:
        self.dropped = self.unreadable = 0
        self._topics = topics
        self._came: deque[Alert | Label] = deque()
        self._stopping = False
        self._consumer = from_ends(connection, topics.alerts, topics.labels, group="load-watch")
        self._thread = get_hub().threadpool.spawn(self._read)

    def take(self) -> list[Alert | Label]:
        """What has come since the last call, in order."""
        return [self._came.popleft() for _ in range(len(self._came))]

    def stop(self) -> None:
        self._stopping = True
        self._thread.get()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stopping:
            for message in arrived(self._consumer, timeout=0.1):
                if message.error() is None:
                    try:
                        self._keep(message.topic(), orjson.loads(message.value()))
                    except (ValueError, TypeError, KeyError, OverflowError):
                        self.unreadable += 1

    def _keep(self, topic: str, found: dict) -> None:
        if len(self._came) >= WAITING:
            self._came.popleft()
            self.dropped += 1
        if topic == self._topics.labels:
            self._came.append(Label(found["event_id"], found["scenario"], found["case_id"]))
        else:
            came_in = datetime.fromisoformat(found["ingest_time"]).timestamp()
            self._came.append(Alert(found["alert_id"], found["rule"], found["event"], time.time(), came_in))
