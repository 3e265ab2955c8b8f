"""What batch learns of products and visitors for the running rules: forecast demand, stock and its policy, habits.

A baseline of a day is what was known when that day began. Recommendations take long to mine and no model reads them: asked for
several days at once, as training does, they are left out.
"""

from datetime import date, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from retail_behavior.events import PURCHASE, RESTOCK, order
from retail_behavior.planning.bought_together import recommended
from retail_behavior.planning.forecast import LEVEL_DAYS, forecast
from retail_behavior.planning.inventory import safety_stock

LONGEST_DAYS = 84        # of sales that the forecast learns from
HABIT_DAYS = 30
WEEK_DAYS = 7
LEAD_DAYS = 1.0          # from an order to its goods
SERVICE = 0.95           # nominal: share of replenishment cycles without a stock-out
ORDER_COST = 8.0         # currency units per order
HOLDING_COST = 0.25      # of a unit's price, per unit and year
DIGITS = 9               # kept of what is summed, so that no order of summation shows

STOCK = T.StructType([T.StructField(name, T.DoubleType()) for name in (
    "on_hand", "daily_units", "variance_ratio", "reorder_point", "order_up_to")])
# Columns of a baseline beside its key and `as_of`. Arrays by hour count the hours of a week from Monday, 0:00 UTC.
PRODUCT_BASELINE = T.StructType([
    T.StructField("forecast_units_7d", T.DoubleType()),
    T.StructField("forecast_low_7d", T.DoubleType()),
    T.StructField("forecast_high_7d", T.DoubleType()),
    T.StructField("units_by_hour", T.ArrayType(T.DoubleType())),
    T.StructField("orders_by_hour", T.ArrayType(T.DoubleType())),
    T.StructField("stock_as_of", T.TimestampType()),
    T.StructField("stock_by_store", T.MapType(T.StringType(), STOCK)),
    T.StructField("recommended", T.ArrayType(T.StringType())),
])
VISITOR_BASELINE = T.StructType([
    T.StructField("visitor_sessions_30d", T.LongType()),
    T.StructField("visitor_buying_sessions_30d", T.LongType()),
    T.StructField("visitor_spend_30d", T.DoubleType()),
])
FORECAST = "product_id string, as_of date, forecast_units_7d double, forecast_low_7d double, forecast_high_7d double, " \
    "units_by_hour array<double>, orders_by_hour array<double>"


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"product": one row per product ever sold in its windows, "visitor": one per visitor} and `as_of` day of `days`."""
    sales = between(history, min(days) - timedelta(days=LONGEST_DAYS), max(days))
    product = (
        _forecasts(sales, days)
        .join(_stock(sales, days), ["product_id", "as_of"], "left")
        .withColumn("stock_as_of", F.col("as_of").cast("timestamp"))
    )
    if len(days) == 1:
        product = product.join(recommended(between(history, days[0] - timedelta(days=HABIT_DAYS), days[0])), "product_id", "left")
    else:
        product = product.withColumn("recommended", F.lit(None).cast(T.ArrayType(T.StringType())))
    return {
        "product": product.select("product_id", "as_of", *PRODUCT_BASELINE.names),
        "visitor": _visitors(history, days).select("visitor_id", "as_of", *VISITOR_BASELINE.names),
    }


def between(history: DataFrame, first: date, end: date) -> DataFrame:
    start, stop = F.lit(first).cast("timestamp"), F.lit(end).cast("timestamp")
    return history.where((F.col("event_time") >= start) & (F.col("event_time") < stop))


def _forecasts(sales: DataFrame, days: list[date]) -> DataFrame:
    """Demand of the seven days from `as_of`, as a sum with its interval and by hour of the week. One model a day asked for."""
    bought = sales.where(F.col("event_type") == PURCHASE).groupBy(
        "product_id", F.to_date("event_time").alias("day"), F.hour("event_time").alias("hour")).agg(
        F.sum("quantity").cast("double").alias("units"),
        F.countDistinct(order()).cast("double").alias("orders"))
    return _aged(bought, days, LONGEST_DAYS).groupBy("as_of").applyInPandas(_forecast_week, FORECAST)


def _forecast_week(bought: pd.DataFrame) -> pd.DataFrame:
    """Sales by product, day and hour before one `as_of` day, to the rows of FORECAST."""
    as_of = pd.Timestamp(bought["as_of"].iloc[0])
    day = pd.to_datetime(bought["day"])
    calendar = pd.date_range(min(day.min(), as_of - pd.Timedelta(days=LEVEL_DAYS)), as_of - pd.Timedelta(days=1))
    wide = bought.assign(day=day).pivot_table(index="product_id", columns="day", values=["units", "orders"], aggfunc="sum")
    units, orders = (wide[name].reindex(columns=calendar).fillna(0.0).to_numpy() for name in ("units", "orders"))
    weekday = (calendar[0].weekday() + np.arange(len(calendar) + WEEK_DAYS)) % WEEK_DAYS
    told = forecast(units, weekday, WEEK_DAYS)
    hourly = np.bincount(bought["hour"], bought["units"], 24)
    from_monday = np.argsort(weekday[-WEEK_DAYS:])
    by_hour = (told.mean[:, from_monday, None] * (hourly / hourly.sum())).reshape(len(units), -1)
    # A product that is seldom sold borrows the shop's units per order.
    units_per_order = (units.sum(axis=1) + 20 * units.sum() / orders.sum()) / (orders.sum(axis=1) + 20)
    week = told.mean.sum(axis=1)
    spread = np.sqrt(((told.high - told.low) ** 2).sum(axis=1)) / 2
    return pd.DataFrame({
        "product_id": wide.index, "as_of": as_of.date(), "forecast_units_7d": week,
        "forecast_low_7d": np.maximum(week - spread, 0), "forecast_high_7d": week + spread,
        "units_by_hour": list(by_hour), "orders_by_hour": list(by_hour / units_per_order[:, None]),
    }).round({"forecast_units_7d": DIGITS, "forecast_low_7d": DIGITS, "forecast_high_7d": DIGITS})


def _stock(sales: DataFrame, days: list[date]) -> DataFrame:
    """Per product and `as_of` the map {store: STOCK}; a store that did not count the product after any restock is left out.

    A count older than LONGEST_DAYS is forgotten. Demand is of the last LEVEL_DAYS, or of the days since anything moved at all.
    """
    moves = _aged(sales.where(F.col("event_type").isin(PURCHASE, RESTOCK) & F.col("store_id").isNotNull()).withColumn(
        "day", F.to_date("event_time")), days, LONGEST_DAYS)
    item = ["store_id", "product_id", "as_of"]
    is_sale = F.col("event_type") == PURCHASE
    counted = moves.where(~is_sale & F.col("stock_on_hand").isNotNull()).groupBy(*item).agg(
        F.max(F.struct("event_time", "event_id", "stock_on_hand")).alias("counted"))
    sold = F.when(is_sale, F.col("quantity")).otherwise(0)
    # In the order that the live position is counted in. A restock after the last that was counted is one that nobody counted.
    is_after = F.struct("event_time", "event_id") > F.struct("counted.event_time", "counted.event_id")
    gone = F.when(is_after, F.when(is_sale, F.col("quantity")).otherwise(-F.col("quantity"))).otherwise(0)
    daily = moves.join(counted, item).groupBy(*item, "counted", "day", "age").agg(
        F.sum(sold).alias("units"), F.sum(gone).alias("gone"))
    recent = F.when(F.col("age") <= LEVEL_DAYS, F.col("units")).otherwise(0).cast("double")
    days_known = F.least(F.max("age"), F.lit(LEVEL_DAYS))
    stock = daily.groupBy(*item, "counted").agg(
        (F.sum(recent) / days_known).alias("daily_units"), (F.sum(recent**2) / days_known).alias("mean_square"),
        F.sum("gone").alias("gone"))
    stores = F.map_from_entries(F.array_sort(F.collect_list(F.struct("store_id", F.struct(*_policy())))))
    return stock.groupBy("product_id", "as_of").agg(stores.alias("stock_by_store"))


def _policy() -> list[Column]:
    """The columns of STOCK: what is left of the count, its demand, and when to order how much."""
    mean = F.col("daily_units")
    std = F.sqrt(F.greatest(F.col("mean_square") - mean**2, mean, F.lit(0.01)))
    point = mean * LEAD_DAYS + std * safety_stock(SERVICE, 1.0, LEAD_DAYS)
    values = {
        "on_hand": F.greatest(F.col("counted.stock_on_hand") - F.col("gone"), F.lit(0.0)),
        "daily_units": mean,
        "variance_ratio": std**2 / F.greatest(mean, F.lit(0.01)),
        "reorder_point": point,
        "order_up_to": point + F.greatest(mean * WEEK_DAYS, F.lit(1.0)),
    }
    return [F.round(value.cast("double"), DIGITS).alias(name) for name, value in values.items()]


def _visitors(history: DataFrame, days: list[date]) -> DataFrame:
    dated = between(history, min(days) - timedelta(days=HABIT_DAYS), max(days)).where(
        F.col("event_type") != RESTOCK).withColumn("day", F.to_date("event_time"))
    is_purchase = F.col("event_type") == PURCHASE
    spend = F.sum(F.when(is_purchase, F.col("quantity") * F.col("price")).otherwise(0.0))
    return _aged(dated, days, HABIT_DAYS).groupBy("visitor_id", "as_of").agg(
        F.countDistinct(order()).alias("visitor_sessions_30d"),
        F.countDistinct(F.when(is_purchase, order())).alias("visitor_buying_sessions_30d"),
        F.round(spend, 4).alias("visitor_spend_30d"))


def _aged(rows: DataFrame, days: list[date], window: int) -> DataFrame:
    """A row for each of `days` whose last `window` days have the row's `day`, with its `age`: 1 on the last of them."""
    asked = rows.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    return asked.withColumn("age", F.datediff("as_of", "day")).where(F.col("age").between(1, window))
