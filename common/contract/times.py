"""Checks an event's time against the time at which its record came in, by a clock that the producer does not set.

Kafka tells of each record whether its timestamp is the broker's (LogAppendTime, as topics created here have it) or the producer's
(CreateTime). With the broker's, the stream, the archive and whatever reads the record again come to the same verdict at any time.
A producer's is kept, within bounds, but nothing is checked against it: the clock of the process that reads the record is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.contract.check import Check, constant_text, null_as_true

FUTURE_TOLERANCE_SECONDS = 300
# Python, which reads the days of a batch, has no year 0, and years below 1000 can be written in several ways.
EARLIEST_EVENT = datetime(1900, 1, 1, tzinfo=UTC)
# A producer may write microseconds, read as milliseconds: the year 55840. pandas' nanoseconds end in 2262.
EARLIEST_INGEST, LATEST_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
STORABLE_YEARS = f"{EARLIEST_EVENT.year} to {LATEST_TIME.year - 1}"  # for messages
TIMESTAMP_TYPE, LOG_APPEND_TIME = "timestampType", 1  # a column of Spark's Kafka source
ARRIVAL = "_came_in"  # the column that `with_arrival` adds


@dataclass(frozen=True)
class TimeBounds:
    """How far an event's time may be from when it came in: seconds ahead of it, and days before it (0: any number)."""

    future_tolerance: int = FUTURE_TOLERANCE_SECONDS
    oldest_days: int = 0

    @classmethod
    def from_settings(cls, settings: Any) -> "TimeBounds":
        """The bounds of `common.settings.Settings`."""
        return cls(settings.future_tolerance, settings.event_age_days)

    @property
    def future_allowance(self) -> timedelta:
        return timedelta(seconds=self.future_tolerance)

    def earliest(self, latest: datetime) -> datetime:
        """The earliest time of an event that comes in at the moment at which `latest` is the latest one."""
        age = timedelta(days=self.oldest_days)
        return max(EARLIEST_EVENT, latest - self.future_allowance - age) if age else EARLIEST_EVENT


def ingest_time() -> Column:
    """A record's timestamp, moved into the range that Spark, Python and pandas can hold: a producer may write any."""
    return F.greatest(F.least("timestamp", _time_literal(LATEST_TIME)), _time_literal(EARLIEST_INGEST))


def is_storable(time: Column) -> Column:
    """Whether Spark, Python and pandas can hold the time; true for null."""
    return null_as_true((time >= _time_literal(EARLIEST_EVENT)) & (time < _time_literal(LATEST_TIME)))


def with_arrival(records: DataFrame, clock: Column) -> DataFrame:
    """Records with the column ARRIVAL, when each came in: the broker's timestamp, or `clock` where it is the producer's.

    A timestamp of records without timestampType, which are not Kafka's own, is taken for a broker's.
    """
    if TIMESTAMP_TYPE not in records.columns:
        return records.withColumn(ARRIVAL, ingest_time())
    # A projection of its own: `clock` calls Java by reflection, and Spark compiles no operator with such a call.
    return records.withColumn(ARRIVAL, F.when(F.col(TIMESTAMP_TYPE) == LOG_APPEND_TIME, ingest_time()).otherwise(clock))


def row_clock() -> Column:
    """The clock at the moment a row is read: `current_timestamp` is the batch's start, in real-time mode minutes ago."""
    return F.timestamp_millis(F.reflect(F.lit("java.lang.System"), F.lit("currentTimeMillis")).cast("long"))


def earliest_time_check(event_time: str) -> Check:
    """The check that an event is not from before EARLIEST_EVENT."""
    text = f"before {EARLIEST_EVENT.isoformat()}"

    def detail() -> Column:
        return F.concat_ws(" ", F.lit(f"{event_time} ="), F.col(event_time), F.lit(text))

    return Check(null_as_true(F.col(event_time) >= _time_literal(EARLIEST_EVENT)), constant_text("out_of_range"), detail, text)


def event_time_checks(event_time: str, bounds: TimeBounds | None) -> Iterator[Check]:
    """Yields the checks that an event is neither from the future nor older than `bounds` allow; none without bounds."""
    if bounds is None:
        return
    arrival = F.col(ARRIVAL)

    def detail() -> Column:
        return F.concat_ws(" ", F.lit(f"{event_time} ="), F.col(event_time), F.lit("came in at"), arrival)

    latest = arrival + F.make_dt_interval(secs=F.lit(bounds.future_tolerance))
    is_past = null_as_true(F.col(event_time) <= latest)
    yield Check(is_past, constant_text("future_event_time"), detail, "ahead of the time it came in")
    if bounds.oldest_days:
        lateness = f"more than {bounds.oldest_days} days later"
        earliest = arrival - F.make_dt_interval(days=F.lit(bounds.oldest_days))
        yield Check(
            null_as_true(F.col(event_time) >= earliest), constant_text("too_old"),
            lambda: F.concat_ws(", ", detail(), F.lit(lateness)), f"it came in {lateness}",
        )  # fmt: skip


def _time_literal(time: datetime) -> Column:
    return F.lit(time.isoformat()).cast("timestamp")
