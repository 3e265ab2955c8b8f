"""Computes what batch reports to people: funnel, abandoned carts, customer segments, demand, stock policy, recommendations."""

from datetime import date, timedelta

from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Bars, Chart, DailyLines, TrainedModel, load
from retail_behavior.baselines import HABIT_DAYS, baselines, events_between
from retail_behavior.events import ADD, PURCHASE, REMOVE, RESTOCK, VIEW, order_key
from retail_behavior.features import left_in_cart
from retail_behavior.planning.stock_plan import BACKTEST_SCHEMA, POLICY_SCHEMA, backtest_forecast, plan_stock
from retail_behavior.settings import RetailSettings

SEGMENTS = 4
SEGMENT_SCHEMA = "segment string, customers long, median_recency_days double, median_orders double, median_spent double"
SALES_DAYS = 400  # of sales that the backtest and the stock policies read
STAGES = {"2 view": "views", "3 cart": "adds", "4 purchase": "purchases"}

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("funnel", DailyLines("Sessions by how far they came", "stage", "sessions", "sessions a day")),
    ("abandonment", DailyLines("Carts abandoned, and what was in them", "measure", "value", "share of carts; value in 100,000")),
    ("segments", Bars("Customers by segment", "segment", "customers", "customers")),
    ("demand_forecast", Bars("Demand forecast, next 7 days", "product_id", "forecast_units_7d", "units")),
    ("forecast_backtest", Bars("Forecast error by method", "method", "wrmsse", "revenue-weighted RMSSE")),
    ("stock_policy", Bars("Realised fill rate by product", "product_id", "realised_fill_rate", "share of demand")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
)


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: TrainedModel | None = None) -> dict[str, DataFrame]:
    """The tables of CHARTS, and recommendations. Empty without history."""
    newest_day = history.agg(F.max(F.to_date("event_time"))).first()
    if newest_day is None or newest_day[0] is None:
        return {}
    tomorrow: date = newest_day[0] + timedelta(days=1)
    # A local checkpoint is freed with its frame; a cached frame would stay in memory in a process that serves for months.
    product_baselines = baselines(history, labels, [tomorrow])["product"].localCheckpoint()
    sales = _daily_sales(events_between(history, tomorrow - timedelta(days=SALES_DAYS), tomorrow))
    sessions, settings = sessions_of(history), load(RetailSettings)
    return {
        "funnel": _funnel(sessions),
        "abandonment": abandonment(sessions),
        "segments": segments(events_between(history, tomorrow - timedelta(days=3 * HABIT_DAYS), tomorrow), tomorrow),
        "demand_forecast": product_baselines.select("product_id", "forecast_units_7d", "forecast_low_7d", "forecast_high_7d"),
        "forecast_backtest": sales.groupBy(F.lit(1).alias("shop")).applyInPandas(backtest_forecast, BACKTEST_SCHEMA),
        "stock_policy": sales.groupBy("product_id").applyInPandas(
            lambda rows: plan_stock(rows, settings, newest_day[0]), POLICY_SCHEMA
        ),
        "recommendations": product_baselines.select("product_id", F.posexplode("recommended").alias("place", "goes_with")),
        "alerts_by_rule": alerts.groupBy(F.to_date("event_time").alias("day"), "rule").agg(F.count("*").alias("alerts")),
    }


