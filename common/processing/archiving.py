"""The archive of a vertical: three micro-batch queries that keep events, labels and alerts, each once, in Delta tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from common import tables
from common.ingestion.archive import archive_alerts, archive_events, archive_labels
from common.ingestion.connection import Connection
from common.ingestion.stored import ensure_tables
from common.ingestion.topics import topic_names
from common.ingestion.upkeep import upkeep
from common.processing.session import use_pool
from common.processing.streams import STOP_GRACE, raise_if_ended, read_topic, stop_all
from common.settings import Settings
from common.side_by_side import side_by_side
from common.vertical import Vertical
from common.workspace import Workspace

# A restart after a long pause takes the backlog in pieces, so that memory stays flat.
MAX_OFFSETS = 200_000
TABLES = ("events", "quarantine", "labels", "alerts")


@dataclass(frozen=True)
class Archiving:
    """Running archive queries by table."""

    workspace: Workspace
    queries: dict[str, StreamingQuery]

    def raise_failure(self) -> None:
        """Raises QueryEnded when one that should be running is not."""
        for name, query in self.queries.items():
            raise_if_ended(query, f"archive of {name}")

    def drain(self) -> None:
        """Returns when all that is in the topics now is in the tables."""
        side_by_side(query.processAllAvailable for query in self.queries.values())

    def progress(self) -> dict[str, Any] | None:
        """The last progress of the events' archive, for its lag."""
        return self.queries["events"].lastProgress

    def counts(self) -> dict[str, int]:
        """Rows per table, from their logs."""
        return {name: tables.row_count(self.workspace.table(name)) for name in TABLES}


@contextmanager
def archiving(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, connection: Connection, settings: Settings,
    from_end: bool = False,
) -> Iterator[Archiving]:
    """Archive the vertical's topics, from their beginning or present end, until the block ends; a checkpoint resumes.

    The tables are looked after meanwhile.
    """
    use_pool(spark, "streams")
    ensure_tables(vertical, workspace)
    topics = topic_names(vertical)
    started: dict[str, StreamingQuery] = {}
    with upkeep([workspace.table(name) for name in TABLES], settings.vacuum_hours):
        try:
            for name, topic, start in (
                ("events", topics.events, archive_events),
                ("labels", topics.labels, archive_labels),
                ("alerts", topics.alerts, archive_alerts),
            ):
                records = read_topic(spark, connection, topic, MAX_OFFSETS, from_end)
                started[name] = start(records, vertical, workspace, connection, settings)
            yield Archiving(workspace, started)
        finally:
            stop_all(started, STOP_GRACE)
