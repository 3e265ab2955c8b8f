"""A few events far ahead of all others: by them "today" is a day of which history knows next to nothing."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.batch.as_of_day import until_today
from common.vertical import Vertical

DAYS_APART = 30
MOST_AHEAD = 0.1  # of all events: more are no few, but what history goes on with after a pause
NAMED = 3


@dataclass(frozen=True)
class FarAhead:
    """`events` on and after `since`, by these entities among others; the newest event before them is of `before`."""

    before: date
    since: date
    events: int
    entities: tuple[str, ...]

    def line(self) -> str:
        """A sentence for people."""
        who, apart = ", ".join(self.entities), (self.since - self.before).days
        return (
            f"{self.events:,} events of {self.since} or later, of {who}, are {apart:,} days after all others, which end on "
            f"{self.before}: what is learnt as of the newest day knows next to nothing. As of another: hybrid trends --as-of DAY"
        )


def far_ahead(events: DataFrame, vertical: Vertical) -> FarAhead | None:
    """The few events that are far ahead of all others, if there are any."""
    counted = until_today(events).groupBy("event_day").count().orderBy("event_day").collect()
    counts = {row.event_day: row["count"] for row in counted}
    for before, since in reversed(list(pairwise(counts))):
        ahead = sum(count for day, count in counts.items() if day >= since)
        if ahead > MOST_AHEAD * sum(counts.values()):
            return None
        if (since - before).days >= DAYS_APART:
            theirs = events.where(F.col("event_day") >= F.lit(since)).groupBy(F.col(vertical.entity).alias("entity")).count()
            named = theirs.orderBy(F.desc("count"), "entity").limit(NAMED).collect()
            return FarAhead(before, since, ahead, tuple(row.entity for row in named))
    return None
