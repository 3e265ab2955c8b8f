"""What batch learns of a cell (`baselines`), and how far a report is from it (`deviation`, `throughput_residual`).

Batch learns for each cell and hour of the week the median and the spread (median absolute deviation, as a standard
deviation) of six measurements, on a logarithmic scale, as traffic and its troubles multiply. It learns nothing from a report
that is suspect or of a period without full service.
"""

from collections.abc import Callable
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

HOURS = 168  # of a week
WINDOW_DAYS = 42
SITE_DAYS = 7  # within which a cell must have sent a normal report to count as one of its site
REFERENCE_DAYS = 21  # the older half of the window: what a slow drift is measured against
MAD_TO_STD = 1.4826
LEAST_SPREAD = 0.03  # of a logarithm: 3%
POOLED_SHARE = 0.7  # no hour is taken as steadier than this share of the cell's mean spread
SMOOTHING = 0.3  # weight of a day in the smoothed residual
# Five days of reports, all older than 21 days, before a line is drawn: slow_drift is mute for a cell's first 26 days.
LEAST_REFERENCE_REPORTS = 96 * 5

# The name of a metric in columns of ours (`delay_median`, `delay_dev`), and the measurement that it is.
METRICS = {
    "attempts": "RRC_ConnEstabAtt", "delay": "DRB_RlcSduDelayDl", "loss": "DRB_PacketLossRateUl",
    "drops": "DRB_RlcPacketDropRateDl", "speed": "DRB_UEThpDl", "prb": "RRU_PrbTotDl",
}  # fmt: skip
STATISTICS = ("median", "spread")  # of each, by hour of the week

# Columns of a baseline beside its key and `as_of`. Arrays have one entry per hour of the week, Monday 00:00 UTC first.
CELL_BASELINE = T.StructType([
    *(T.StructField(f"{metric}_{statistic}", T.ArrayType(T.DoubleType())) for metric in METRICS for statistic in STATISTICS),
    T.StructField("known_values", T.ArrayType(T.LongType())),  # reports of the hour, those that lack a measurement included
    *(T.StructField(name, T.DoubleType()) for name in ("refused_share", "speed_empty", "speed_slope", "speed_residual")),
    T.StructField("site_cells", T.LongType()),
])  # fmt: skip


def hour_of_week(time: str) -> Column:
    """0 for Monday 00:00 to 01:00 UTC, 167 for the last hour of Sunday."""
    return F.weekday(time) * 24 + F.hour(time)


def is_suspect() -> Column:
    """Whether the report may be wrong, as during planned work; one that does not say is not."""
    return F.coalesce(F.col("suspect_flag"), F.lit(False))


def is_normal() -> Column:
    """Whether batch may learn from the report what is normal: it is not suspect, and its period had full service."""
    return ~is_suspect() & (F.coalesce(F.col("RRU_CellUnavailableTime"), F.lit(0.0)) == 0)


def deviation(metric: str, least_reports: int) -> Column:
    """Robust deviations of the report's measurement from the cell's hour of the week.

    Null where batch knows fewer than `least_reports` reports of that hour, and where they or the report lack the measurement.
    """
    hour = hour_of_week("event_time")
    distance = F.log1p(METRICS[metric]) - F.get(f"{metric}_median", hour)
    has_enough = F.get("known_values", hour) >= least_reports
    return F.when(has_enough, distance / F.get(f"{metric}_spread", hour))


