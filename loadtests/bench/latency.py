"""Measures latency from the producer's send to the receipt of the alert, of all events that the query's first rule scores."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import orjson
from pyspark.sql import SparkSession

from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.reader import consume_from_ends
from common.kafka.topics import topic_names, topic_of
from common.monitoring.alert_watch import Percentiles, percentiles
from common.published.live_thresholds import live_settings
from common.published.reference_data import live_reference_data
from common.replay.pacing import end_schedule, schedule_at_rate, send_paced
from common.simulation.messages import Messages, split_messages
from common.streaming.queries import QueryInputs, read_topic, start_query
from common.vertical import Query, Vertical
from loadtests.bench.output_records import read_newest_event, with_lowest_threshold
from loadtests.bench.round_trip import background_receiver, send_rows
from loadtests.bench.steady_load import SteadyLoad
from loadtests.process_memory import PeakMemory

START_SECONDS = 30.0  # a query whose first alert takes longer has at least read its events by then
QUIET_SECONDS = 10.0  # a window's alert names its newest event, so that some events never have one
MAX_WAIT_SECONDS = 60.0  # after the last event
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Latency:
    """Percentiles during the warm-up and after it; peak_mib: of all processes, broker and Spark included."""

    warm_up: Percentiles
    after: Percentiles
    peak_mib: float


class EventLedger:
    """When each event was sent, and how long its alert took. latencies: when an event was sent, and milliseconds from then."""

    def __init__(self, vertical: Vertical, query: Query) -> None:
        self.latencies: list[tuple[float, float]] = []
        self._vertical, self._query = vertical, query
        self._sent_at: dict[str, float] = {}

    def note_sent(self, row: int, value: bytes, now: float) -> None:
        self._sent_at[orjson.loads(value)[self._vertical.event_id]] = now

    def note_received(self, value: bytes, now: float) -> None:
        # The first alert takes an id out: a window names its newest event again when an older one comes late.
        sent_at = self._sent_at.pop(read_newest_event(self._vertical, self._query, value), None)
        if sent_at is not None:
            self.latencies.append((sent_at, (now - sent_at) * 1000))

    @property
    def is_complete(self) -> bool:
        """Whether every event that was sent has its alert."""
        return not self._sent_at

    @property
    def last_arrival(self) -> float:
        """When the last alert came; 0 before the first."""
        sent_at, milliseconds = self.latencies[-1] if self.latencies else (0.0, 0.0)
        return sent_at + milliseconds / 1000


def measure_latency(
    spark: SparkSession, deployment: Deployment, query: Query, messages: list[Messages], load: SteadyLoad
) -> Latency:
    """Measures a query's latency at a steady rate. One second's messages start the query first and are not measured."""
    vertical, kafka = deployment.vertical, deployment.kafka
    events = topic_names(vertical).events
    start_up_messages, load_messages = split_messages(messages, round(load.rate))
    rules = live_settings(spark, vertical, deployment.tables, with_lowest_threshold(deployment.rules, query))
    ledger = EventLedger(vertical, query)
    with consume_from_ends(kafka, topic_of(vertical, query), group="bench") as consumer, PeakMemory() as memory:
        records = read_topic(spark, kafka, events, from_end=True)
        data = live_reference_data(spark, deployment.tables, vertical)
        checkpoint = deployment.workspace.checkpoint(f"latency-{query.name}-{time.time_ns()}")
        inputs = QueryInputs(data, rules, checkpoint, deployment.settings.checkpoint_interval)
        running_query = start_query(records, deployment, query, inputs)
        try:
            with background_receiver(consumer, ledger):
                with Producer(kafka, linger=0) as producer:
                    send = partial(send_rows, producer, events, ledger)
                    send_paced(schedule_at_rate(start_up_messages, load.rate), send)
                    _wait_until(lambda: bool(ledger.latencies), START_SECONDS)
                    started_at = time.monotonic()
                    send_paced(end_schedule(schedule_at_rate(load_messages, load.rate), load.total_seconds), send)
                last_sent_at = time.monotonic()
                _wait_until(
                    lambda: ledger.is_complete or time.monotonic() - max(last_sent_at, ledger.last_arrival) > QUIET_SECONDS,
                    MAX_WAIT_SECONDS,
                )
        finally:
            running_query.streaming.stop()
    warm_up_end = started_at + load.warm_up_seconds
    return Latency(
        percentiles([latency for sent_at, latency in ledger.latencies if started_at <= sent_at < warm_up_end]),
        percentiles([latency for sent_at, latency in ledger.latencies if sent_at >= warm_up_end]),
        memory.mib,
    )


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Returns when the condition holds, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
