"""Finds the few events dated far ahead of all others, which would make batch learn as of a day without history."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.archive.history import until_today
from common.vertical import Vertical

MIN_GAP_DAYS = 30  # between the events far ahead and all others
MAX_SHARE = 0.1  # of all events: more are no stray events, but history that goes on after a pause
MAX_NAMED_ENTITIES = 3


@dataclass(frozen=True)
class FutureEvents:
    """`events` events on and after the day `since`, of these entities among others; all others end on `last_usual_day`."""

    last_usual_day: date
    since: date
    events: int
    entities: tuple[str, ...]

    def describe(self) -> str:
        """A sentence for people."""
        names, gap_days = ", ".join(self.entities), (self.since - self.last_usual_day).days
        return (
            f"{self.events:,} events of {self.since} or later, of {names}, are {gap_days:,} days after all others, which end on "
            f"{self.last_usual_day}: what is learnt as of the newest day knows next to nothing. As of another: hybrid trends "
            "--as-of DAY"
        )


def find_future_events(events: DataFrame, vertical: Vertical) -> FutureEvents | None:
    """The few events that are far ahead of all others, if there are any."""
    day_counts = until_today(events).groupBy("event_day").count().orderBy("event_day").collect()
    counts = {row.event_day: row["count"] for row in day_counts}
    for last_usual_day, since in reversed(list(pairwise(counts))):
        future_count = sum(count for day, count in counts.items() if day >= since)
        if future_count > MAX_SHARE * sum(counts.values()):
            return None
        if (since - last_usual_day).days >= MIN_GAP_DAYS:
            entities = events.where(F.col("event_day") >= F.lit(since)).groupBy(F.col(vertical.entity).alias("entity")).count()
            entity_rows = entities.orderBy(F.desc("count"), "entity").limit(MAX_NAMED_ENTITIES).collect()
            return FutureEvents(last_usual_day, since, future_count, tuple(row.entity for row in entity_rows))
    return None
