"""Learns of cards and terminals what the running rules and the model need: habits, places, shares of fraud.

A baseline of a day is what was known when that day began: events before it, and labels whose known_time had come. Its
windows are whole days (UTC), so that a card's row is the same all day long and one sum over days serves every window.
"""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from finance_fraud.detector import distance_km, log_amount
from finance_fraud.events import LABEL_DELAY
from finance_fraud.features import WINDOWS_DAYS

LONGEST_DAYS = max(WINDOWS_DAYS)

# Columns of a baseline beside its key and `as_of`.
CARD_BASELINE = T.StructType(
    [
        *(T.StructField(f"card_count_{days}d", T.LongType()) for days in WINDOWS_DAYS),
        *(T.StructField(f"card_amount_{moment}_{days}d", T.DoubleType()) for moment in ("mean", "std") for days in WINDOWS_DAYS),
        T.StructField("card_amount_median_30d", T.DoubleType()),
        *(T.StructField(f"card_log_amount_{moment}_30d", T.DoubleType()) for moment in ("mean", "std")),
        *(
            T.StructField(name, T.DoubleType())
            for name in ("card_home_latitude", "card_home_longitude", "card_max_distance_km_30d")
        ),
        T.StructField("card_terminals_30d", T.ArrayType(T.StringType())),
    ]
)
TERMINAL_BASELINE = T.StructType(
    [
        *(
            T.StructField(f"terminal_{count}_{days}d", T.LongType())
            for count in ("count", "fraud_count")
            for days in WINDOWS_DAYS
        ),
        *(T.StructField(f"terminal_risk_{days}d", T.DoubleType()) for days in WINDOWS_DAYS),
    ]
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"card", "terminal"}: one row per entity with any transaction in its windows, and `as_of` day of `days`."""
    card_habits = _card_habits(history, days).select("card_id", "as_of", *CARD_BASELINE.names)
    terminal_risks = _terminal_risks(history, labels, days).select("terminal_id", "as_of", *TERMINAL_BASELINE.names)
    return {"card": card_habits, "terminal": terminal_risks}


def events_between(history: DataFrame, first_day: date, end: date) -> DataFrame:
    """The events from the start of the day `first_day` to the start of the day `end` (UTC)."""
    start, stop = F.lit(first_day).cast("timestamp"), F.lit(end).cast("timestamp")
    return history.where((F.col("event_time") >= start) & (F.col("event_time") < stop))


def _card_habits(history: DataFrame, days: list[date]) -> DataFrame:
    daily_sums = (
        _events_in_windows(history, days, timedelta(0))
        .groupBy("card_id", F.to_date("event_time").alias("event_day"))
        .agg(
            F.count("*").alias("count"),
            F.sum("amount").alias("amount"),
            F.sum(F.col("amount") ** 2).alias("squares"),
            F.sum(log_amount()).alias("logs"),
            F.sum(log_amount() ** 2).alias("log_squares"),
            F.collect_list("amount").alias("amounts"),
            F.collect_set("terminal_id").alias("terminals"),
        )
    )
    # daily_sums: a row per card and day with transactions. sums: a row per card and day of `days`.
    sums = (
        _with_as_of(daily_sums, days, delay_days=0)
        .groupBy("card_id", "as_of")
        .agg(
            *(
                F.sum(F.when(F.col("age") <= window, F.col(name))).alias(f"{name}_{window}")
                for window in WINDOWS_DAYS
                for name in ("count", "amount", "squares")
            ),
            F.sum("logs").alias("logs"),
            F.sum("log_squares").alias("log_squares"),
            F.sort_array(F.flatten(F.collect_list("amounts"))).alias("amounts"),
            F.sort_array(F.array_distinct(F.flatten(F.collect_list("terminals")))).alias("card_terminals_30d"),
        )
    )
    columns: list[Column] = []
    for window in WINDOWS_DAYS:
        count = F.col(f"count_{window}")
        mean, deviation = _moments(count, F.col(f"amount_{window}"), F.col(f"squares_{window}"))
        columns += [
            F.coalesce(count, F.lit(0)).alias(f"card_count_{window}d"),
            mean.alias(f"card_amount_mean_{window}d"),
            deviation.alias(f"card_amount_std_{window}d"),
        ]
    log_mean, log_deviation = _moments(F.col(f"count_{LONGEST_DAYS}"), F.col("logs"), F.col("log_squares"))
    columns.append(_median("amounts").alias("card_amount_median_30d"))
    columns += [log_mean.alias("card_log_amount_mean_30d"), log_deviation.alias("card_log_amount_std_30d")]
    terminals = F.col("card_terminals_30d").cast(CARD_BASELINE["card_terminals_30d"].dataType).alias("card_terminals_30d")
    habits = sums.select("card_id", "as_of", *columns, terminals)
    return habits.join(_card_places(history, days), ["card_id", "as_of"], "left")


def _moments(count: Column, total: Column, squares: Column) -> tuple[Column, Column]:
    """Mean and standard deviation (of the population) from sums."""
    mean = total / count
    return mean, F.sqrt(F.greatest(squares / count - mean**2, F.lit(0.0)))


def _median(sorted_array: str) -> Column:
    """The median of the numbers in a sorted array that is not empty."""
    first, second = (F.size(sorted_array) + 1) / 2, F.size(sorted_array) / 2 + 1
    return (F.element_at(sorted_array, first.cast("int")) + F.element_at(sorted_array, second.cast("int"))) / 2


def _card_places(history: DataFrame, days: list[date]) -> DataFrame:
    """A card's home (the median of its places, so that one journey does not move it) and how far from it the card has been."""
    transactions_with_place = _events_in_windows(history, days, timedelta(0)).where(
        "latitude IS NOT NULL AND longitude IS NOT NULL"
    )
    dated_transactions = transactions_with_place.withColumn("event_day", F.to_date("event_time"))
    places = (
        _with_as_of(dated_transactions, days, delay_days=0)
        .groupBy("card_id", "as_of")
        .agg(
            F.percentile("latitude", 0.5).alias("card_home_latitude"),
            F.percentile("longitude", 0.5).alias("card_home_longitude"),
            F.collect_set(F.struct("latitude", "longitude")).alias("places"),
        )
    )
    distances = F.transform(
        "places",
        lambda place: distance_km(place.latitude, place.longitude, F.col("card_home_latitude"), F.col("card_home_longitude")),
    )
    return places.withColumn("card_max_distance_km_30d", F.array_max(distances)).drop("places")


