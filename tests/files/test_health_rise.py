"""The steps of deterioration, each on a handful of readings."""

from datetime import datetime, timedelta

import pytest
from pyspark.sql import functions as F

from health_monitoring.rules.rise import (
    believable_readings,
    first_reached_time,
    hourly_levels,
    hourly_rises,
    readings_by_hour,
)

pytestmark = pytest.mark.files

MIDNIGHT = datetime(2020, 3, 2)
FIRST_HOUR = int((MIDNIGHT - datetime(1970, 1, 1)).total_seconds()) // 3_600
SCHEMA = (
    "readings array<struct<event_time:timestamp,id:string,hour:bigint,total:int,missing:int,is_believable:boolean,"
    "model_score:double>>"
)
NTH = 1  # the second highest and the second lowest total count


def reading(minutes, total, missing=0, *, is_believable=True, model_score=None, name=None):
    time = MIDNIGHT + timedelta(minutes=minutes)
    return time, name or f"r{minutes}", FIRST_HOUR + minutes // 60, total, missing, is_believable, model_score


@pytest.fixture
def value_of(spark):
    """What a column is over an array of readings."""

    def run(column, *readings):
        return spark.createDataFrame([(list(readings),)], SCHEMA).select(column().alias("value")).first().value

    return run


def levels():
    """Of two hours before and two after."""
    return hourly_levels(readings_by_hour(F.col("readings"), F.lit(FIRST_HOUR), 4), NTH)


def test_a_reading_that_came_again_under_another_model_counts_once_and_one_beyond_belief_not(value_of):
    readings = value_of(
        lambda: believable_readings(F.col("readings")),
        reading(0, 3, model_score=0.1),
        reading(0, 3, model_score=0.2),
        reading(15, 9, is_believable=False),
        reading(30, 4),
    )
    assert [(row.id, row.total) for row in readings] == [("r0", 3), ("r30", 4)]


def test_readings_are_put_into_the_hours_of_the_window(value_of):
    hours = value_of(
        lambda: readings_by_hour(F.col("readings"), F.lit(FIRST_HOUR), 3),
        reading(-1, 1),
        reading(0, 2),
        reading(59, 3),
        reading(120, 4),
    )
    assert [[row.id for row in hour] for hour in hours] == [["r0", "r59"], [], ["r120"]]


def test_an_hour_counts_with_its_second_highest_total_and_its_second_lowest_complete_one(value_of):
    first, second, *_ = value_of(levels, reading(0, 3), reading(15, 9), reading(30, 5), reading(45, 0, missing=1), reading(60, 7))
    assert (first.high, first.low, len(first.readings)) == (5, 5, 4)
    assert (second.high, second.low, len(second.readings)) == (None, None, 1)


def test_a_rise_is_from_the_lowest_of_the_hours_before(value_of):
    readings = [
        reading(minutes, total) for minutes, total in ((0, 2), (15, 2), (60, 4), (75, 4), (120, 7), (135, 7), (180, 9), (195, 9))
    ]
    rises = value_of(lambda: hourly_rises(levels(), 2), *readings)
    assert [(row.rise, row.level, row.low) for row in rises] == [(5.0, 7, 2), (5.0, 9, 4)]
    assert [row.id for row in rises[0].readings] == ["r120", "r135"]


def test_an_hour_without_readings_enough_has_no_rise(value_of):
    lone = [reading(0, 2), reading(15, 2), reading(120, 7), reading(180, 9), reading(195, 9)]
    assert [(row.rise, row.level) for row in value_of(lambda: hourly_rises(levels(), 2), *lone)] == []
    assert value_of(lambda: hourly_rises(levels(), 2)) == []


def test_a_rise_is_reached_with_the_second_reading_so_high_of_the_first_such_hour(value_of):
    def reached(least):
        return lambda: first_reached_time(hourly_rises(levels(), 2), F.lit(least), NTH)

    readings = [
        reading(minutes, total)
        for minutes, total in ((0, 2), (15, 2), (60, 2), (75, 2), (120, 7), (130, 3), (140, 6), (180, 9), (195, 9))
    ]
    assert value_of(reached(4.0), *readings) == MIDNIGHT + timedelta(minutes=140)
    assert value_of(reached(6.0), *readings) == MIDNIGHT + timedelta(minutes=195)
    assert value_of(reached(8.0), *readings) is None
