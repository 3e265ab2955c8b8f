"""A few events far ahead of all others: by them "today" is a day of which history knows next to nothing."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.archive.history import until_today
from common.vertical import Vertical

MIN_GAP_DAYS = 30  # between the few and all others
MAX_SHARE = 0.1  # of all events: more are no stray events, but history that goes on after a pause
MAX_NAMED_ENTITIES = 3


@dataclass(frozen=True)
class FutureEvents:
    """`events` on and after `since`, by these entities among others; the newest event before them is of `before`."""

    before: date
    since: date
    events: int
    entities: tuple[str, ...]

    def line(self) -> str:
        """A sentence for people."""
        names, gap_days = ", ".join(self.entities), (self.since - self.before).days
        return (
            f"{self.events:,} events of {self.since} or later, of {names}, are {gap_days:,} days after all others, which end on "
            f"{self.before}: what is learnt as of the newest day knows next to nothing. As of another: hybrid trends --as-of DAY"
        )


def find_future_events(events: DataFrame, vertical: Vertical) -> FutureEvents | None:
    """The few events that are far ahead of all others, if there are any."""
    day_counts = until_today(events).groupBy("event_day").count().orderBy("event_day").collect()
    counts = {row.event_day: row["count"] for row in day_counts}
    for before, since in reversed(list(pairwise(counts))):
        ahead = sum(count for day, count in counts.items() if day >= since)
        if ahead > MAX_SHARE * sum(counts.values()):
            return None
        if (since - before).days >= MIN_GAP_DAYS:
            entities = events.where(F.col("event_day") >= F.lit(since)).groupBy(F.col(vertical.entity).alias("entity")).count()
            named = entities.orderBy(F.desc("count"), "entity").limit(MAX_NAMED_ENTITIES).collect()
            return FutureEvents(before, since, ahead, tuple(row.entity for row in named))
    return None
