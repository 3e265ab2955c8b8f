"""Turns ticks into bars, and bars into alerts, by functions that a stream and a batch job share."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

TICK_SCHEMA = "tick_id string, symbol string, price double, size long, time timestamp"
UNUSUAL_DEVIATIONS = 6.0  # of normally distributed returns one in 500 million lies beyond


def parse_ticks(records: DataFrame) -> DataFrame:
    """Kafka's records as ticks: the columns of TICK_SCHEMA."""
    return records.select(F.from_json(F.col("value").cast("string"), TICK_SCHEMA).alias("tick")).select("tick.*")


def minute_bars(ticks: DataFrame) -> DataFrame:
    """One row per share and minute: symbol, minute, open, high, low, close, volume, ticks.

    The first and the last tick are those of the tick's own time, not of arrival: a late tick changes its own bar only.
    """
    order = F.struct("time", "tick_id")
    return (
        ticks.groupBy("symbol", F.window("time", "1 minute").alias("window"))
        .agg(
            F.min_by("price", order).alias("open"),
            F.max("price").alias("high"),
            F.min("price").alias("low"),
            F.max_by("price", order).alias("close"),
            F.sum("size").alias("volume"),
            F.count("*").alias("ticks"),
        )
        .withColumn("minute", F.col("window.start"))
        .drop("window")
    )


def usual_ranges(bars: DataFrame) -> DataFrame:
    """Mean and standard deviation of each share's returns within a minute, which batch learns from bars of days before."""
    return bars.groupBy("symbol").agg(F.avg(_minute_return()).alias("usual"), F.stddev(_minute_return()).alias("spread"))


def unusual_bars(bars: DataFrame, ranges: DataFrame) -> DataFrame:
    """Bars whose return lies more than UNUSUAL_DEVIATIONS from what is usual for the share; adds `deviations`."""
    deviations = (_minute_return() - F.col("usual")) / F.col("spread")
    return (
        bars.join(F.broadcast(ranges), "symbol")
        .withColumn("deviations", deviations)
        .where(F.abs("deviations") > UNUSUAL_DEVIATIONS)
        .drop("usual", "spread")
    )


def _minute_return() -> Column:
    return F.log(F.col("close") / F.col("open"))
