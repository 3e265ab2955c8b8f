"""Numbers by hour of the week, as baselines hold them: arrays that count its hours from Monday, 0:00 UTC."""

from pyspark.sql import Column
from pyspark.sql import functions as F

HOURS_PER_WEEK = 168


def hours_from(by_hour: str, since: Column, hours: int) -> Column:
    """Sum of the `hours` whole hours from that of `since` on; null without numbers."""
    first = 24 * F.weekday(since) + F.hour(since)
    ahead = F.sequence(F.lit(0), F.lit(hours - 1))
    return total(F.transform(ahead, lambda hour: F.get(by_hour, (first + hour) % HOURS_PER_WEEK)))


def busiest_hours(by_hour: str, hours: int) -> Column:
    """What no `hours` of the week exceed: as many of its busiest hour, and no more than all of it."""
    return F.least(hours * F.array_max(by_hour), total(by_hour))


def total(numbers: Column | str) -> Column:
    return F.aggregate(numbers, F.lit(0.0), lambda so_far, number: so_far + number.cast("double"))
