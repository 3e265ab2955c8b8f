"""Measurements of one engine: its alerts on a backlog with the time they take, and its latency at a steady rate."""

import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from common.kafka.connection import Connection
from common.kafka.producers import Producer
from common.kafka.reader import arrived, from_ends
from common.kafka.topics import create_topics
from common.monitoring.alert_watch import Percentiles, percentiles
from common.replay.pacing import at_rate, send_paced
from common.simulation.messages import Messages
from loadtests.bench.peers.card_rules import VELOCITY, alert_id
from loadtests.bench.peers.engine_process import Ready, Work, running
from loadtests.bench.peers.reference import EVERY_EVENT, CardJob, Differences, differences, so_far
from loadtests.bench.peers.transactions import Transactions
from loadtests.bench.results import steady_rate

ALERT_ID = re.compile(rb'^\{\s*"alert_id"\s*:\s*"([0-9a-f]{32})"')
LIMIT_SECONDS = 1_800.0  # for one engine over one backlog
QUIET_SECONDS = 90.0     # without a new alert after the first: what is missing then will not come
AFTER_SECONDS = 3.0      # in which alerts that nobody expected may still come
START_SECONDS = 300.0    # to an engine's first alert; some 20 on a quiet machine


@dataclass(frozen=True)
class Site:
    """Where engines meet: a broker, a folder for their state and logs, and how their work is laid out."""

    connection: Connection
    folder: Path
    partitions: int
    checkpoint_seconds: int

    def job(self, job: CardJob, events: str, alerts: str, low_latency: bool) -> dict[str, Any]:
        """What an engine's script is told."""
        return job.values() | {
            "servers": self.connection.bootstrap_servers,
            "events": events,
            "alerts": alerts,
            "partitions": self.partitions,
            "checkpoint_seconds": self.checkpoint_seconds,
            "low_latency": low_latency,
        }

    def new_topic(self, name: str) -> str:
        create_topics(AdminClient(self.connection.client_options()), self.connection, [name], self.partitions)
        return name


@dataclass(frozen=True)
class CaughtUp:
    """seconds: from the start of the engine's process to the last expected alert, NaN when some are missing; steady:
    `steady_rate`, None then; updates: all alerts that came, an alert's repetitions included.
    """

    events: int
    seconds: float
    steady: float | None
    updates: int
    differences: Differences

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def send_all(site: Site, topic: str, sent: Transactions) -> None:
    """As fast as they go into the topic, keyed by card."""
    with Producer(site.connection, linger=0.02) as producer:
        producer.send_many(topic, sent.messages.keys.tolist(), sent.messages.values.tolist())


def catch_up(site: Site, ready: Ready, job: CardJob, topic: str, events: int, expected: set[str], name: str) -> CaughtUp:
    """Start the engine at the beginning of `topic`, and time it to the last expected alert."""
    alerts = site.new_topic(f"peers.{name}")
    with from_ends(site.connection, alerts, group="bench") as consumer:
        began = time.monotonic()
        with running(ready, site.job(job, topic, alerts, False), site.folder / name) as work:
            first_seen, updates = _arrivals(consumer, work, expected, began)
    found = differences(expected, set(first_seen))
    times = [] if found.missing else sorted(first_seen[each] for each in expected)
    return CaughtUp(events, times[-1] if times else float("nan"), steady_rate(events, times), updates, found)


def _arrivals(consumer: Consumer, work: Work, expected: set[str], began: float) -> tuple[dict[str, float], int]:
    """Seconds from `began` at which each alert came first, and how many updates there were."""
    first_seen: dict[str, float] = {}
    waiting, updates, last = set(expected), 0, began
    while True:
        now = time.monotonic()
        patience = START_SECONDS if not first_seen else QUIET_SECONDS if waiting else AFTER_SECONDS
        if now - began > LIMIT_SECONDS or now - last > patience:
            return first_seen, updates
        work.check()
        messages = arrived(consumer, timeout=0.1, at_most=10_000)
        now = time.monotonic()
        for message in messages:
            alert = ALERT_ID.match(message.value() or b"") if message.error() is None else None
            if alert and (found := alert[1].decode()):
                updates += 1
                if first_seen.setdefault(found, now - began) == now - began:
                    last = now
                    waiting.discard(found)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from send to the alert's arrival, after the warm-up; sent: events of that time; answered: those alerted."""

    percentiles: Percentiles
    sent: int

    @property
    def answered(self) -> float:
        return self.percentiles.count / self.sent if self.sent else 0.0


