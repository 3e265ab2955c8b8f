"""Reads the archive's history for batch, and finds the days up to which it is complete.

Batch never learns as of a day that is in the future by this machine's clock.
"""

from datetime import UTC, date, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common import tables
from common.archive.archive_tables import came_through_kafka
from common.errors import UserError
from common.workspace import Workspace


class NoHistory(UserError):
    """There is nothing to study yet."""


def has_history(workspace: Workspace) -> bool:
    """Whether there is an event to study."""
    path = workspace.table("events")
    return tables.table_exists(path) and tables.row_count(path) > 0


def read_history(spark: SparkSession, workspace: Workspace) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Events, labels and alerts as their tables hold them now; raises NoHistory when there are no events."""
    path = workspace.table("events")
    if not has_history(workspace):
        raise NoHistory(f"no events in {path} yet: run backfill, or archive what a topic holds, first")
    return tables.read(spark, path), tables.read(spark, workspace.table("labels")), tables.read(spark, workspace.table("alerts"))


def read_live_history(spark: SparkSession, workspace: Workspace) -> tuple[DataFrame, DataFrame, DataFrame]:
    """`read_history` without backfilled events, which no stream judged, and without alerts that batch added for late events."""
    events, labels, alerts = read_history(spark, workspace)
    return events.where(came_through_kafka()), labels, alerts.where(came_through_kafka())


def newest_day(events: DataFrame) -> date:
    """The UTC day of the newest event that is not ahead of our clock: baselines as of its start know every whole day there is.

    Raises NoHistory where there is none.
    """
    newest = _newest_day(events)
    if newest is None:
        raise NoHistory("every event lies ahead of this machine's clock: set the clock right, or use another data folder")
    return newest


def first_incomplete_day(events: DataFrame) -> date:
    """The first day whose events may be incomplete: that of the newest event, or the next where that day was backfilled.

    Learning as of a later day would count a few hours as a whole day.
    """
    newest = newest_day(events)
    return newest if _newest_day(events.where(came_through_kafka())) == newest else newest + timedelta(days=1)


def newest_days(events: DataFrame, number: int) -> list[date]:
    """The UTC days up to that of the newest event, in order."""
    newest = newest_day(events)
    return [newest - timedelta(days=back) for back in reversed(range(number))]


def until_today(events: DataFrame) -> DataFrame:
    """Events up to our clock's UTC day. None is archived before its time, but the clock may have been another one then."""
    return events.where(F.col("event_day") <= F.lit(datetime.now(UTC).date()))


def _newest_day(events: DataFrame) -> date | None:
    newest: date | None = until_today(events).agg(F.max("event_day")).first()[0]  # type: ignore[index]
    return newest
