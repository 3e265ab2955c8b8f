"""Finds, for the rule deterioration, the hour of a window whose NEWS2 rose highest above an earlier hour's.

An hour counts with its n-th highest total, and as an earlier one with its n-th lowest complete total: with n of
`hourly_readings`, a few false readings change neither. An hour with fewer readings has none.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.authoring import let
from health_monitoring.settings import HealthSettings


def rise(observations: Column, window_start: Column, settings: HealthSettings, min_score: Column) -> Column:
    """The highest rise to an hour of the window's second half from the lowest of the `cooldown_hours` before that hour.

    A struct as in `patterns`, with the `level` that the hour rose to and `missing`, the most parameters that are missing in its
    evidence. window_start: ms. Null without enough readings.
    """
    hours, nth = settings.cooldown_hours, settings.hourly_readings - 1
    first_hour = F.floor(window_start / 3_600_000)
    levels = hourly_levels(readings_by_hour(believable_readings(observations), first_hour, 2 * hours), nth)
    highest = let(
        levels,
        lambda levels: let(
            hourly_rises(levels, hours),
            lambda rises: let(
                F.array_max(rises),
                lambda highest_rise: F.when(highest_rise.isNotNull(), _finding_of_rises(rises, highest_rise, min_score, nth)),
            ),
        ),
    )
    return F.when(F.exists(observations, lambda observation: observation.total >= min_score), highest)


def believable_readings(observations: Column) -> Column:
    """The believable observations as structs of event_time, id, hour, total, missing.

    Each once, though it came again and another version of the model scored it then.
    """
    believable = F.filter(observations, lambda observation: observation.is_believable)
    return F.array_distinct(
        F.transform(
            believable,
            lambda observation: F.struct(
                observation.event_time.alias("event_time"),
                observation.id.alias("id"),
                observation.hour.alias("hour"),
                observation.total.alias("total"),
                observation.missing.alias("missing"),
            ),
        )
    )


def readings_by_hour(readings: Column, first_hour: Column, hours: int) -> Column:
    """An array of readings for each of `hours` hours from `first_hour` (hours since the epoch) on."""
    return let(
        readings,
        lambda readings: F.transform(
            F.sequence(F.lit(0), F.lit(hours - 1)),
            lambda hour: F.filter(readings, lambda reading: reading.hour - first_hour == hour),
        ),
    )


def hourly_levels(by_hour: Column, nth: int) -> Column:
    """For each hour a struct of `high` and `low`, its highest and its lowest complete total but `nth`, and its `readings`."""
    return F.transform(
        by_hour,
        lambda readings: F.struct(
            F.get(F.sort_array(_totals(readings), asc=False), nth).alias("high"),
            F.get(F.sort_array(_totals(F.filter(readings, lambda reading: reading.missing == 0))), nth).alias("low"),
            readings.alias("readings"),
        ),
    )


def hourly_rises(levels: Column, hours: int) -> Column:
    """For each hour after the first `hours` a struct of `rise`, its `level`, `low`, the lowest of `hours` before, and `readings`.

    Hours without a rise, for want of readings, are left out.
    """
    later_hours = F.transform(
        F.slice(levels, hours + 1, hours),
        lambda level, number: F.struct(
            level.high.alias("level"),
            level.readings.alias("readings"),
            F.array_min(F.transform(F.slice(levels, number + 1, hours), lambda earlier_hour: earlier_hour.low)).alias("low"),
        ),
    )
    rises = F.transform(
        later_hours,
        lambda hour: F.struct((hour.level - hour.low).cast("double").alias("rise"), hour.level, hour.low, hour.readings),
    )
    return F.filter(rises, lambda hour: hour.rise.isNotNull())


def first_reached_time(rises: Column, min_score: Column, nth: int) -> Column:
    """When a rise first reached `min_score`: the time of the (nth + 1)-th such reading of the first hour that rose so high."""
    first_rise = F.get(F.filter(rises, lambda hour: hour.rise >= min_score), 0)
    return let(
        first_rise,
        lambda first_rise: F.get(
            F.transform(
                F.filter(first_rise.readings, lambda reading: reading.total - first_rise.low >= min_score),
                lambda reading: reading.event_time,
            ),
            nth,
        ),
    )


def _finding_of_rises(rises: Column, highest_rise: Column, min_score: Column, nth: int) -> Column:
    """The finding of the hour that rose highest; its evidence are the readings at that level or above."""
    reached_time = first_reached_time(rises, min_score, nth)
    return let(
        F.filter(highest_rise.readings, lambda reading: reading.total >= highest_rise.level),
        lambda high: F.struct(
            highest_rise.rise.alias("score"),
            reached_time.alias("reached_time"),
            F.transform(high, lambda reading: reading.id).alias("evidence"),
            highest_rise.level.alias("level"),
            F.array_max(F.transform(high, lambda reading: reading.missing)).alias("missing"),
        ),
    )


def _totals(readings: Column) -> Column:
    return F.transform(readings, lambda reading: reading.total)