def _terminal_risks(history: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    # A label known during a day counts from the next midnight on.
    frauds = labels.select(
        F.col("event_id").alias("transaction_id"),
        F.to_date(F.date_trunc("day", F.col("known_time") + F.expr("INTERVAL 1 DAY - INTERVAL 1 MICROSECOND"))).alias(
            "known_day"
        ),
    ).distinct()
    transactions = _events_in_windows(history, days, LABEL_DELAY).join(frauds, "transaction_id", "left")
    event_day = F.to_date("event_time").alias("event_day")
    daily_counts = transactions.groupBy("terminal_id", event_day, "known_day").agg(F.count("*").alias("count"))
    fraud_count = F.when(F.col("known_day") <= F.col("as_of"), F.col("count")).otherwise(0)
    # Rows of daily, repeated for each day of `days` whose window has them.
    dated_counts = _with_as_of(daily_counts, days, LABEL_DELAY.days).withColumn("fraud_count", fraud_count)
    counts = dated_counts.groupBy("terminal_id", "as_of").agg(
        *[
            F.coalesce(F.sum(F.when(F.col("age") <= window, F.col(name))), F.lit(0)).alias(f"terminal_{name}_{window}d")
            for window in WINDOWS_DAYS
            for name in ("count", "fraud_count")
        ]
    )
    return counts.withColumns(
        {
            f"terminal_risk_{window}d": F.coalesce(
                F.try_divide(F.col(f"terminal_fraud_count_{window}d"), F.col(f"terminal_count_{window}d")), F.lit(0.0)
            )
            for window in WINDOWS_DAYS
        }
    )


def _with_as_of(daily_rows: DataFrame, days: list[date], delay_days: int) -> DataFrame:
    """Each row once for every day of `days` (`as_of`) whose longest window has the row's event_day.

    `age` counts the days from event_day to the window's end: 1 on its last day. Windows end `delay_days` before `as_of`.
    """
    age = F.datediff(F.col("as_of"), F.col("event_day")) - delay_days
    dated_rows = daily_rows.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    return dated_rows.withColumn("age", age).where(F.col("age").between(1, LONGEST_DAYS))


def _events_in_windows(history: DataFrame, days: list[date], delay: timedelta) -> DataFrame:
    """The events that the longest window of any of `days` has, where windows end `delay` before the day begins."""
    return events_between(history, min(days) - timedelta(days=LONGEST_DAYS) - delay, max(days) - delay)
