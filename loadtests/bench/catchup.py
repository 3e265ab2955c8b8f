"""Catch-up: how fast a query works off a backlog, timed until every alert that batch finds in it has come."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import Consumer
from pyspark.sql import SparkSession

from common import contract
from common.deployment import Deployment
from common.kafka.reader import from_ends
from common.kafka.topics import topic_names, topic_of
from common.published.live_thresholds import live_settings
from common.published.reference_data import live, with_learnt
from common.streaming.queries import read_topic, start_query
from common.vertical import Query
from loadtests.bench.output_records import id_column, id_of
from loadtests.bench.results import steady_rate
from loadtests.process_memory import PeakMemory

QUIET_SECONDS = 20.0
LIMIT_SECONDS = 1800.0


@dataclass(frozen=True)
class CaughtUp:
    """events in `seconds` from the start of the query, its planning and JIT warm-up included; steady: `steady_rate`, None where
    an alert is missing. alerts of expected: 0 missing, or the figure does not count. held_mib: the most of all processes, by
    kind; files: that the query's checkpoint then has.
    """

    events: int
    seconds: float
    steady: float | None
    alerts: int
    expected: int
    held_mib: dict[str, float]
    files: int

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def catch_up(spark: SparkSession, deployment: Deployment, query: Query, events: int, expected: set[str]) -> CaughtUp:
    """Start `query` at the beginning of the events topic and time it to the last expected alert, or what else it finds."""
    with from_ends(deployment.kafka, topic_of(deployment.vertical, query), group="bench") as consumer, PeakMemory() as memory:
        records = read_topic(spark, deployment.kafka, topic_names(deployment.vertical).events)
        learnt = live(spark, deployment.tables, deployment.vertical)
        checkpoint = deployment.workspace.checkpoint(f"catch-up-{query.name}-{time.time_ns()}")
        started = time.monotonic()
        rules = live_settings(spark, deployment.vertical, deployment.tables, deployment.rules)
        running = start_query(records, deployment.vertical, query, learnt, rules, deployment.kafka, checkpoint, deployment.settings)
        try:
            arrivals = _arrivals(consumer, partial(id_of, deployment.vertical, query), expected, started)
        finally:
            running.streaming.stop()
    seconds = arrivals[-1] if arrivals else float("nan")
    files = sum(path.is_file() for path in Path(checkpoint).rglob("*"))
    steady = steady_rate(events, arrivals) if len(arrivals) == len(expected) else None
    return CaughtUp(events, seconds, steady, len(arrivals), len(expected), memory.by_kind, files)


def expected_alerts(spark: SparkSession, deployment: Deployment, query: Query) -> set[str]:
    """Ids of the alerts, or what else the query finds, in the topic as a table."""
    source = deployment.kafka.spark_source_options()
    options = {"subscribe": topic_names(deployment.vertical).events, "startingOffsets": "earliest", **source}
    records = spark.read.format("kafka").options(**options).load()
    learnt = live(spark, deployment.tables, deployment.vertical)
    events = with_learnt(
        contract.accepted(records, deployment.vertical).dropDuplicates([deployment.vertical.event_id]),
        learnt,
        deployment.vertical,
        query,
        deployment.rules,
    )
    found = query.build(events, deployment.rules).select(id_column(deployment.vertical, query)).toArrow()
    return set(found.column(0).to_pylist())


def _arrivals(consumer: Consumer, id_in: Callable[[bytes], str], expected: set[str], started: float) -> list[float]:
    """Seconds from `started` at which each expected alert came first, until all have or none comes any more."""
    waiting, arrivals = set(expected), list[float]()
    last = time.monotonic()
    while waiting and time.monotonic() - started < LIMIT_SECONDS and (not arrivals or time.monotonic() - last < QUIET_SECONDS):
        for message in consumer.consume(10_000, timeout=0.05):
            name = id_in(message.value()) if message.error() is None else ""
            if name in waiting:
                waiting.discard(name)
                last = time.monotonic()
                arrivals.append(last - started)
    return arrivals
