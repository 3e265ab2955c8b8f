"""Measures the archive's latency: from an event's time in Kafka to the commit by which a reader of the table sees its row."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from common import tables
from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.monitoring.alert_watch import percentiles
from common.replay.pacing import end_schedule, schedule_at_rate, send_paced
from common.simulation.messages import Messages, split_messages
from common.streaming.archiving import run_archiving
from common.workspace import Workspace
from loadtests.bench.latency import Latency
from loadtests.bench.steady_load import SteadyLoad
from loadtests.process_memory import PeakMemory


def measure_archive_latency(spark: SparkSession, deployment: Deployment, messages: list[Messages], load: SteadyLoad) -> Latency:
    """Measures archive latency at a steady rate. One second's messages are archived first and not measured."""
    start_up_messages, load_messages = split_messages(messages, round(load.rate))
    events = topic_names(deployment.vertical).events
    workspace = Workspace(deployment.settings.data / f"archived-{time.time_ns()}", deployment.vertical.name)

    def send(chunk: Messages, first_row: int, end_row: int) -> None:
        for row in range(first_row, end_row):
            producer.send(events, chunk.keys[row], chunk.values[row])

    archive = run_archiving(spark, replace(deployment, workspace=workspace), from_end=True)
    with PeakMemory() as memory, archive as queries:
        with Producer(deployment.kafka, linger=0) as producer:
            send_paced(schedule_at_rate(start_up_messages, load.rate), send)
            producer.flush()
            queries.drain()
            started_at = time.time()
            send_paced(end_schedule(schedule_at_rate(load_messages, load.rate), load.total_seconds), send)
        queries.drain()
    warm_up_end, warm_up_latencies, latencies = started_at + load.warm_up_seconds, list[float](), list[float]()
    for ingest_time, milliseconds in read_commit_latencies(workspace.table("events")):
        if ingest_time >= started_at:
            (warm_up_latencies if ingest_time < warm_up_end else latencies).append(milliseconds)
    return Latency(percentiles(warm_up_latencies), percentiles(latencies), memory.mib)


def read_commit_latencies(path: str) -> Iterator[tuple[float, float]]:
    """Yields, for each row that was added to the table, its time in Kafka (epoch seconds) and the milliseconds to its commit."""
    earlier_files: set[str] = set()
    for commit in sorted(tables.open_table(path).history(), key=lambda commit: commit["version"]):
        files = set(tables.files(path, version=commit["version"]))
        if commit["operation"] == "WRITE":  # compaction writes rows that were there before
            for file in files - earlier_files:
                for ingest_time in pq.ParquetFile(file).read(["ingest_time"]).column(0).to_numpy().astype("datetime64[us]"):
                    seconds = float(ingest_time.astype("int64")) / 1e6
                    yield seconds, commit["timestamp"] - seconds * 1000
        earlier_files |= files
