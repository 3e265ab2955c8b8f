"""Measures how fast a query works off a backlog: the time until every alert that batch finds in the backlog has come."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyspark.sql import SparkSession

from common import contract
from common.deployment import Deployment
from common.kafka.reader import consume_from_ends
from common.kafka.topics import topic_names, topic_of
from common.published.live_thresholds import live_settings
from common.published.reference_data import join_reference_data, live_reference_data
from common.streaming.queries import QueryInputs, read_topic, start_query
from common.vertical import Query
from loadtests.bench.alert_arrivals import LIMIT_SECONDS, CatchUp, Patience, catch_up_of, time_arrivals
from loadtests.bench.output_records import id_column, read_id
from loadtests.process_memory import PeakMemory

PATIENCE = Patience(before_first=LIMIT_SECONDS, while_missing=20.0, after_last=0.0)


@dataclass(frozen=True)
class QueryCatchUp:
    """How a query worked off a backlog; its planning and JIT warm-up count into its speed.

    alert_count, of `expected_count`: where one is missing the speed is no measure. memory_mib: the most of all processes, by
    kind. files: that the checkpoint then has.
    """

    speed: CatchUp
    alert_count: int
    expected_count: int
    memory_mib: dict[str, float]
    files: int


def measure_catch_up(
    spark: SparkSession, deployment: Deployment, query: Query, events: int, expected_ids: set[str]
) -> QueryCatchUp:
    """Start `query` at the beginning of the events topic and time it to the last expected alert, or other record it sends."""
    vertical = deployment.vertical
    with consume_from_ends(deployment.kafka, topic_of(vertical, query), group="bench") as consumer, PeakMemory() as memory:
        records = read_topic(spark, deployment.kafka, topic_names(vertical).events)
        data = live_reference_data(spark, deployment.tables, vertical)
        checkpoint = deployment.workspace.checkpoint(f"catch-up-{query.name}-{time.time_ns()}")
        started_at = time.monotonic()
        rules = live_settings(spark, vertical, deployment.tables, deployment.rules)
        inputs = QueryInputs(data, rules, checkpoint, deployment.settings.checkpoint_interval)
        running_query = start_query(records, deployment, query, inputs)
        try:
            arrivals: dict[str, float] = {}
            if expected_ids:
                arrivals, _ = time_arrivals(consumer, partial(read_id, vertical, query), expected_ids, PATIENCE, started_at)
        finally:
            running_query.streaming.stop()
    files = sum(path.is_file() for path in Path(checkpoint).rglob("*"))
    speed = catch_up_of(events, arrivals, expected_ids)
    return QueryCatchUp(speed, len(expected_ids & arrivals.keys()), len(expected_ids), memory.by_kind, files)


def expected_alerts(spark: SparkSession, deployment: Deployment, query: Query) -> set[str]:
    """Ids of the alerts, or of the other records that the query sends, for the topic read as a table."""
    vertical = deployment.vertical
    source = deployment.kafka.spark_source_options()
    options = {"subscribe": topic_names(vertical).events, "startingOffsets": "earliest", **source}
    records = spark.read.format("kafka").options(**options).load()
    events = contract.valid_events(records, vertical).dropDuplicates([vertical.event_id])
    data = live_reference_data(spark, deployment.tables, vertical)
    rows = join_reference_data(events, data, vertical, query, deployment.rules)
    ids = query.build(rows, deployment.rules).select(id_column(vertical, query)).toArrow()
    return set(ids.column(0).to_pylist())
