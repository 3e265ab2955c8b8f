"""The steps of slow_drift: from the day's residuals of throughput to the one that both today and the days before reach.

A residual is the logarithm of the throughput over what the cell reached at the same load in the reference days: negative is a
loss, and the higher of two is the lesser loss. A stream sees the beginnings of a day one after the other, and cannot take an
alert back; history sees the whole day. For both to raise the same alerts, the rule takes the lowest of the medians of all the
day's beginnings of LEAST_HOURS reports or more.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.authoring import let
from telecom_anomaly.baselines import SMOOTHING, throughput_residual

LEAST_HOURS = 6  # reports of a day, one an hour, before its median throughput counts
ROUNDING = 1e-9  # of a logarithm: more than what a score loses on the way to it and back


def hourly_residuals() -> Column:
    """Aggregate: the set of the day's reports of minute 0 that have a residual, structs of event_time, report_id and residual.

    All four reports of an hour would be four times the state.
    """
    residual = throughput_residual()
    counts = residual.isNotNull() & (F.minute("event_time") == 0)
    return F.collect_set(F.when(counts, F.struct("event_time", "report_id", residual.alias("residual"))))


def lasting_residual(residuals: Column, smoothed_residual: Column, threshold_percent: Column) -> Column:
    """The residual of today or of the days before, whichever is the lesser loss.

    residuals: from `hourly_residuals`. smoothed_residual: batch's, over the days before this one.
    Null where either is not known, and where the day cannot reach the threshold.
    """
    can_alarm = can_reach(residuals, threshold_percent) & (F.size(residuals) >= LEAST_HOURS)
    return F.when(can_alarm, let(lowest_median(residuals), lambda today: higher_residual(today, smoothed_residual)))


def can_reach(residuals: Column, threshold_percent: Column) -> Column:
    """Whether enough reports are at or below the threshold for a median to be.

    Only saves work: without 4 reports at or below the threshold no median of LEAST_HOURS or more can reach it.
    """
    highest = F.log1p(-threshold_percent / 100) + ROUNDING
    return F.size(F.filter(residuals, lambda report: report.residual <= highest)) > LEAST_HOURS // 2


def lowest_median(residuals: Column) -> Column:
    """The lowest of the medians of the day's first LEAST_HOURS reports, of its first LEAST_HOURS + 1, and so on to all."""
    counts = F.sequence(F.lit(LEAST_HOURS), F.size(residuals))
    return let(
        by_residual(residuals), lambda by_value: F.array_min(F.transform(counts, lambda count: median_of_first(by_value, count)))
    )


def by_residual(residuals: Column) -> Column:
    """Structs of residual and number, ordered by residual; number: the report's place in the day, from 0."""
    return F.sort_array(
        F.transform(F.sort_array(residuals), lambda report, number: F.struct(report.residual, number.alias("number")))
    )


def median_of_first(by_value: Column, count: Column) -> Column:
    """The median residual of the day's first `count` reports, the higher of two in the middle. by_value: from `by_residual`."""
    return F.get(F.filter(by_value, lambda report: report.number < count), F.floor(count / 2).cast("int")).residual


def higher_residual(today: Column, smoothed_residual: Column) -> Column:
    """The higher residual, so the lesser loss, of today and of the smoothed one with today added; null where either is.

    It grows with today's: the day's lowest median gives the lowest result that any beginning of the day gives.
    """
    with_today = (1 - SMOOTHING) * smoothed_residual + SMOOTHING * today
    return F.when(today > with_today, today).otherwise(with_today)
