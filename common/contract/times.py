"""When a record came in, by a clock that its producer does not set, and how far from that its event's time may be.

Kafka says of each record whether its timestamp is the broker's (LogAppendTime, as topics made here have it) or what the producer
wrote (CreateTime). By the broker's, the stream, the archive and whatever judges the record again come to one verdict, whenever
they do. What a producer wrote is kept, within bounds, and never judged by: in its place stands the clock of the one who judges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.contract.check import Check, always, or_true

FUTURE_TOLERANCE_SECONDS = 300
# Python, which reads the days of a batch, has no year 0, and years below 1000 are written in several ways.
EARLIEST_EVENT = datetime(1900, 1, 1, tzinfo=UTC)
# What a producer writes may be microseconds, taken for milliseconds: the year 55840. pandas' nanoseconds end in 2262.
EARLIEST_INGEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
HELD = f"{EARLIEST_EVENT.year} to {LATEST.year - 1}"
TYPE, LOG_APPEND_TIME = "timestampType", 1  # a column of Spark's Kafka source
CAME_IN = "_came_in"


@dataclass(frozen=True)
class TimeBounds:
    """How far an event's time may be from when it came in: seconds ahead, and days behind (0: any number)."""

    future_tolerance: int = FUTURE_TOLERANCE_SECONDS
    oldest_days: int = 0

    @classmethod
    def of(cls, settings: Any) -> "TimeBounds":
        """Those of `common.settings.Settings`."""
        return cls(settings.future_tolerance, settings.event_age_days)

    @property
    def ahead(self) -> timedelta:
        return timedelta(seconds=self.future_tolerance)

    def earliest(self, latest: datetime) -> datetime:
        """The earliest event time, where `latest` is the latest one, of what comes in at one moment."""
        age = timedelta(days=self.oldest_days)
        return max(EARLIEST_EVENT, latest - self.ahead - age) if age else EARLIEST_EVENT


def ingest_time() -> Column:
    """A record's timestamp, of whatever a producer may have written the nearest time that everything here can hold."""
    return F.greatest(F.least("timestamp", _literal(LATEST)), _literal(EARLIEST_INGEST))


def is_held(time: Column) -> Column:
    """Whether all that reads a time can hold it; true of none."""
    return or_true((time >= _literal(EARLIEST_EVENT)) & (time < _literal(LATEST)))


def with_arrival(records: DataFrame, clock: Column) -> DataFrame:
    """Records, and in CAME_IN when each came in: by the broker, or where its timestamp is its producer's by `clock`, ours.

    Of records without timestampType, which are not Kafka's own, the timestamp is taken to be a broker's.
    """
    if TYPE not in records.columns:
        return records.withColumn(CAME_IN, ingest_time())
    # A projection of its own: Java is called by reflection, and Spark compiles no operator that does so, which here is no other.
    return records.withColumn(CAME_IN, F.when(F.col(TYPE) == LOG_APPEND_TIME, ingest_time()).otherwise(clock))


def now_by_row() -> Column:
    """The clock as it reads a row: `current_timestamp` is that of the batch's start, in real-time mode minutes ago."""
    return F.timestamp_millis(F.reflect(F.lit("java.lang.System"), F.lit("currentTimeMillis")).cast("long"))


def not_ancient(event_time: str) -> Check:
    before = f"before {EARLIEST_EVENT.isoformat()}"

    def detail() -> Column:
        return F.concat_ws(" ", F.lit(f"{event_time} ="), F.col(event_time), F.lit(before))

    return Check(or_true(F.col(event_time) >= _literal(EARLIEST_EVENT)), always("out_of_range"), detail, before)


def near_arrival(event_time: str, bounds: TimeBounds | None) -> Iterator[Check]:
    """An event is not from the future and, where `bounds` say so, not too old when it came in (`with_arrival`)."""
    if bounds is None:
        return
    came = F.col(CAME_IN)

    def detail() -> Column:
        return F.concat_ws(" ", F.lit(f"{event_time} ="), F.col(event_time), F.lit("came in at"), came)

    latest = came + F.make_dt_interval(secs=F.lit(bounds.future_tolerance))
    is_past = or_true(F.col(event_time) <= latest)
    yield Check(is_past, always("future_event_time"), detail, "ahead of the time it came in")
    if bounds.oldest_days:
        later = f"more than {bounds.oldest_days} days later"
        earliest = came - F.make_dt_interval(days=F.lit(bounds.oldest_days))
        yield Check(
            or_true(F.col(event_time) >= earliest), always("too_old"),
            lambda: F.concat_ws(", ", detail(), F.lit(later)), f"it came in {later}",
        )  # fmt: skip


def _literal(time: datetime) -> Column:
    return F.lit(time.isoformat()).cast("timestamp")