def latency(
    site: Site, ready: Ready, job: CardJob, sent: Transactions, rate: float, warm_up: float, seconds: float, name: str
) -> Latency:
    """An alert for every event, at `rate` events per second: after the engine's first alert `warm_up` seconds, then `seconds`."""
    every = replace(job, thresholds=EVERY_EVENT)
    events, alerts = site.new_topic(f"peers.{name}-events"), site.new_topic(f"peers.{name}")
    ledger = Ledger(sent, every)
    stop = threading.Event()
    told = site.job(every, events, alerts, True)
    with from_ends(site.connection, alerts, group="bench") as consumer, running(ready, told, site.folder / name) as work:
        subscriber = threading.Thread(target=_subscribe, args=(consumer, ledger, stop), daemon=True)
        subscriber.start()
        try:
            with Producer(site.connection, linger=0) as producer:
                send = partial(_send, producer, events, ledger, sent.messages)
                probes = _until_first_alert(send, ledger, work)
                began = time.monotonic()
                rest = sent.messages.take(np.arange(probes, len(sent)))
                send_paced(
                    at_rate([rest], rate), lambda _, first, last: send(first + probes, last + probes), until=warm_up + seconds
                )
            time.sleep(AFTER_SECONDS)
            work.check()
        finally:
            stop.set()
            subscriber.join()
    return ledger.summary(began + warm_up)


class Ledger:
    """When each event was sent, and when the alert that counts it came.

    An event is known by its window's alert and its number within the window; an alert with a count answers for all up to it.
    """

    def __init__(self, sent: Transactions, job: CardJob) -> None:
        seen = so_far(sent.columns, job)
        self._names = [alert_id(VELOCITY, card, start) for card, start in zip(seen["card_id"], seen["start"], strict=True)]
        self._numbers = seen["count"].tolist()
        self._waiting: dict[str, deque[tuple[int, float]]] = defaultdict(deque)
        self._sent: list[float] = []
        self.answered: list[tuple[float, float]] = []

    def note_sent(self, row: int, now: float) -> None:
        self._waiting[self._names[row]].append((self._numbers[row], now))
        self._sent.append(now)

    def note_alert(self, name: str, count: int, now: float) -> None:
        waiting = self._waiting.get(name)
        while waiting and waiting[0][0] <= count:
            began = waiting.popleft()[1]
            self.answered.append((began, (now - began) * 1000))

    def summary(self, border: float) -> Latency:
        """Of the events sent after `border`."""
        return Latency(
            percentiles([passed for began, passed in self.answered if began >= border]), sum(now >= border for now in self._sent)
        )


def _send(producer: Producer, topic: str, ledger: Ledger, messages: Messages, first: int, last: int) -> None:
    for row in range(first, last):
        ledger.note_sent(row, time.monotonic())
        producer.send(topic, messages.keys[row], messages.values[row])


def _until_first_alert(send: Callable[[int, int], None], ledger: Ledger, work: Work) -> int:
    """One event a second until an alert comes; how many that took."""
    deadline, row = time.monotonic() + START_SECONDS, 0
    while not ledger.answered and time.monotonic() < deadline:
        work.check()
        send(row, row + 1)
        row += 1
        time.sleep(1)
    return row


def _subscribe(consumer: Consumer, ledger: Ledger, stop: threading.Event) -> None:
    while not stop.is_set():
        for message in arrived(consumer, timeout=0.1):
            now = time.monotonic()
            if message.error() is None and message.value():
                alert = orjson.loads(message.value())
                ledger.note_alert(alert["alert_id"], round(alert["score"]), now)
