"""Latency of the archive: from an event's time in Kafka to the commit by which a reader of the table sees its row."""

import time
from collections.abc import Iterator

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from common import tables
from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.monitoring.alert_watch import percentiles
from common.replay.pacing import at_rate, send_paced
from common.simulation.messages import Messages, split
from common.streaming.archiving import archiving
from common.workspace import Workspace
from loadtests.bench.latency import Latency
from loadtests.process_memory import PeakMemory


def measure_archive(
    spark: SparkSession, deployment: Deployment, messages: list[Messages], rate: float, warm_up: float, seconds: float
) -> Latency:
    """At `rate` messages a second, the first second's until they are archived, then `warm_up` and then `seconds` long."""
    opening, following = split(messages, round(rate))
    events = topic_names(deployment.vertical).events
    into = Workspace(deployment.settings.data / f"archived-{time.time_ns()}", deployment.vertical.name)

    def send(chunk: Messages, first: int, last: int) -> None:
        for row in range(first, last):
            producer.send(events, chunk.keys[row], chunk.values[row])

    archive = archiving(spark, deployment.vertical, into, deployment.kafka, deployment.settings, from_end=True)
    with PeakMemory() as memory, archive as queries:
        with Producer(deployment.kafka, linger=0) as producer:
            send_paced(at_rate(opening, rate), send)
            producer.flush()
            queries.drain()
            began = time.time()
            send_paced(at_rate(following, rate), send, until=warm_up + seconds)
        queries.drain()
    border, warm_ups, after = began + warm_up, list[float](), list[float]()
    for came, milliseconds in latencies(into.table("events")):
        if came >= began:
            (warm_ups if came < border else after).append(milliseconds)
    return Latency(percentiles(warm_ups), percentiles(after), memory.mib)


def latencies(path: str) -> Iterator[tuple[float, float]]:
    """Of each row that was added to the table at `path`: when Kafka got it, epoch seconds, and milliseconds to its commit."""
    known: set[str] = set()
    for commit in sorted(tables.open_table(path).history(), key=lambda each: each["version"]):
        files = set(tables.files(path, version=commit["version"]))
        if commit["operation"] == "WRITE":  # what compaction writes was there before
            for file in files - known:
                for came in pq.ParquetFile(file).read(["ingest_time"]).column(0).to_numpy().astype("datetime64[us]"):
                    at = float(came.astype("int64")) / 1e6
                    yield at, commit["timestamp"] - at * 1000
        known |= files
