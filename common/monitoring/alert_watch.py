"""Watches an alerts topic as a subscriber does: reads alerts when they appear, counts them by rule, measures their latency."""

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
from common.kafka.reader import TRANSIENT_ERRORS, consume_from_ends, poll_batch, read_new_partitions
from common.monitoring.cooldown import Cooldown
from common.printable import make_printable

LOG = logging.getLogger(__name__)

MAX_NEWEST = 8  # alerts on a screen
TEXT_FIELDS = ("alert_id", "rule", "entity_id", "severity", "event_time", "ingest_time", "reasons")  # that screens show
MAX_UNPRINTED = 1_000  # alerts that wait to be printed
MAX_LATENCIES = 200_000
PARTITION_CHECK_SECONDS = 10.0  # between checks for partitions that were added to the topic
MAX_IDS = 200_000  # of alerts; one that is updated after so many others counts a second time


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds from the event's Kafka timestamp to the alert's arrival at a subscriber; None before the first."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


@dataclass
class AlertTally:
    """What has arrived since the watch began.

    updates: records, several of which may be one alert as its window fills; alerts: different ones by rule; earlier: alerts
    whose newest event had come in before the watch began. A query that starts again makes up for these or raises them again,
    so they are neither in `alerts` nor timed. unreadable: records that are no alert of ours; newest: alerts for a screen;
    unprinted: the same, for a caller that prints each once and removes it; latencies: (time.time() of arrival, milliseconds).
    """

    updates: int = 0
    earlier: int = 0
    unreadable: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    newest: deque[dict] = field(default_factory=lambda: deque(maxlen=MAX_NEWEST))
    unprinted: deque[dict] = field(default_factory=lambda: deque(maxlen=MAX_UNPRINTED))
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_LATENCIES))


class AlertWatch:
    """A thread that reads an alerts topic from now on; use as a context manager, around what raises alerts.

    cooldown: seconds in which `tally.newest` gets an entity's further alerts of a rule only if they rise in severity; all of
    them are counted.
    """

    def __init__(self, connection: Connection, topic: str, cooldown: float = 0.0) -> None:
        self.tally = AlertTally()
        self.cooldown = Cooldown(cooldown)
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._stop = threading.Event()
        self._started_at = int(time.time() * 1000) / 1000  # in whole milliseconds, as Kafka's timestamps are
        self._consumer = consume_from_ends(connection, topic, group="watch")
        self._topic = topic
        self._logged_errors: set[str] = set()
        self._thread = threading.Thread(target=self._read, name="alert-watch", daemon=True)

    def __enter__(self) -> "AlertWatch":
        self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def latency(self, since: float = 0.0, until: float = float("inf")) -> Percentiles:
        """The latency of the updates that arrived between two moments of `time.time()`."""
        return percentiles([latency for arrival, latency in list(self.tally.latencies) if since <= arrival < until])

    def _read(self) -> None:
        partitions_checked_at = time.monotonic()
        while not self._stop.is_set():
            messages = poll_batch(self._consumer, timeout=0.1)
            for message in messages:
                if message.error() is None:
                    self._count(message.value(), time.time())
            errors = [message.error() for message in messages]
            if time.monotonic() - partitions_checked_at > PARTITION_CHECK_SECONDS:
                errors.append(read_new_partitions(self._consumer, self._topic, timeout=2.0))
                partitions_checked_at = time.monotonic()
            self._log_errors([error for error in errors if error is not None and error.code() not in TRANSIENT_ERRORS])

    def _log_errors(self, errors: list[KafkaError]) -> None:
        """Logs each kind of error once: the tally lacks the alerts that cannot be read."""
        for problem in {error.str() for error in errors} - self._logged_errors:
            LOG.warning("alerts on topic %s are not seen here: %s", self._topic, problem)
            self._logged_errors.add(problem)

    def _count(self, value: bytes | None, arrived_at: float) -> None:
        """Adds a record that arrived at `arrived_at` (time.time()) to the tally."""
        try:
            alert, ingested_at = _read_alert(value)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            self.tally.unreadable += 1
            return
        self.tally.updates += 1
        if self._add_id(alert["alert_id"]):
            if ingested_at < self._started_at:
                self.tally.earlier += 1
            else:
                self.tally.alerts[alert["rule"]] += 1
        if self.cooldown.lets_through(alert["entity_id"], alert["rule"], alert["severity"], time.monotonic()):
            self.tally.newest.append(alert)
            self.tally.unprinted.append(alert)
        if ingested_at >= self._started_at:
            self.tally.latencies.append((arrived_at, (arrived_at - ingested_at) * 1000))

    def _add_id(self, alert_id: str) -> bool:
        """Whether the alert is new; remembers its id."""
        if alert_id in self._ids:
            return False
        self._ids[alert_id] = None
        if len(self._ids) > MAX_IDS:
            self._ids.popitem(last=False)
        return True


def _read_alert(value: bytes | None) -> tuple[dict[str, Any], float]:
    """An alert, and when its newest event came in. Raises for any other record: those who write to a topic may write anything."""
    alert = json.loads(value or b"null")
    if not all(isinstance(alert[name], str) for name in TEXT_FIELDS):
        raise TypeError(f"not all text: {', '.join(TEXT_FIELDS)}")
    alert |= {name: make_printable(alert[name]) for name in TEXT_FIELDS}
    return alert, datetime.fromisoformat(alert["ingest_time"]).timestamp()


def percentiles(milliseconds: list[float]) -> Percentiles:
    """Of latencies in milliseconds."""
    if not milliseconds:
        return Percentiles(None, None, None, 0)
    ordered = sorted(milliseconds)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] for fraction in (0.5, 0.95, 0.99))
    return Percentiles(p50, p95, p99, len(ordered))
