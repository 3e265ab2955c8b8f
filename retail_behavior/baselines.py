"""Learns of products and visitors what the running rules need: forecast demand, stock and its policy, habits.

A baseline of a day is what was known when that day began. Recommendations take long to mine and no model reads them: for
several days at once, as training needs them, they are left out.
"""

from datetime import date, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.authoring import load
from retail_behavior.events import PURCHASE, RESTOCK, order_key
from retail_behavior.planning.bought_together import recommended_products
from retail_behavior.planning.forecast import LEVEL_DAYS, WEEK_DAYS, forecast
from retail_behavior.planning.inventory import safety_stock
from retail_behavior.settings import RetailSettings

SALES_DAYS = 84  # of sales that the forecast learns from
HABIT_DAYS = 30  # of a visitor's habits, and of the sessions that recommendations are mined from
PRIOR_ORDERS = 20  # of the shop's usual size, that a product's units per order are drawn towards by
DIGITS = 9  # sums are rounded to, so that their order does not show

STOCK = T.StructType(
    [T.StructField(name, T.DoubleType()) for name in ("on_hand", "daily_units", "variance_ratio", "reorder_point", "order_up_to")]
)
# Columns of a baseline beside its key and `as_of`. Arrays by hour count the hours of a week from Monday, 0:00 UTC.
PRODUCT_BASELINE = T.StructType(
    [
        T.StructField("forecast_units_7d", T.DoubleType()),
        T.StructField("forecast_low_7d", T.DoubleType()),
        T.StructField("forecast_high_7d", T.DoubleType()),
        T.StructField("units_by_hour", T.ArrayType(T.DoubleType())),
        T.StructField("orders_by_hour", T.ArrayType(T.DoubleType())),
        T.StructField("stock_as_of", T.TimestampType()),
        T.StructField("stock_by_store", T.MapType(T.StringType(), STOCK)),
        T.StructField("recommended", T.ArrayType(T.StringType())),
    ]
)
VISITOR_BASELINE = T.StructType(
    [
        T.StructField("visitor_sessions_30d", T.LongType()),
        T.StructField("visitor_buying_sessions_30d", T.LongType()),
        T.StructField("visitor_spend_30d", T.DoubleType()),
    ]
)
FORECAST_SCHEMA = (
    "product_id string, as_of date, forecast_units_7d double, forecast_low_7d double, forecast_high_7d double, "
    "units_by_hour array<double>, orders_by_hour array<double>"
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"product": one row per product ever sold in its windows, "visitor": one per visitor} and `as_of` day of `days`."""
    sales = events_between(history, min(days) - timedelta(days=SALES_DAYS), max(days))
    product_rows = (
        _weekly_forecasts(sales, days)
        .join(_stock_by_store(sales, days, load(RetailSettings)), ["product_id", "as_of"], "left")
        .withColumn("stock_as_of", F.col("as_of").cast("timestamp"))
    )
    if len(days) == 1:
        sessions = events_between(history, days[0] - timedelta(days=HABIT_DAYS), days[0])
        product_rows = product_rows.join(recommended_products(sessions), "product_id", "left")
    else:
        product_rows = product_rows.withColumn("recommended", F.lit(None).cast(T.ArrayType(T.StringType())))
    return {
        "product": product_rows.select("product_id", "as_of", *PRODUCT_BASELINE.names),
        "visitor": _visitor_habits(history, days).select("visitor_id", "as_of", *VISITOR_BASELINE.names),
    }


def events_between(history: DataFrame, first_day: date, end: date) -> DataFrame:
    """The events from the start of the day `first_day` to the start of the day `end` (UTC)."""
    start, stop = F.lit(first_day).cast("timestamp"), F.lit(end).cast("timestamp")
    return history.where((F.col("event_time") >= start) & (F.col("event_time") < stop))


def _weekly_forecasts(sales: DataFrame, days: list[date]) -> DataFrame:
    """Demand of the seven days from `as_of`, as a sum with its interval and by hour of the week. One model for each of `days`."""
    hourly = (
        sales.where(F.col("event_type") == PURCHASE)
        .groupBy("product_id", F.to_date("event_time").alias("day"), F.hour("event_time").alias("hour"))
        .agg(F.sum("quantity").cast("double").alias("units"), F.countDistinct(order_key()).cast("double").alias("orders"))
    )
    return _with_as_of(hourly, days, SALES_DAYS).groupBy("as_of").applyInPandas(_forecast_week, FORECAST_SCHEMA)


def _forecast_week(sales: pd.DataFrame) -> pd.DataFrame:
    """Sales by product, day and hour before one `as_of` day, to the rows of FORECAST_SCHEMA."""
    as_of = pd.Timestamp(sales["as_of"].iloc[0])
    day = pd.to_datetime(sales["day"])
    calendar = pd.date_range(min(day.min(), as_of - pd.Timedelta(days=LEVEL_DAYS)), as_of - pd.Timedelta(days=1))
    by_day = sales.assign(day=day).pivot_table(index="product_id", columns="day", values=["units", "orders"], aggfunc="sum")
    units, orders = (by_day[name].reindex(columns=calendar).fillna(0.0).to_numpy() for name in ("units", "orders"))
    weekday = (calendar[0].weekday() + np.arange(len(calendar) + WEEK_DAYS)) % WEEK_DAYS
    demand = forecast(units, weekday, WEEK_DAYS)
    hourly_units = np.bincount(sales["hour"], sales["units"], 24)
    monday_first = np.argsort(weekday[-WEEK_DAYS:])
    by_hour = (demand.mean[:, monday_first, None] * (hourly_units / hourly_units.sum())).reshape(len(units), -1)
    # A product that is seldom sold borrows the shop's units per order.
    prior_units = PRIOR_ORDERS * units.sum() / orders.sum()
    units_per_order = (units.sum(axis=1) + prior_units) / (orders.sum(axis=1) + PRIOR_ORDERS)
    weekly_units = demand.mean.sum(axis=1)
    spread = np.sqrt(((demand.high - demand.low) ** 2).sum(axis=1)) / 2
    return pd.DataFrame(
        {
            "product_id": by_day.index,
            "as_of": as_of.date(),
            "forecast_units_7d": weekly_units,
            "forecast_low_7d": np.maximum(weekly_units - spread, 0),
            "forecast_high_7d": weekly_units + spread,
            "units_by_hour": list(by_hour),
            "orders_by_hour": list(by_hour / units_per_order[:, None]),
        }
    ).round({"forecast_units_7d": DIGITS, "forecast_low_7d": DIGITS, "forecast_high_7d": DIGITS})


def _stock_by_store(sales: DataFrame, days: list[date], settings: RetailSettings) -> DataFrame:
    """Per product and `as_of` the map {store: STOCK}; a store that did not count the product after any restock is left out.

    A count older than SALES_DAYS is forgotten. Demand is of the last LEVEL_DAYS, or of the days since anything moved at all.
    """
    movements = _with_as_of(
        sales.where(F.col("event_type").isin(PURCHASE, RESTOCK) & F.col("store_id").isNotNull()).withColumn(
            "day", F.to_date("event_time")
        ),
        days,
        SALES_DAYS,
    )
    item = ["store_id", "product_id", "as_of"]
    is_sale = F.col("event_type") == PURCHASE
    newest_counts = (
        movements.where(~is_sale & F.col("stock_on_hand").isNotNull())
        .groupBy(*item)
        .agg(F.max(F.struct("event_time", "event_id", "stock_on_hand")).alias("newest_count"))
    )
    units_sold = F.when(is_sale, F.col("quantity")).otherwise(0)
    # In the order that the live position is counted in. A restock after the newest count is one that nobody counted.
    is_after = F.struct("event_time", "event_id") > F.struct("newest_count.event_time", "newest_count.event_id")
    net_sold = F.when(is_after, F.when(is_sale, F.col("quantity")).otherwise(-F.col("quantity"))).otherwise(0)
    daily_movements = (
        movements.join(newest_counts, item)
        .groupBy(*item, "newest_count", "day", "age")
        .agg(F.sum(units_sold).alias("units"), F.sum(net_sold).alias("net_sold"))
    )
    recent_units = F.when(F.col("age") <= LEVEL_DAYS, F.col("units")).otherwise(0).cast("double")
    day_count = F.least(F.max("age"), F.lit(LEVEL_DAYS))
    stock = daily_movements.groupBy(*item, "newest_count").agg(
        (F.sum(recent_units) / day_count).alias("daily_units"),
        (F.sum(recent_units**2) / day_count).alias("mean_square"),
        F.sum("net_sold").alias("net_sold"),
    )
    entry = F.struct("store_id", F.struct(*_stock_columns(settings)))
    stock_by_store = F.map_from_entries(F.array_sort(F.collect_list(entry)))
    return stock.groupBy("product_id", "as_of").agg(stock_by_store.alias("stock_by_store"))


def _stock_columns(settings: RetailSettings) -> list[Column]:
    """The columns of STOCK: what is left of the count, its demand, and when to order how much."""
    mean, lead_days = F.col("daily_units"), float(settings.lead_days)
    std = F.sqrt(F.greatest(F.col("mean_square") - mean**2, mean, F.lit(0.01)))
    reorder_level = mean * lead_days + std * safety_stock(settings.cycle_service, 1.0, lead_days)
    values = {
        "on_hand": F.greatest(F.col("newest_count.stock_on_hand") - F.col("net_sold"), F.lit(0.0)),
        "daily_units": mean,
        "variance_ratio": std**2 / F.greatest(mean, F.lit(0.01)),
        "reorder_point": reorder_level,
        "order_up_to": reorder_level + F.greatest(mean * WEEK_DAYS, F.lit(1.0)),
    }
    return [F.round(value.cast("double"), DIGITS).alias(name) for name, value in values.items()]


def _visitor_habits(history: DataFrame, days: list[date]) -> DataFrame:
    events = (
        events_between(history, min(days) - timedelta(days=HABIT_DAYS), max(days))
        .where(F.col("event_type") != RESTOCK)
        .withColumn("day", F.to_date("event_time"))
    )
    is_purchase = F.col("event_type") == PURCHASE
    spend = F.sum(F.when(is_purchase, F.col("quantity") * F.col("price")).otherwise(0.0))
    return (
        _with_as_of(events, days, HABIT_DAYS)
        .groupBy("visitor_id", "as_of")
        .agg(
            F.countDistinct(order_key()).alias("visitor_sessions_30d"),
            F.countDistinct(F.when(is_purchase, order_key())).alias("visitor_buying_sessions_30d"),
            F.round(spend, 4).alias("visitor_spend_30d"),
        )
    )


def _with_as_of(rows: DataFrame, days: list[date], window_days: int) -> DataFrame:
    """Each row once for every day of `days` (`as_of`) of which the `window_days` before have the row's `day`.

    `age` counts the days from `day` to `as_of`: 1 for the day before.
    """
    dated_rows = rows.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    return dated_rows.withColumn("age", F.datediff("as_of", "day")).where(F.col("age").between(1, window_days))
