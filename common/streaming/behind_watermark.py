"""Notices queries whose events all come behind their watermark, and which therefore judge nothing any more.

It says since when, of how many events, and which event moved the watermark.
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
    """An entity whose newest event (event_time: UTC, as text) has passed the watermark, and how many of its events have."""

    entity: str
    event_time: str
    events: int


class WatermarkWatch:
    """Follows what queries report of their batches."""

    def __init__(self) -> None:
        self._behind_queries: dict[str, BehindQuery] = {}
        self._entities_ahead: dict[datetime, EntityAhead] = {}  # by watermark
        self._reported: dict[str, BehindQuery] = {}

    def update(self, query: str, progress: dict[str, Any]) -> None:
        """Takes in a batch's progress, as Spark's JSON has it. One without events changes nothing."""
        times = progress.get("eventTime", {})
        newest, watermark = times.get("max"), times.get("watermark")
        if newest is None or watermark is None:
            return
        if datetime.fromisoformat(newest) >= datetime.fromisoformat(watermark):
            self._behind_queries.pop(query, None)
            return
        earlier = self._behind_queries.get(query)
        since = earlier.since if earlier else datetime.fromisoformat(progress["timestamp"])
        records = progress["numInputRows"] + (earlier.records if earlier else 0)
        self._behind_queries[query] = BehindQuery(query, datetime.fromisoformat(watermark), since, records)

    def queries_behind(self) -> list[BehindQuery]:
        """The queries that are behind now."""
        return list(self._behind_queries.values())

    def new_lines(self, spark: SparkSession, deployment: Deployment) -> list[str]:
        """A sentence for each query that is behind, with the entity that moved its watermark, if its event is archived here.

        A query is reported when it falls behind, and again whenever twice as many of its records are behind.
        """
        new_queries = [behind_query for behind_query in self.queries_behind() if self._is_new(behind_query)]
        self._reported |= {behind_query.query: behind_query for behind_query in new_queries}
        movers = [self._find_mover(spark, deployment, behind_query.watermark) for behind_query in new_queries]
        return [_describe(behind_query, mover) for behind_query, mover in zip(new_queries, movers, strict=True)]

    def _is_new(self, behind_query: BehindQuery) -> bool:
        reported = self._reported.get(behind_query.query)
        return reported is None or reported.since != behind_query.since or behind_query.records >= 2 * reported.records

    def _find_mover(self, spark: SparkSession, deployment: Deployment, watermark: datetime) -> EntityAhead | None:
        with suppress(DeltaError, OSError, PySparkException):  # the queries go on, whether or not we can say who moved it
            if watermark not in self._entities_ahead and (mover := find_entity_ahead(spark, deployment, watermark)):
                self._entities_ahead[watermark] = mover
        return self._entities_ahead.get(watermark)


def find_entity_ahead(spark: SparkSession, deployment: Deployment, watermark: datetime) -> EntityAhead | None:
    """The archived entity whose newest event is furthest past the watermark, and how many of its events are; None if none is."""
    vertical, path = deployment.vertical, deployment.workspace.table("events")
    if not tables.table_exists(path):
        return None
    time, entity = F.col(vertical.event_time), F.col(vertical.entity).alias("entity")
    is_ahead = (F.col("event_day") >= F.to_date(F.lit(watermark))) & (time >= F.lit(watermark))
    events_ahead = tables.read(spark, path).where(is_ahead)
    entities = events_ahead.groupBy(entity).agg(F.max(time).alias("newest"), F.count("*").alias("events"))
    row = entities.orderBy(F.desc("newest"), "entity").withColumn("newest", F.date_format("newest", TIME_OF_SPARK)).first()
    return EntityAhead(row.entity, row.newest, row.events) if row else None


def _describe(behind_query: BehindQuery, mover: EntityAhead | None) -> str:
    """What happened to a query that is behind, for people."""
    cause = (
        f"{mover.entity} took it there: its newest event, of {mover.events:,} not behind it, is of {mover.event_time}"
        if mover
        else "which event took it there is not to be seen here, where none as new is archived"
    )
    return (
        f"{behind_query.query} judges nothing: since {behind_query.since:{TIME}} UTC all {behind_query.records:,} records came "
        f"behind its watermark, {behind_query.watermark:{TIME}}; {cause}. What is older is judged by batch alone (hybrid "
        "reconcile tells it)"
    )
