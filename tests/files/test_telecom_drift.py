"""The steps of slow_drift, each on residuals of a few hours."""

from datetime import datetime, timedelta
from math import log1p

import pytest
from pyspark.sql import functions as F

from telecom_anomaly.rules.drift import (
    by_residual,
    can_reach,
    higher_residual,
    lasting_residual,
    lowest_median,
    median_of_first,
)

pytestmark = pytest.mark.files

MIDNIGHT = datetime(2020, 3, 2)
SCHEMA = "residuals array<struct<event_time:timestamp,report_id:string,residual:double>>, smoothed double"
LOW = log1p(-0.12)  # more than nine percent lost


@pytest.fixture
def value_of(spark):
    """What a column is over a day's residuals, one an hour, and the residual smoothed over the days before."""

    def run(column, residuals, smoothed=None):
        day = [(MIDNIGHT + timedelta(hours=hour), f"r{hour:02}", residual) for hour, residual in enumerate(residuals)]
        # In another order than that of time: a set has none.
        return spark.createDataFrame([(day[::-1], smoothed)], SCHEMA).select(column().alias("value")).first().value

    return run


def residuals():
    return F.col("residuals")


def test_a_day_can_reach_the_threshold_once_more_reports_are_that_low_than_a_median_of_six_has_below_it(value_of):
    def reaches():
        return can_reach(residuals(), F.lit(9.0))

    assert value_of(reaches, [LOW] * 4 + [0.0]) is True
    assert value_of(reaches, [LOW] * 3 + [0.0] * 9) is False
    assert value_of(reaches, [log1p(-0.09)] * 4) is True  # exactly at the threshold
    assert value_of(reaches, []) is False


def test_residuals_are_ordered_by_value_and_numbered_by_time(value_of):
    ordered = value_of(lambda: by_residual(residuals()), [0.0, -0.3, 0.1])
    assert [(report.residual, report.number) for report in ordered] == [(-0.3, 1), (0.0, 0), (0.1, 2)]


def test_the_median_of_a_days_beginning_leaves_later_reports_aside(value_of):
    def median(count):
        return lambda: median_of_first(by_residual(residuals()), F.lit(count))

    day = [0.5, 0.1, 0.3, -9.0, -9.0]
    assert [value_of(median(count), day) for count in (1, 2, 3, 5)] == [0.5, 0.5, 0.3, 0.1]


def test_the_lowest_median_is_of_whichever_beginning_was_worst(value_of):
    def lowest():
        return lowest_median(residuals())

    assert value_of(lowest, [-0.2] * 6) == -0.2
    assert value_of(lowest, [-0.2] * 6 + [0.0] * 12) == -0.2  # the rest of the day takes nothing back
    assert value_of(lowest, [0.0] * 6 + [-0.2] * 8) == -0.2  # of fourteen, eight are low
    assert value_of(lowest, [0.0] * 6 + [-0.2] * 5) == 0.0


def test_the_lesser_loss_is_todays_or_the_smoothed_one(value_of):
    def lesser(today):
        return lambda: higher_residual(F.lit(today).cast("double"), F.col("smoothed"))

    assert value_of(lesser(-0.2), [], -0.3) == -0.2
    assert value_of(lesser(-0.2), [], -0.1) == pytest.approx(0.7 * -0.1 + 0.3 * -0.2)
    assert value_of(lesser(None), [], -0.1) is None and value_of(lesser(-0.2), [], None) is None


def test_a_loss_lasts_if_today_and_the_days_before_show_it(value_of):
    def loss():
        return lasting_residual(residuals(), F.col("smoothed"), F.lit(9.0))

    assert value_of(loss, [LOW] * 6, -0.5) == pytest.approx(LOW)
    assert value_of(loss, [LOW] * 5, -0.5) is None  # too few hours
    assert value_of(loss, [LOW] * 3 + [0.0] * 5, -0.5) is None  # no beginning of the day can reach the threshold
    assert value_of(loss, [LOW] * 6, None) is None
