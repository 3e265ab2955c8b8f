"""Measures one engine: its alerts on a backlog with the time they take, and its latency at a steady rate."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from confluent_kafka.admin import AdminClient

from common.kafka.connection import Connection
from common.kafka.producers import Producer
from common.kafka.reader import consume_from_ends
from common.kafka.topics import create_topics
from common.monitoring.alert_watch import Percentiles, percentiles
from common.replay.pacing import end_schedule, schedule_at_rate, send_paced
from loadtests.bench.alert_arrivals import CatchUp, Patience, catch_up_of, time_arrivals
from loadtests.bench.peers.card_rules import VELOCITY, alert_id
from loadtests.bench.peers.engine_process import Engine, RunningEngine, running_engine
from loadtests.bench.peers.reference import EVERY_EVENT, CardJob, Differences, compare_ids, running_totals
from loadtests.bench.peers.transactions import Transactions
from loadtests.bench.round_trip import background_receiver, send_rows
from loadtests.bench.steady_load import SteadyLoad

ALERT_ID = re.compile(rb'^\{\s*"alert_id"\s*:\s*"([0-9a-f]{32})"')
START_SECONDS = 300.0  # to an engine's first alert; some 20 on a quiet machine
EXTRA_ALERT_SECONDS = 3.0  # in which alerts that nobody expected may still come
PATIENCE = Patience(before_first=START_SECONDS, while_missing=90.0, after_last=EXTRA_ALERT_SECONDS)


@dataclass(frozen=True)
class Site:
    """Where engines meet: a broker, a folder for their state and logs, and how their work is laid out."""

    connection: Connection
    folder: Path
    partitions: int
    checkpoint_seconds: int

    def script_job(self, job: CardJob, events: str, alerts: str, low_latency: bool) -> dict[str, Any]:
        """The argument of an engine's script: the job's numbers, the topics of events and alerts, and the layout."""
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
class Backlog:
    """A topic full of so many events, and the ids of the alerts that have to be raised for them."""

    topic: str
    events: int
    expected_ids: set[str]


@dataclass(frozen=True)
class EngineCatchUp:
    """speed: from the start of the engine's process. updates: all alerts that came, an alert's repetitions included."""

    speed: CatchUp
    updates: int
    differences: Differences


def send_all(site: Site, topic: str, transactions: Transactions) -> None:
    """Sends the transactions as fast as they go into the topic, keyed by card."""
    with Producer(site.connection, linger=0.02) as producer:
        producer.send_many(topic, transactions.messages.keys.tolist(), transactions.messages.values.tolist())


def measure_catch_up(site: Site, engine: Engine, job: CardJob, backlog: Backlog, name: str) -> EngineCatchUp:
    """Start the engine at the beginning of the backlog's topic, and time it to the last expected alert."""
    alerts = site.new_topic(f"peers.{name}")
    script_job = site.script_job(job, backlog.topic, alerts, low_latency=False)
    with consume_from_ends(site.connection, alerts, group="bench") as consumer:
        started_at = time.monotonic()
        with running_engine(engine, script_job, site.folder / name) as process:
            arrivals, updates = time_arrivals(
                consumer, _read_id, backlog.expected_ids, PATIENCE, started_at, process.raise_if_ended
            )
    speed = catch_up_of(backlog.events, arrivals, backlog.expected_ids)
    return EngineCatchUp(speed, updates, compare_ids(backlog.expected_ids, set(arrivals)))


def _read_id(value: bytes) -> str | None:
    alert = ALERT_ID.match(value)
    return alert[1].decode() if alert else None


@dataclass(frozen=True)
class EngineLatency:
    """Milliseconds from send to its alert, after the warm-up; sent_count: events of that time; answered_share: of these."""

    percentiles: Percentiles
    sent_count: int

    @property
    def answered_share(self) -> float:
        return self.percentiles.count / self.sent_count if self.sent_count else 0.0


def measure_latency(
    site: Site, engine: Engine, job: CardJob, transactions: Transactions, load: SteadyLoad, name: str
) -> EngineLatency:
    """Send at the load's rate, from the engine's first alert on, with thresholds that raise an alert for every event."""
    job = replace(job, thresholds=EVERY_EVENT)
    events, alerts = site.new_topic(f"peers.{name}-events"), site.new_topic(f"peers.{name}")
    ledger, messages = CardLedger(transactions, job), transactions.messages
    script_job = site.script_job(job, events, alerts, low_latency=True)
    with (
        consume_from_ends(site.connection, alerts, group="bench") as consumer,
        running_engine(engine, script_job, site.folder / name) as process,
        background_receiver(consumer, ledger),
    ):
        with Producer(site.connection, linger=0) as producer:
            send = partial(send_rows, producer, events, ledger, messages)
            probes = _send_until_first_alert(send, ledger, process)
            started_at = time.monotonic()
            load_messages = messages.take(np.arange(probes, len(transactions)))
            send_paced(
                end_schedule(schedule_at_rate([load_messages], load.rate), load.total_seconds),
                lambda _, first_row, end_row: send(first_row + probes, end_row + probes),
            )
        time.sleep(EXTRA_ALERT_SECONDS)
        process.raise_if_ended()
    return ledger.summary(started_at + load.warm_up_seconds)


class CardLedger:
    """When each event was sent, and when the alert that counts it came.

    An event is identified by its window's alert and its number within the window; an alert with a count answers for all events
    up to it. latencies: when an event was sent, and milliseconds from then to its alert.
    """

    def __init__(self, transactions: Transactions, job: CardJob) -> None:
        totals = running_totals(transactions.columns, job)
        windows = zip(totals["card_id"], totals["start"], strict=True)
        self._alert_ids = [alert_id(VELOCITY, card, start) for card, start in windows]
        self._numbers = totals["count"].tolist()
        self._unanswered_events: dict[str, deque[tuple[int, float]]] = defaultdict(deque)
        self._sent_times: list[float] = []
        self.latencies: list[tuple[float, float]] = []

    def note_sent(self, row: int, value: bytes, now: float) -> None:
        self._unanswered_events[self._alert_ids[row]].append((self._numbers[row], now))
        self._sent_times.append(now)

    def note_received(self, value: bytes, now: float) -> None:
        alert = orjson.loads(value)
        self.note_alert(alert["alert_id"], round(alert["score"]), now)

    def note_alert(self, name: str, count: int, now: float) -> None:
        unanswered_events = self._unanswered_events.get(name)
        while unanswered_events and unanswered_events[0][0] <= count:
            sent_at = unanswered_events.popleft()[1]
            self.latencies.append((sent_at, (now - sent_at) * 1000))

    def summary(self, warm_up_end: float) -> EngineLatency:
        """Of the events sent from `warm_up_end` on."""
        latencies = [milliseconds for sent_at, milliseconds in self.latencies if sent_at >= warm_up_end]
        return EngineLatency(percentiles(latencies), sum(sent_at >= warm_up_end for sent_at in self._sent_times))


def _send_until_first_alert(send: Callable[[int, int], None], ledger: CardLedger, process: RunningEngine) -> int:
    """One event a second until an alert comes; returns how many that took."""
    deadline, row = time.monotonic() + START_SECONDS, 0
    while not ledger.latencies and time.monotonic() < deadline:
        process.raise_if_ended()
        send(row, row + 1)
        row += 1
        time.sleep(1)
    return row
