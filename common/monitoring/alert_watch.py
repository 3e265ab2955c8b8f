"""Alerts as a subscriber sees them: read from Kafka the moment they appear, counted by rule, their latency measured."""

import json
import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError

from common.kafka.connection import Connection
from common.kafka.reader import PASSING, arrived, from_ends, read_new_partitions
from common.monitoring.cooldown import Cooldown
from common.monitoring.printable import printable

LOG = logging.getLogger(__name__)

NEWEST = 8
TEXTS = ("alert_id", "rule", "entity_id", "severity", "event_time", "ingest_time", "reasons")  # what screens show of an alert
UNTOLD = 1_000
LATENCIES = 200_000
PARTITIONS_SECONDS = 10.0  # between looks for partitions that the topic was given since
REMEMBERED = 200_000  # alert ids; one whose window still fills after so many others counts a second time


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds from the event's Kafka timestamp to the alert's arrival at a subscriber; None before the first."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


@dataclass
class Seen:
    """What has come since the watch began.

    updates: records, several of which may be one alert as its window fills; alerts: different ones by rule; earlier: alerts
    whose newest event had come in before, which a query that starts again makes up for or raises a second time: they are
    neither in `alerts` nor timed; unreadable: records that are no alert of ours. newest: to be shown; untold: the same, for
    whoever prints each once and takes it away.
    """

    updates: int = 0
    earlier: int = 0
    unreadable: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    newest: deque[dict] = field(default_factory=lambda: deque(maxlen=NEWEST))
    untold: deque[dict] = field(default_factory=lambda: deque(maxlen=UNTOLD))
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=LATENCIES))


class AlertWatch:
    """A thread that reads what comes to an alerts topic from now on; use as a context manager, around what raises alerts.

    cooldown: seconds in which `newest` has an entity's alerts of one rule only as they rise; all of them are counted.
    """

    def __init__(self, connection: Connection, topic: str, cooldown: float = 0.0) -> None:
        self.seen = Seen()
        self.cooldown = Cooldown(cooldown)
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._stop = threading.Event()
        self._since = int(time.time() * 1000) / 1000  # in whole milliseconds, as Kafka's timestamps are
        self._consumer = from_ends(connection, topic, group="watch")
        self._topic = topic
        self._told: set[str] = set()  # of what Kafka says is wrong with the topic
        self._thread = threading.Thread(target=self._read, name="alert-watch", daemon=True)

    def __enter__(self) -> "AlertWatch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def latency(self, since: float = 0.0, until: float = float("inf")) -> Percentiles:
        """Of the updates that arrived between two `time.time()`."""
        return percentiles([value for at, value in list(self.seen.latencies) if since <= at < until])

    def _read(self) -> None:
        looked = time.monotonic()
        while not self._stop.is_set():
            messages = arrived(self._consumer, timeout=0.1)
            for message in messages:
                if message.error() is None:
                    self._take(message.value(), time.time())
            errors = [message.error() for message in messages]
            if time.monotonic() - looked > PARTITIONS_SECONDS:
                errors.append(read_new_partitions(self._consumer, self._topic, timeout=2.0))
                looked = time.monotonic()
            self._tell([error for error in errors if error is not None and error.code() not in PASSING])

    def _tell(self, errors: list[KafkaError]) -> None:
        """Each kind once: what is counted lacks the alerts that cannot be read."""
        for why in {error.str() for error in errors} - self._told:
            LOG.warning("alerts on topic %s are not seen here: %s", self._topic, why)
            self._told.add(why)

    def _take(self, value: bytes | None, now: float) -> None:
        try:
            alert, came = _read(value)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            self.seen.unreadable += 1
            return
        self.seen.updates += 1
        if self._is_new(alert["alert_id"]):
            if came < self._since:
                self.seen.earlier += 1
            else:
                self.seen.alerts[alert["rule"]] += 1
        if self.cooldown.lets_through(alert["entity_id"], alert["rule"], alert["severity"], time.monotonic()):
            self.seen.newest.append(alert)
            self.seen.untold.append(alert)
        if came >= self._since:
            self.seen.latencies.append((now, (now - came) * 1000))

    def _is_new(self, alert_id: str) -> bool:
        if alert_id in self._ids:
            return False
        self._ids[alert_id] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        return True


def _read(value: bytes | None) -> tuple[dict[str, Any], float]:
    """An alert, and when its newest event came in. Raises for any other record: who may write to a topic may write anything."""
    alert = json.loads(value or b"null")
    if not all(isinstance(alert[name], str) for name in TEXTS):
        raise TypeError(f"not all text: {', '.join(TEXTS)}")
    alert |= {name: printable(alert[name]) for name in TEXTS}
    return alert, datetime.fromisoformat(alert["ingest_time"]).timestamp()


def percentiles(milliseconds: list[float]) -> Percentiles:
    if not milliseconds:
        return Percentiles(None, None, None, 0)
    ordered = sorted(milliseconds)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99))
    return Percentiles(p50, p95, p99, len(ordered))
