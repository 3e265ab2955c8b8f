"""What batch learns of cards and terminals (baselines), and what it reports to people (trends).

A baseline of a day is what was known when that day began: events before it, and labels whose known_time had come. Its
windows are whole days (UTC), so that a card's row is the same all day long and one sum over days serves every window.
"""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.models.drift import stability
from common.models.scoring import with_score
from common.models.training import TrainedModel
from common.monitoring.plots import Bars, Chart, DailyLines, draw_all
from finance_fraud.detector import distance_km, log_amount
from finance_fraud.events import LABEL_DELAY
from finance_fraud.features import FEATURES, WINDOWS_DAYS, with_features

LONGEST_DAYS = max(WINDOWS_DAYS)
WEEK = timedelta(days=7)
MOVERS = 50

# Columns of a baseline beside its key and `as_of`.
CARD_BASELINE = T.StructType([
    *(T.StructField(f"card_count_{days}d", T.LongType()) for days in WINDOWS_DAYS),
    *(T.StructField(f"card_amount_{what}_{days}d", T.DoubleType()) for what in ("mean", "std") for days in WINDOWS_DAYS),
    T.StructField("card_amount_median_30d", T.DoubleType()),
    *(T.StructField(f"card_log_amount_{what}_30d", T.DoubleType()) for what in ("mean", "std")),
    *(T.StructField(name, T.DoubleType()) for name in ("card_home_latitude", "card_home_longitude", "card_max_distance_km_30d")),
    T.StructField("card_terminals_30d", T.ArrayType(T.StringType())),
])
TERMINAL_BASELINE = T.StructType([
    *(T.StructField(f"terminal_{what}_{days}d", T.LongType()) for what in ("count", "fraud_count") for days in WINDOWS_DAYS),
    *(T.StructField(f"terminal_risk_{days}d", T.DoubleType()) for days in WINDOWS_DAYS),
])

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("fraud_by_scenario", DailyLines("Frauds known, by scenario", "scenario", "frauds", "frauds a day")),
    ("fraud_by_scenario", DailyLines("Loss to known frauds, by scenario", "scenario", "loss", "loss a day (currency)")),
    ("fraud_by_channel", DailyLines("Loss to known frauds, by channel", "channel", "loss", "loss a day (currency)")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
    ("top_movers", Bars("Cards whose weekly spending moved most", "card_id", "change", "change (currency)")),
    ("drift", Bars("Drift, last week against the week before", "feature", "psi", "population stability index", (0.1, 0.25))),
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"card", "terminal"}: one row per entity with any transaction in its windows, and `as_of` day of `days`."""
    card = _cards(history, days).select("card_id", "as_of", *CARD_BASELINE.names)
    terminal = _terminals(history, labels, days).select("terminal_id", "as_of", *TERMINAL_BASELINE.names)
    return {"card": card, "terminal": terminal}


def _cards(history: DataFrame, days: list[date]) -> DataFrame:
    daily = _recent(history, days, timedelta(0)).groupBy("card_id", F.to_date("event_time").alias("event_day")).agg(
        F.count("*").alias("count"), F.sum("amount").alias("amount"), F.sum(F.col("amount") ** 2).alias("squares"),
        F.sum(log_amount()).alias("logs"), F.sum(log_amount() ** 2).alias("log_squares"),
        F.collect_list("amount").alias("amounts"), F.collect_set("terminal_id").alias("terminals"))
    sums = _with_as_of(daily, days, delay=0).groupBy("card_id", "as_of").agg(
        *(F.sum(F.when(F.col("age") <= window, F.col(what))).alias(f"{what}_{window}")
          for window in WINDOWS_DAYS for what in ("count", "amount", "squares")),
        F.sum("logs").alias("logs"), F.sum("log_squares").alias("log_squares"),
        F.sort_array(F.flatten(F.collect_list("amounts"))).alias("amounts"),
        F.sort_array(F.array_distinct(F.flatten(F.collect_list("terminals")))).alias("card_terminals_30d"))
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
    return habits.join(_places(history, days), ["card_id", "as_of"], "left")


def _moments(count: Column, total: Column, squares: Column) -> tuple[Column, Column]:
    """Mean and standard deviation (of the population) from sums."""
    mean = total / count
    return mean, F.sqrt(F.greatest(squares / count - mean**2, F.lit(0.0)))


def _median(ordered: str) -> Column:
    """Of the numbers in a sorted array that is not empty."""
    first, second = (F.size(ordered) + 1) / 2, F.size(ordered) / 2 + 1
    return (F.element_at(ordered, first.cast("int")) + F.element_at(ordered, second.cast("int"))) / 2


def _places(history: DataFrame, days: list[date]) -> DataFrame:
    """A card's home (the median of its places, so that one journey does not move it) and how far from it 30 days saw it."""
    located = _recent(history, days, timedelta(0)).where("latitude IS NOT NULL AND longitude IS NOT NULL")
    places = _with_as_of(located.withColumn("event_day", F.to_date("event_time")), days, delay=0).groupBy("card_id", "as_of").agg(
        F.percentile("latitude", 0.5).alias("card_home_latitude"), F.percentile("longitude", 0.5).alias("card_home_longitude"),
        F.collect_set(F.struct("latitude", "longitude")).alias("places"))
    distances = F.transform("places", lambda place: distance_km(
        place.latitude, place.longitude, F.col("card_home_latitude"), F.col("card_home_longitude")))
    return places.withColumn("card_max_distance_km_30d", F.array_max(distances)).drop("places")


