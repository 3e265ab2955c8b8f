"""Latency: from the producer's send to the subscriber's receipt of the alert, of all that the query's first rule scores."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import orjson
from confluent_kafka import Consumer
from pyspark.sql import SparkSession

from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.reader import arrived, from_ends
from common.kafka.topics import topic_names, topic_of
from common.monitoring.alert_watch import Percentiles, percentiles
from common.published.live_thresholds import live_settings
from common.published.reference_data import live
from common.replay.pacing import at_rate, send_paced
from common.simulation.messages import Messages, split
from common.streaming.queries import read_topic, start_query
from common.vertical import Query
from loadtests.bench.output_records import eager, newest_event
from loadtests.process_memory import PeakMemory

START_SECONDS = 30.0    # a query whose first alert takes longer has at least read its events by then
QUIET_SECONDS = 10.0    # a window's alert names its newest event, so that some events never have one
LONGEST_SECONDS = 60.0  # after the last event
LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Latency:
    """During the warm-up and after it; peak_mib: of all processes, broker and Spark included."""

    warm_up: Percentiles
    after: Percentiles
    peak_mib: float


def measure_latency(
    spark: SparkSession, deployment: Deployment, query: Query, messages: list[Messages], rate: float, warm_up: float, seconds: float
) -> Latency:
    """At `rate` messages a second, the first second's until the query has started, then `warm_up` and then `seconds` long."""
    sent, latencies = dict[str, float](), list[tuple[float, float]]()
    events = topic_names(deployment.vertical).events
    opening, following = split(messages, round(rate))
    every = live_settings(spark, deployment.vertical, deployment.tables, eager(deployment.rules, query))
    stop = threading.Event()
    with from_ends(deployment.kafka, topic_of(deployment.vertical, query), group="bench") as consumer, PeakMemory() as memory:
        records = read_topic(spark, deployment.kafka, events, from_end=True)
        learnt = live(spark, deployment.tables, deployment.vertical)
        checkpoint = deployment.workspace.checkpoint(f"latency-{query.name}-{time.time_ns()}")
        running = start_query(records, deployment.vertical, query, learnt, every, deployment.kafka, checkpoint, deployment.settings)
        speaks_of = partial(newest_event, deployment.vertical, query)
        subscriber = threading.Thread(target=_subscribe, args=(consumer, speaks_of, sent, latencies, stop), daemon=True)
        subscriber.start()
        try:
            with Producer(deployment.kafka, linger=0) as producer:
                send = partial(_send, deployment, producer, events, sent)
                send_paced(at_rate(opening, rate), send)
                _wait(lambda: bool(latencies), START_SECONDS)
                began = time.time()
                send_paced(at_rate(following, rate), send, until=warm_up + seconds)
            finished = time.time()
            _wait(lambda: not sent or time.time() - max(finished, _newest(latencies)) > QUIET_SECONDS, LONGEST_SECONDS)
        finally:
            stop.set()
            subscriber.join()
            running.streaming.stop()
    border = began + warm_up
    return Latency(
        percentiles([latency for at, latency in latencies if began <= at < border]),
        percentiles([latency for at, latency in latencies if at >= border]),
        memory.mib,
    )


def _wait(until: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)


def _newest(latencies: list[tuple[float, float]]) -> float:
    """When the last alert came, epoch seconds; 0 before the first."""
    at, milliseconds = latencies[-1] if latencies else (0.0, 0.0)
    return at + milliseconds / 1000


def _send(deployment: Deployment, producer: Producer, topic: str, sent: dict[str, float], chunk: Messages, first: int, last: int) -> None:
    for row in range(first, last):
        value = chunk.values[row]
        sent[orjson.loads(value)[deployment.vertical.event_id]] = time.time()
        producer.send(topic, chunk.keys[row], value)


def _subscribe(
    consumer: Consumer, speaks_of: Callable[[bytes], str], sent: dict[str, float], latencies: list[tuple[float, float]],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        for message in arrived(consumer, timeout=0.1):
            now = time.time()
            if message.error() is not None:
                continue
            # An id is taken out with its first alert: a window names its newest event again when an older one comes late.
            began = sent.pop(speaks_of(message.value()), None)
            if began is not None:
                latencies.append((began, (now - began) * 1000))
