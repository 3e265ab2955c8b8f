"""The live stock position of a product in a store: what the morning counted, what came, and what went, event by event.

Every window of `stock_window` gathers what moved in it. A sale is judged in the window that began when the baseline in force
at the sale counted the stock (`stock_as_of`). So a new baseline takes over with all that moved since its own count, what it
judges is not judged in the older window, and nothing is counted twice.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from retail_behavior.events import PURCHASE, RESTOCK
from retail_behavior.settings import RetailSettings

LOGISTIC_PROBIT = 1.702     # a logistic curve of this slope is the normal distribution within 0.01
KNOWN = ("on_hand", "daily_units", "variance_ratio", "reorder_point", "order_up_to")


def with_positions(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """A row per store and product that was low since `stock_as_of`: `low`, its purchases at or under the reorder point.

    Each of `low` has event_time, event_id and position, the units left after it. `known` is what the baseline says of it.
    """
    of_store = [F.col("stock_by_store")[F.col("store_id")][name].alias(name) for name in KNOWN]
    movements = events.where(F.col("event_type").isin(PURCHASE, RESTOCK) & F.col("store_id").isNotNull()).withColumns({
        "known": F.struct("baseline_version", "units_by_hour", *of_store),
        "move": F.struct("event_time", "event_id", "event_type", "quantity", "stock_on_hand")})
    in_force = F.col("window.start") == F.col("stock_as_of")
    windows = (
        movements.withWatermark("event_time", settings.watermark)
        .withColumn("window", F.window("event_time", settings.stock_window, "1 day"))
        .groupBy("window", "store_id", "product_id")
        .agg(F.sort_array(F.collect_set("move")).alias("moves"),
             F.collect_set(F.when(in_force, F.col("event_id"))).alias("judged"),
             F.min(F.when(in_force, F.col("known"))).alias("known"),
             *[F.max(F.when(in_force, F.col(name))).alias(name) for name in ("event_time", "ingest_time")])
        .where(F.col("known.on_hand").isNotNull())
    )
    low = F.filter(_positions(), lambda one: (one.event_type == PURCHASE) & F.array_contains("judged", one.event_id)
                   & (one.position <= F.col("known.reorder_point")))
    return windows.withColumn("low", low).where(F.size("low") > 0).withColumns({
        "item": F.concat_ws("/", "store_id", "product_id"), "baseline_version": F.col("known.baseline_version")})


def reorder_point(settings: RetailSettings) -> Column:
    """Reorder point over the lowest stock position since the count; half a unit counts as the least there can be.

    Per store and product, at every sale. The reorder point covers demand over the lead time and its safety stock.
    """
    return F.col("known.reorder_point") / F.greatest(lowest(), F.lit(0.5))


def stock_out_risk(settings: RetailSettings) -> Column:
    """Highest probability, 0 to 1, that demand within `risk_hours` of a sale took more than it left. Per store and product.

    Demand of those hours by the product's forecast, hour by hour; its variance is a multiple of it, as in the past.
    """
    def risk(one: Column) -> Column:
        expected = _expected_units(one.event_time, settings.risk_hours)
        above = (expected - one.position - 0.5) / F.sqrt(F.col("known.variance_ratio") * expected + 0.01)
        return 1 / (1 + F.exp(-LOGISTIC_PROBIT * above))

    return F.array_max(F.transform("low", risk))


def lowest() -> Column:
    """Units left at the lowest."""
    return F.array_min(F.transform("low", lambda one: one.position))


def _positions() -> Column:
    """Movements in order of time, each with the position after it; a count after a restock is believed."""
    def step(so_far: Column, move: Column) -> Column:
        came = F.coalesce(move.stock_on_hand, so_far["position"] + move.quantity)
        position = F.when(move.event_type == RESTOCK, came).otherwise(so_far["position"] - move.quantity)
        after = F.struct(move.event_time, move.event_id, move.event_type, position.alias("position"))
        return F.struct(position.alias("position"), F.concat(so_far["after"], F.array(after)).alias("after"))

    nothing = F.array().cast("array<struct<event_time: timestamp, event_id: string, event_type: string, position: double>>")
    start = F.struct(F.col("known.on_hand").alias("position"), nothing.alias("after"))
    return F.aggregate("moves", start, step)["after"]


def _expected_units(since: Column, hours: int) -> Column:
    """Forecast units of this store in the hours from `since` on: the product's hours, at the store's share of a week."""
    first = 24 * F.weekday(since) + F.hour(since)
    ahead = F.transform(F.sequence(F.lit(0), F.lit(hours - 1)), lambda hour: F.get("known.units_by_hour", (first + hour) % 168))
    share = F.try_divide(_total(ahead), _total(F.col("known.units_by_hour")))
    return 7 * F.col("known.daily_units") * F.coalesce(share, F.lit(hours / 168))


def _total(numbers: Column) -> Column:
    return F.aggregate(numbers, F.lit(0.0), lambda total, number: total + number)
