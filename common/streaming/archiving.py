"""Starts and watches a vertical's archive queries: three micro-batch queries that keep events, labels and alerts in tables."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from common import tables
from common.archive.archive import archive_alerts, archive_events, archive_labels
from common.archive.archive_tables import ensure_tables
from common.archive.upkeep import upkeep
from common.concurrency import run_concurrently
from common.deployment import Deployment
from common.kafka.topic_identity import TopicWatch
from common.kafka.topics import topic_names
from common.spark.session import use_pool
from common.streaming.checkpoint_topics import check_topics
from common.streaming.queries import STOP_GRACE_SECONDS, QueryEnded, raise_if_ended, read_topic, stop_all
from common.streaming.stalled_queries import StandstillWatch
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

# A restart after a long pause takes the backlog in pieces, so that memory stays flat.
MAX_OFFSETS = 200_000  # of a topic and batch
TABLES = ("events", "quarantine", "labels", "alerts")
MAX_STANDSTILLS = 2  # warnings about a query, the second after twice the time of the first, before it is given up


@dataclass(frozen=True)
class Archiving:
    """Running archive queries by table, and a watch over the topics that they read."""

    workspace: Workspace
    queries: dict[str, StreamingQuery]
    topics: TopicWatch
    standstills: dict[str, StandstillWatch]

    def raise_failure(self) -> None:
        """Raises QueryEnded when a query has ended or stands still, TopicChanged when a topic was replaced by another."""
        for topic in self.topics.check():
            LOG.warning("topic %s has %d partitions now, new ones are archived from their start", topic.name, topic.partitions)
        for name, query in self.queries.items():
            raise_if_ended(query, f"archive of {name}")
            # Its batches run in this process, where nobody can stop them, and a table may keep one waiting that is compacted.
            for times in self.standstills[name].find_stalled({name: query}).values():
                if times > MAX_STANDSTILLS:
                    raise QueryEnded(f"archive of {name} stands still while records come in: start again, nothing is lost")
                LOG.warning("archive of %s stands still while records come in", name)

    def drain(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Returns when all that is in the topics now is in the tables; `meanwhile` is called again and again until then."""
        run_concurrently([query.processAllAvailable for query in self.queries.values()], meanwhile)

    def progress(self) -> dict[str, Any] | None:
        """The last progress of the events' archive, for its lag."""
        return self.queries["events"].lastProgress

    def counts(self) -> dict[str, int]:
        """Rows per table, from their logs."""
        return {name: tables.row_count(self.workspace.table(name)) for name in TABLES}


@contextmanager
def run_archiving(spark: SparkSession, deployment: Deployment, from_end: bool = False) -> Iterator[Archiving]:
    """Archive the vertical's topics, from their beginning or present end, until the block ends; a checkpoint resumes.

    The tables are looked after meanwhile. Raises TopicChanged where a checkpoint is of another topic than the one that is there.
    """
    use_pool(spark, "streams")
    vertical, workspace, connection = deployment.vertical, deployment.workspace, deployment.kafka
    ensure_tables(vertical, workspace)
    names = topic_names(vertical)
    queries = (
        ("events", names.events, archive_events),
        ("labels", names.labels, archive_labels),
        ("alerts", names.alerts, archive_alerts),
    )
    admin = AdminClient(connection.client_options())
    checkpoints = {topic: [workspace.checkpoint(f"archive-{name}")] for name, topic, _ in queries}
    topics = TopicWatch(admin, connection, check_topics(spark, admin, connection, workspace, checkpoints))
    standstills = {name: StandstillWatch(spark, admin, connection, topic) for name, topic, _ in queries}
    running_queries: dict[str, StreamingQuery] = {}
    with upkeep([workspace.table(name) for name in TABLES], deployment.settings.vacuum_hours):
        try:
            for name, topic, start in queries:
                records = read_topic(spark, connection, topic, MAX_OFFSETS, from_end)
                running_queries[name] = start(records, deployment)
            yield Archiving(workspace, running_queries, topics, standstills)
        finally:
            stop_all(running_queries, STOP_GRACE_SECONDS)