def throughput_residual() -> Column:
    """Logarithm of the throughput over what the cell reached at this load in the reference days; null where not known."""
    expected = F.col("speed_empty") + F.col("speed_slope") * F.col("RRU_PrbTotDl")
    return F.when(
        (F.col("speed_empty") > 0) & (F.col("DRB_UEThpDl") > 0),
        F.log(F.col("DRB_UEThpDl") / F.greatest(expected, 0.1 * F.col("speed_empty"))),
    )


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"cell": a row per cell and day of `days`}; that day is its `as_of`. Labels are not read.

    A row holds what was known at the start of the day: it is learnt from the normal reports of the WINDOW_DAYS before. A cell
    without any in them has no row.
    """
    reports = _with_as_of(history.where(is_normal()), days)
    key = ["cell_id", "as_of"]
    cells = _hours_of_week(reports).join(_shares_and_sites(reports), key, "left").join(_drifts(reports), key, "left")
    return {"cell": cells.select("cell_id", "as_of", *CELL_BASELINE.names)}


def _with_as_of(history: DataFrame, days: list[date]) -> DataFrame:
    """A row for each of `days` whose window has the report, with its `age` in days: 1 on the day before."""
    columns = ["cell_id", "site_id", "event_time", "RRC_ConnEstabSucc", *METRICS.values()]
    first, end = min(days) - timedelta(days=WINDOW_DAYS), max(days)
    recent = history.select(*columns, F.to_date("event_time").alias("event_day")).dropDuplicates(["cell_id", "event_time"])
    recent = recent.where((F.col("event_day") >= F.lit(first)) & (F.col("event_day") < F.lit(end)))
    dated = recent.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    return dated.withColumn("age", F.datediff("as_of", "event_day")).where(F.col("age").between(1, WINDOW_DAYS))


def _hours_of_week(reports: DataFrame) -> DataFrame:
    """Per cell: the arrays of medians, spreads and number of reports by hour of the week."""
    by_hour = reports.groupBy("cell_id", "as_of", hour_of_week("event_time").alias("hour")).agg(
        F.count("*").alias("reports"),
        *[F.sort_array(F.collect_list(F.log1p(name))).alias(metric) for metric, name in METRICS.items()],
    )
    medians = by_hour.withColumns({f"{metric}_m": _median(F.col(metric)) for metric in METRICS})
    spreads = medians.withColumns({f"{metric}_s": _spread(F.col(metric), F.col(f"{metric}_m")) for metric in METRICS})
    metrics = [F.struct(f"{metric}_m", f"{metric}_s").alias(metric) for metric in METRICS]
    cells = spreads.groupBy("cell_id", "as_of").agg(
        F.map_from_entries(F.collect_list(F.struct("hour", F.struct("reports", *metrics)))).alias("hours"),
        *[F.avg(f"{metric}_s").alias(f"{metric}_pooled") for metric in METRICS],
    )
    return cells.select(
        "cell_id",
        "as_of",
        *[column for metric in METRICS for column in _medians_and_spreads(metric)],
        _by_hour_of_week(lambda hour: F.coalesce(hour.reports, F.lit(0))).alias("known_values"),
    )


def _medians_and_spreads(metric: str) -> tuple[Column, Column]:
    least = F.greatest(POOLED_SHARE * F.col(f"{metric}_pooled"), F.lit(LEAST_SPREAD))
    median = _by_hour_of_week(lambda hour: hour[metric][f"{metric}_m"])
    spread = _by_hour_of_week(lambda hour: F.greatest(hour[metric][f"{metric}_s"], least))
    return median.alias(f"{metric}_median"), spread.alias(f"{metric}_spread")


def _by_hour_of_week(value: Callable[[Column], Column]) -> Column:
    """An array of `value` of each hour of the week, from the map `hours`."""
    return F.transform(F.sequence(F.lit(0), F.lit(HOURS - 1)), lambda number: value(F.col("hours")[number]))


def _median(values: Column) -> Column:
    """The value in the middle of an array in order, the lower of two; null when it is empty."""
    return F.get(values, F.floor((F.size(values) - 1) / 2).cast("int"))


def _spread(values: Column, median: Column) -> Column:
    """The median absolute deviation, as a standard deviation."""
    return MAD_TO_STD * _median(F.array_sort(F.transform(values, lambda value: F.abs(value - median))))


def refused_share() -> Column:
    """Aggregate: the share of attempts that did not succeed, of the reports that have both numbers."""
    attempts, succeeded = F.col("RRC_ConnEstabAtt"), F.col("RRC_ConnEstabSucc")
    return F.try_divide(F.sum(attempts - succeeded), F.sum(F.when(succeeded.isNotNull(), attempts)))


def _shares_and_sites(reports: DataFrame) -> DataFrame:
    """Per cell: the share of its attempts that is refused, and the number of cells of its site, itself included."""
    cells = reports.groupBy("cell_id", "as_of").agg(
        refused_share().alias("refused_share"), F.max_by("site_id", "event_time").alias("site_id"), F.min("age").alias("age")
    )
    reported_lately = F.col("age") <= SITE_DAYS
    site_cells = F.count_if(reported_lately).over(Window.partitionBy("site_id", "as_of"))
    return cells.select("cell_id", "as_of", "refused_share", F.when(reported_lately, site_cells).alias("site_cells"))


def _drifts(reports: DataFrame) -> DataFrame:
    """Per cell: throughput as a line over load in the reference days, and its residual since, smoothed over days.

    The smoothed residual starts at 0, so that a new cell begins as one without loss.
    """
    is_reference = F.col("age") > WINDOW_DAYS - REFERENCE_DAYS
    lines = reports.groupBy("cell_id", "as_of").agg(
        F.count_if(is_reference).alias("reference"),
        F.regr_intercept(F.when(is_reference, F.col("DRB_UEThpDl")), F.col("RRU_PrbTotDl")).alias("speed_empty"),
        F.regr_slope(F.when(is_reference, F.col("DRB_UEThpDl")), F.col("RRU_PrbTotDl")).alias("speed_slope"),
    )
    has_enough = F.col("reference") >= LEAST_REFERENCE_REPORTS
    lines = lines.withColumns({name: F.when(has_enough, F.col(name)) for name in ("speed_empty", "speed_slope")})
    daily = (
        reports.where(~is_reference)
        .join(lines, ["cell_id", "as_of"])
        .groupBy("cell_id", "as_of", "event_day")
        .agg(F.median(throughput_residual()).alias("residual"))
    )
    days = F.sort_array(F.collect_list(F.when(F.col("residual").isNotNull(), F.struct("event_day", "residual"))))
    smoothed = F.aggregate(days, F.lit(0.0), lambda average, day: (1 - SMOOTHING) * average + SMOOTHING * day.residual)
    return lines.join(daily.groupBy("cell_id", "as_of").agg(smoothed.alias("speed_residual")), ["cell_id", "as_of"], "left")