def _terminals(history: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    # A label known during a day counts from the next midnight on.
    known = labels.select(F.col("event_id").alias("transaction_id"), F.to_date(F.date_trunc(
        "day", F.col("known_time") + F.expr("INTERVAL 1 DAY - INTERVAL 1 MICROSECOND"))).alias("known_day")).distinct()
    past = _recent(history, days, LABEL_DELAY).join(known, "transaction_id", "left")
    daily = past.groupBy("terminal_id", F.to_date("event_time").alias("event_day"), "known_day").agg(F.count("*").alias("count"))
    frauds = F.when(F.col("known_day") <= F.col("as_of"), F.col("count")).otherwise(0)
    aged = _with_as_of(daily, days, LABEL_DELAY.days).withColumn("fraud_count", frauds)
    counts = aged.groupBy("terminal_id", "as_of").agg(*[
        F.coalesce(F.sum(F.when(F.col("age") <= window, F.col(what))), F.lit(0)).alias(f"terminal_{what}_{window}d")
        for window in WINDOWS_DAYS for what in ("count", "fraud_count")])
    return counts.withColumns({
        f"terminal_risk_{window}d": F.coalesce(
            F.try_divide(F.col(f"terminal_fraud_count_{window}d"), F.col(f"terminal_count_{window}d")), F.lit(0.0))
        for window in WINDOWS_DAYS})


def _with_as_of(daily: DataFrame, days: list[date], delay: int) -> DataFrame:
    """A row for each of `days` whose longest window has the row's event_day, with its `age`: 1 on the window's last day."""
    age = F.datediff(F.col("as_of"), F.col("event_day")) - delay
    asked = daily.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    return asked.withColumn("age", age).where(F.col("age").between(1, LONGEST_DAYS))


def _recent(history: DataFrame, days: list[date], delay: timedelta) -> DataFrame:
    return _between(history, min(days) - timedelta(days=LONGEST_DAYS) - delay, max(days) - delay)


def _between(history: DataFrame, first: date, end: date) -> DataFrame:
    start, stop = F.lit(first).cast("timestamp"), F.lit(end).cast("timestamp")
    return history.where((F.col("event_time") >= start) & (F.col("event_time") < stop))


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: TrainedModel | None = None) -> dict[str, DataFrame]:
    """Daily fraud and loss by scenario, channel and terminal; cards whose spending moved most; drift; alerts by rule.

    Fraud is told of whole days whose labels were due by the end of the newest day. `model` adds its score to the drift
    of its features. Empty without history.
    """
    newest = history.agg(F.max(F.to_date("event_time"))).first()
    if newest is None or newest[0] is None:
        return {}
    last_day: date = newest[0]
    end = last_day + timedelta(days=1)
    known = labels.where(F.col("known_time") <= F.lit(end).cast("timestamp"))
    known = known.select(F.col("event_id").alias("transaction_id"), "scenario")
    # Younger days look free of fraud only because their labels are still to come.
    dated = history.withColumn("day", F.to_date("event_time")).where(F.col("day") < F.lit(end - LABEL_DELAY))
    judged = dated.join(known.dropDuplicates(["transaction_id"]), "transaction_id", "left")
    return {
        "fraud_by_scenario": _fraud(judged.where("scenario IS NOT NULL"), "scenario"),
        "fraud_by_channel": _fraud(judged.fillna("unknown", ["channel"]), "channel"),
        "fraud_by_terminal": _fraud(judged, "terminal_id").where("frauds > 0"),
        "top_movers": _top_movers(history, last_day),
        "drift": _drift(history, labels, last_day, model),
        "alerts_by_rule": alerts.groupBy(F.to_date("event_time").alias("day"), "rule").agg(F.count("*").alias("alerts")),
    }


def _fraud(judged: DataFrame, by: str) -> DataFrame:
    fraud = F.col("scenario").isNotNull()
    loss = F.round(F.sum(F.when(fraud, F.col("amount")).otherwise(0.0)), 2)
    kind = F.col(by).alias(by)
    return judged.groupBy("day", kind).agg(
        F.count("*").alias("transactions"), F.count_if(fraud).alias("frauds"), loss.alias("loss"))


def _top_movers(history: DataFrame, last_day: date) -> DataFrame:
    """Cards whose spending of the last 7 days differs most from the 7 days before, in currency units."""
    middle, end = last_day - WEEK + timedelta(days=1), last_day + timedelta(days=1)
    is_current = F.col("event_time") >= F.lit(middle).cast("timestamp")
    spending = _between(history, middle - WEEK, end).groupBy("card_id").agg(
        F.round(F.sum(F.when(is_current, F.col("amount")).otherwise(0.0)), 2).alias("amount_7d"),
        F.round(F.sum(F.when(~is_current, F.col("amount")).otherwise(0.0)), 2).alias("amount_7d_before"))
    change = F.round(F.col("amount_7d") - F.col("amount_7d_before"), 2)
    return spending.withColumn("change", change).orderBy(F.abs("change").desc(), "card_id").limit(MOVERS)


def _drift(history: DataFrame, labels: DataFrame, last_day: date, model: TrainedModel | None) -> DataFrame:
    """PSI of the model's features and score, as serving has them: the last 7 days against the 7 days before."""
    days = [last_day - timedelta(days=age) for age in range(14)]
    rows = history.withColumn("as_of", F.to_date("event_time")).where(F.col("as_of").isin(days))
    learnt = baselines(history, labels, days)
    joined = rows.join(learnt["card"], ["card_id", "as_of"], "left").join(learnt["terminal"], ["terminal_id", "as_of"], "left")
    rows = with_features(joined).withColumn("is_current", F.col("as_of") > F.lit(last_day - WEEK))
    if model is None:
        return stability(rows, ["amount", *FEATURES])
    return stability(with_score(rows, model), ["amount", *FEATURES, "model_score"])


def plots(tables: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Draw the trends that have rows as PNG into `folder`; returns the files."""
    return draw_all(tables, CHARTS, folder)
