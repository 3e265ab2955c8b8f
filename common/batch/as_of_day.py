"""As of which day batch learns: the newest day of history, and never one that our clock has not come to."""

from datetime import UTC, date, datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.errors import UserError


class NoHistory(UserError):
    """There is nothing to study yet."""


def newest_day(events: DataFrame) -> date:
    """The UTC day of the newest event that is not ahead of our clock: baselines as of its start know every whole day there is.

    Raises NoHistory where there is none.
    """
    newest = _newest_day(events)
    if newest is None:
        raise NoHistory("every event lies ahead of this machine's clock: set the clock right, or use another data folder")
    return newest


def whole_until(events: DataFrame) -> date:
    """The first day that may not be whole: that of the newest event, or the next where that day was backfilled.

    As of a later one, hours would count as a day.
    """
    newest = newest_day(events)
    return newest if _newest_day(events.where("kafka_partition >= 0")) == newest else newest + timedelta(days=1)


def newest_days(events: DataFrame, number: int) -> list[date]:
    """The UTC days up to that of the newest event, in order."""
    newest = newest_day(events)
    return [newest - timedelta(days=back) for back in reversed(range(number))]


def until_today(events: DataFrame) -> DataFrame:
    """Those whose UTC day our clock has come to: no event is archived before its time, but the clock may have been another."""
    return events.where(F.col("event_day") <= F.lit(datetime.now(UTC).date()))


def _newest_day(events: DataFrame) -> date | None:
    newest: date | None = until_today(events).agg(F.max("event_day")).first()[0]  # type: ignore[index]
    return newest
