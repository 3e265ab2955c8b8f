"""Notices queries whose events all come behind their watermark: they judge nothing any more.

Says since when, of how many events, and which event moved the watermark.

One event that is far ahead of all others takes the watermark with it, for good: nothing that is older than it, less the
watermark's delay, is judged in windows from then on. It is all in `events`, and batch judges it (`reconciliation.late_alerts`).
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deltalake.exceptions import DeltaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from common import tables
from common.deployment import Deployment

TIME, TIME_OF_SPARK = "%Y-%m-%d %H:%M:%S", "yyyy-MM-dd HH:mm:ss"


@dataclass(frozen=True)
class BehindQuery:
    """A query all of whose records since `since` (UTC, a batch's beginning) had event times before its watermark."""

    query: str
    watermark: datetime
    since: datetime
    records: int


@dataclass(frozen=True)
class EntityAhead:
    """The newest event of an entity (event_time: UTC, as text), and how many of its events are not behind the watermark."""

    entity: str
    event_time: str
    events: int


class WatermarkWatch:
    """Follows what queries report of their batches."""

    def __init__(self) -> None:
        self._behind: dict[str, BehindQuery] = {}
        self._ahead: dict[datetime, EntityAhead] = {}  # by watermark
        self._reported: dict[str, BehindQuery] = {}

    def take(self, query: str, progress: dict[str, Any]) -> None:
        """A batch's progress, as Spark's JSON has it. One without events says nothing."""
        times = progress.get("eventTime", {})
        newest, watermark = times.get("max"), times.get("watermark")
        if newest is None or watermark is None:
            return
        if datetime.fromisoformat(newest) >= datetime.fromisoformat(watermark):
            self._behind.pop(query, None)
            return
        before = self._behind.get(query)
        since = before.since if before else datetime.fromisoformat(progress["timestamp"])
        records = progress["numInputRows"] + (before.records if before else 0)
        self._behind[query] = BehindQuery(query, datetime.fromisoformat(watermark), since, records)

    def all(self) -> list[BehindQuery]:
        """The queries that are behind now."""
        return list(self._behind.values())

    def new_lines(self, spark: SparkSession, deployment: Deployment) -> list[str]:
        """A sentence for each of them, with the event that took its watermark there, if that is archived here.

        Each is told when it has begun, and again whenever it has come to twice as many records.
        """
        new = [behind for behind in self.all() if self._is_new(behind)]
        self._reported |= {behind.query: behind for behind in new}
        return [_line(behind, self._moved_by(spark, deployment, behind.watermark)) for behind in new]

    def _is_new(self, behind: BehindQuery) -> bool:
        reported = self._reported.get(behind.query)
        return reported is None or reported.since != behind.since or behind.records >= 2 * reported.records

    def _moved_by(self, spark: SparkSession, deployment: Deployment, watermark: datetime) -> EntityAhead | None:
        with suppress(DeltaError, OSError, PySparkException):  # what judges goes on, whether or not we can say who did that
            if watermark not in self._ahead and (event := find_entity_ahead(spark, deployment, watermark)):
                self._ahead[watermark] = event
        return self._ahead.get(watermark)


def find_entity_ahead(spark: SparkSession, deployment: Deployment, watermark: datetime) -> EntityAhead | None:
    """The entity of the newest event at or after the watermark, of those that are archived here."""
    vertical, path = deployment.vertical, deployment.workspace.table("events")
    if not tables.table_exists(path):
        return None
    time, entity = F.col(vertical.event_time), F.col(vertical.entity).alias("entity")
    ahead = tables.read(spark, path).where((F.col("event_day") >= F.to_date(F.lit(watermark))) & (time >= F.lit(watermark)))
    newest = ahead.groupBy(entity).agg(F.max(time).alias("newest"), F.count("*").alias("events"))
    row = newest.orderBy(F.desc("newest"), "entity").withColumn("newest", F.date_format("newest", TIME_OF_SPARK)).first()
    return EntityAhead(row.entity, row.newest, row.events) if row else None


def _line(behind: BehindQuery, ahead: EntityAhead | None) -> str:
    mover = (
        f"{ahead.entity} took it there: its newest event, of {ahead.events:,} not behind it, is of {ahead.event_time}"
        if ahead
        else "which event took it there is not to be seen here, where none as new is archived"
    )
    return (
        f"{behind.query} judges nothing: since {behind.since:{TIME}} UTC all {behind.records:,} records came behind its "
        f"watermark, {behind.watermark:{TIME}}; {mover}. What is older is judged by batch alone (hybrid reconcile tells it)"
    )