def segments(history: DataFrame, today: date) -> DataFrame:
    """Customers by k-means on recency (days), frequency (orders) and monetary value, logarithms standardised.

    A row per segment, the one that spent most named 1: its size and its medians.
    """
    customers = (
        history.where(F.col("event_type") == PURCHASE)
        .groupBy("visitor_id")
        .agg(
            F.datediff(F.lit(today), F.max(F.to_date("event_time"))).alias("recency_days"),
            F.countDistinct(order_key()).alias("orders"),
            F.sum(F.col("quantity") * F.col("price")).alias("spent"),
        )
    )
    logs = customers.select("*", *[F.log1p(name).alias(f"log_{name}") for name in ("recency_days", "orders", "spent")])
    if logs.limit(SEGMENTS).count() < SEGMENTS:
        return history.sparkSession.createDataFrame([], SEGMENT_SCHEMA)
    assembler = VectorAssembler(inputCols=["log_recency_days", "log_orders", "log_spent"], outputCol="raw")
    vectors = assembler.transform(logs).localCheckpoint()
    scaled = StandardScaler(inputCol="raw", outputCol="features", withMean=True).fit(vectors).transform(vectors)
    clusters = KMeans(k=SEGMENTS, seed=1).fit(scaled).transform(scaled)
    return _rank_segments(clusters.groupBy("prediction").agg(F.count("*").alias("customers"), *_medians()))


def _medians() -> list[Column]:
    return [F.median(name).cast("double").alias(f"median_{name}") for name in ("recency_days", "orders", "spent")]


def _rank_segments(clusters: DataFrame) -> DataFrame:
    """Clusters to the rows of SEGMENT_SCHEMA, the one that spent most first."""
    ranking = clusters.orderBy(F.desc("median_spent"), "prediction").collect()
    rows = [
        (f"{rank}", row.customers, row.median_recency_days, row.median_orders, row.median_spent)
        for rank, row in enumerate(ranking, 1)
    ]
    return clusters.sparkSession.createDataFrame(rows, SEGMENT_SCHEMA)


def sessions_of(history: DataFrame) -> DataFrame:
    """A row per session: its day, its number of views, adds and purchases, and the worth of what it left in the cart.

    The worth is that of `features.cart_value`, here by sums, as a bot's session may have thousands of events.
    """

    def count_of(event_type: str) -> Column:
        return F.count_if(F.col("event_type") == event_type)

    quantity, event_type = F.col("quantity"), F.col("event_type")
    units = F.when(event_type == ADD, quantity).when(event_type == REMOVE, -quantity).otherwise(0)
    cart = left_in_cart(F.sum(units), F.sum(units * F.col("price")))
    shopping_events = history.where((F.col("event_type") != RESTOCK) & F.col("session_id").isNotNull())
    product_sums = shopping_events.groupBy("visitor_id", "session_id", "product_id").agg(
        F.min("event_time").alias("start"),
        count_of(VIEW).alias("views"),
        count_of(ADD).alias("adds"),
        count_of(PURCHASE).alias("purchases"),
        cart.alias("cart"),
    )
    return product_sums.groupBy("visitor_id", "session_id").agg(
        F.to_date(F.min("start")).alias("day"), *[F.sum(name).alias(name) for name in ("views", "adds", "purchases", "cart")]
    )


def _funnel(sessions: DataFrame) -> DataFrame:
    """Sessions by day and stage that they reached."""
    stages = {"1 any": F.lit(True), **{stage: F.col(column) > 0 for stage, column in STAGES.items()}}
    counts = sessions.groupBy("day").agg(*[F.count_if(is_reached).alias(stage) for stage, is_reached in stages.items()])
    return counts.unpivot("day", list(stages), "stage", "sessions")


def abandonment(sessions: DataFrame) -> DataFrame:
    """Per day the share of carts that were left with something in them, and its worth in hundred thousands of currency units."""
    carts, is_left = sessions.where(F.col("adds") > 0), (F.col("purchases") == 0) & (F.col("cart") > 0)
    measures = carts.groupBy("day").agg(
        (F.count_if(is_left) / F.count("*")).alias("share"),
        (F.sum(F.when(is_left, F.col("cart")).otherwise(0.0)) / 100_000).alias("left behind"),
    )
    return measures.unpivot("day", ["share", "left behind"], "measure", "value")


def _daily_sales(history: DataFrame) -> DataFrame:
    return (
        history.where(F.col("event_type") == PURCHASE)
        .groupBy("product_id", F.to_date("event_time").alias("day"))
        .agg(F.sum("quantity").cast("double").alias("units"), F.sum(F.col("quantity") * F.col("price")).alias("revenue"))
    )
