"""The real-time side of a vertical: its queries, started together, and the record of which version judged which offsets."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.streaming import StreamingQueryListener
from pyspark.sql.streaming.listener import QueryProgressEvent, QueryStartedEvent, QueryTerminatedEvent

from common import tables
from common.ingestion.connection import Connection
from common.ingestion.topics import topic_names
from common.models.scoring import same_structure
from common.models.storage import from_json
from common.models.training import TrainedModel
from common.processing.learnt import live
from common.processing.streams import Running, raise_if_ended, read_topic, start_query, stop_all
from common.processing.versions import MODEL, in_force
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

JUDGED_SCHEMA = T.StructType(
    [
        T.StructField("query", T.StringType()),
        T.StructField("batch", T.LongType()),
        T.StructField("kafka_partition", T.IntegerType()),
        T.StructField("start_offset", T.LongType()),
        T.StructField("end_offset", T.LongType()),
        T.StructField("baseline_version", T.StringType()),
        T.StructField("model_version", T.StringType()),
        T.StructField("ended_at", T.TimestampType()),
    ]
)


@dataclass
class Detection:
    """A vertical's running queries."""

    spark: SparkSession
    vertical: Vertical
    workspace: Workspace
    connection: Connection
    settings: Settings
    rule_settings: Any
    running: list[Running]
    scoring: TrainedModel | None

    def follow_model(self) -> bool:
        """Restart the queries that score with the model if one of another structure is in force; True if it did.

        A model of the same structure needs no restart: its parameters are data that the running query reads again.
        """
        model = in_force(self.workspace.tables, MODEL)
        if model is None or (self.scoring and same_structure(self.scoring, from_json(model.details))):
            return False
        LOG.info("model %s has another structure: its queries restart from their checkpoints", model.version)
        scoring = [each for each in self.running if each.query.model]
        stop_all({each.query.name: each.streaming for each in scoring})
        self.running = [each for each in self.running if not each.query.model]
        self._start([each.query.name for each in scoring])
        return True

    def modes(self) -> list[str]:
        """A line per rule: which query runs it, and how."""
        return [
            f"{rule.name}: {each.mode}, query {each.query.name}"
            + (f" (real-time mode refused: {each.refusal})" if each.refusal else "")
            for each in self.running
            for rule in each.query.rules
        ]

    def raise_failure(self) -> None:
        """Raises QueryEnded when a query that should be running is not."""
        for each in self.running:
            raise_if_ended(each.streaming, each.query.name)

    def _start(self, names: list[str]) -> None:
        learnt = live(self.spark, self.workspace.tables, self.vertical.baselines)
        self.scoring = learnt.scoring
        topic = topic_names(self.vertical).events
        for query in self.vertical.queries:
            if query.name in names:
                records = read_topic(self.spark, self.connection, topic)
                self.running.append(
                    start_query(
                        records,
                        self.vertical,
                        query,
                        learnt,
                        self.rule_settings,
                        self.connection,
                        self.workspace.checkpoint(query.name),
                        self.settings,
                    )
                )


@contextmanager
def detection(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, connection: Connection, settings: Settings, rule_settings: Any
) -> Iterator[Detection]:
    """Run every query of the vertical until the block ends."""
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    listener = JudgedListener(vertical.name, workspace.table("judged"))
    spark.streams.addListener(listener)
    # When a query starts is when it first reads what is in force.
    started = datetime.now(UTC)
    _append_judged([{"query": query.name, "ended_at": started} for query in vertical.queries], workspace.table("judged"))
    detecting = Detection(spark, vertical, workspace, connection, settings, rule_settings, [], None)
    try:
        detecting._start([query.name for query in vertical.queries])
        yield detecting
    finally:
        stop_all({each.query.name: each.streaming for each in detecting.running})
        with suppress(Py4JError):  # see stop_all: a signal may have left the JVM's connection unusable
            spark.streams.removeListener(listener)


class JudgedListener(StreamingQueryListener):
    """Writes, for each finished batch of a vertical's queries, which versions judged which offsets."""

    def __init__(self, vertical: str, path: str):
        self.prefix, self.path = f"{vertical}.", path

    def onQueryStarted(self, event: QueryStartedEvent) -> None: ...

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None: ...

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        progress = event.progress
        if not (progress.name or "").startswith(self.prefix) or "versions" not in progress.observedMetrics:
            return
        seen = progress.observedMetrics["versions"].asDict()
        versions = {name: seen.get(name) for name in ("baseline_version", "model_version")}
        ended = datetime.now(UTC)
        rows = [
            {
                "query": (progress.name or "").removeprefix(self.prefix),
                "batch": progress.batchId,
                "ended_at": ended,
                **offsets,
                **versions,
            }
            for source in progress.sources
            for offsets in _offsets(source.startOffset, source.endOffset)
        ]
        try:
            _append_judged(rows, self.path)
        except Exception:
            LOG.exception("which versions judged batch %s of %s could not be written", progress.batchId, progress.name)


def _append_judged(rows: list[dict[str, Any]], path: str) -> None:
    tables.append_arrow(pa.Table.from_pylist(rows, schema=to_arrow_schema(JUDGED_SCHEMA, timezone="UTC")), path)


def _offsets(start: str | None, end: str | None) -> Iterator[dict[str, int]]:
    """Per partition, the offsets between two of a source's positions as progress reports them; none where it is unknown."""
    starts = json.loads(start) if start and start.startswith("{") else {}
    for topic, ends in (json.loads(end) if end and end.startswith("{") else {}).items():
        for partition, offset in ends.items():
            first = starts.get(topic, {}).get(partition, 0)
            yield {"kafka_partition": int(partition), "start_offset": first, "end_offset": offset}
