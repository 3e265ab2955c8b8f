"""Sums numbers by hour of the week, as baselines hold them: arrays of 168 hours, from Monday 0:00 UTC on."""

from pyspark.sql import Column
from pyspark.sql import functions as F

HOURS_PER_WEEK = 168


def sum_of_hours(by_hour: str, since: Column, hours: int) -> Column:
    """Sum over `hours` whole hours, of which the first has the time `since`; null without numbers."""
    first_hour = 24 * F.weekday(since) + F.hour(since)
    hour_offsets = F.sequence(F.lit(0), F.lit(hours - 1))
    return sum_of(F.transform(hour_offsets, lambda hour: F.get(by_hour, (first_hour + hour) % HOURS_PER_WEEK)))


def max_of_hours(by_hour: str, hours: int) -> Column:
    """An upper bound of the sum over any `hours` of the week: that many times its busiest hour, at most the whole week."""
    return F.least(hours * F.array_max(by_hour), sum_of(by_hour))


def sum_of(numbers: Column | str) -> Column:
    """Sum of an array of numbers, as a double."""
    return F.aggregate(numbers, F.lit(0.0), lambda total, number: total + number.cast("double"))
