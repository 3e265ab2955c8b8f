"""The live stock position of a product in a store: what the morning counted, what came, and what went, event by event.

Every window of `stock_window` gathers what moved in it. A sale is judged in the window that began when the baseline in force
at the sale counted the stock (`stock_as_of`). So a new baseline takes over with all that moved since its own count, what it
judges is not judged in the older window, and nothing is counted twice.

A restock that comes after sales that followed it raises the position of those that come from then on; what was said before
stays, as a windowed score may not fall.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.columns import let
from common.thresholds import threshold
from retail_behavior.events import PURCHASE, RESTOCK
from retail_behavior.rules.hour_of_week import HOURS_PER_WEEK, busiest_hours, hours_from, total
from retail_behavior.settings import STOCK_SLIDE, RetailSettings

LOGISTIC_PROBIT = 1.702     # a logistic curve of this slope is the normal distribution within 0.01
NO_RISK = 3.0               # deviations of demand to spare beyond which no risk is computed: it is below 1 %
KNOWN = ("on_hand", "daily_units", "variance_ratio", "reorder_point", "order_up_to")


def with_positions(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """A row per store and product with sales since `stock_as_of`: `sold`, with event_time, event_id and position of each.

    position: the units left after it. `known` is what the baseline says of the product in that store.
    """
    of_store = [F.col("stock_by_store")[F.col("store_id")][name].alias(name) for name in KNOWN]
    movements = events.where(F.col("event_type").isin(PURCHASE, RESTOCK) & F.col("store_id").isNotNull()).withColumns({
        "known": F.struct("baseline_version", "units_by_hour", *of_store),
        "move": F.struct("event_time", "event_id", "event_type", "quantity", "stock_on_hand", "ingest_time")})
    in_force = F.col("window.start") == F.col("stock_as_of")
    is_judged = in_force & (F.col("event_type") == PURCHASE)
    windows = (
        movements.withWatermark("event_time", settings.watermark)
        .withColumn("window", F.window("event_time", settings.stock_window, STOCK_SLIDE))
        .groupBy("window", "store_id", "product_id")
        .agg(F.sort_array(F.collect_set("move")).alias("moves"),
             F.collect_set(F.when(is_judged, F.col("event_id"))).alias("judged"),
             F.min(F.when(in_force, F.col("known"))).alias("known"),
             *[F.max(F.when(in_force, F.col(name))).alias(name) for name in ("event_time", "ingest_time")])
        .where(F.col("known.on_hand").isNotNull() & (F.size("judged") > 0))
    )
    return windows.withColumns({
        "sold": _sold(), "item": F.concat_ws("/", "store_id", "product_id"), "baseline_version": F.col("known.baseline_version")})


def reorder_point(settings: RetailSettings) -> Column:
    """Reorder point over the lowest stock position since the count; half a unit counts as the least there can be.

    Per store and product, at every sale. The reorder point covers demand over the lead time and its safety stock.
    """
    return _reorder_ratio(lowest())


def stock_out_risk(settings: RetailSettings) -> Column:
    """Highest probability, 0 to 1, that demand within `risk_hours` of a sale takes more than it left. Per store and product.

    Demand of those hours by the product's forecast, hour by hour; its variance is a multiple of it, as in the past. Null
    where there is so much that it is below 1 %.
    """
    return F.array_max(F.transform(_scarce(settings), lambda one: _risk(one, settings)))


def short_of_reorder_point(settings: RetailSettings) -> Column:
    """Ids of the sales that left so little that reorder_point raised its alert."""
    return _ids(F.filter("sold", lambda one: _reorder_ratio(one.position) >= threshold("reorder_ratio")))


def at_risk(settings: RetailSettings) -> Column:
    """Ids of the sales that left so little that stock_out_risk raised its alert."""
    return _ids(F.filter(_scarce(settings), lambda one: _risk(one, settings) >= threshold("stock_out_risk")))


def lowest() -> Column:
    """Units left at the lowest."""
    return F.array_min(F.transform("sold", lambda one: one.position))


def hours_left() -> Column:
    """Text that says for how many hours of usual demand the units at the lowest last; nothing where nothing is usually sold."""
    hours = F.try_divide(24 * F.greatest(lowest(), F.lit(0.0)), F.col("known.daily_units"))
    return F.when(hours.isNotNull(), F.format_string(", enough for %.1f hours", hours)).otherwise("")


def _reorder_ratio(position: Column) -> Column:
    return F.col("known.reorder_point") / F.greatest(position, F.lit(0.5))


def _risk(one: Column, settings: RetailSettings) -> Column:
    expected = _expected_units(hours_from("known.units_by_hour", one.event_time, settings.risk_hours), settings.risk_hours)
    above = (expected - one.position - 0.5) / F.sqrt(F.col("known.variance_ratio") * expected + 0.01)
    return 1 / (1 + F.exp(-LOGISTIC_PROBIT * above))


def _scarce(settings: RetailSettings) -> Column:
    """Of `sold` what left less than the busiest `risk_hours` of a week may take: only there a risk is worth computing."""
    most = _expected_units(busiest_hours("known.units_by_hour", settings.risk_hours), settings.risk_hours)
    enough = most + NO_RISK * F.sqrt(F.col("known.variance_ratio") * most + 0.01)
    return let(enough, lambda units: F.filter("sold", lambda one: one.position < units))


def _sold() -> Column:
    """Sales that this window judges, each with its position by all that moved, and by what had come before a late restock."""
    def follows_and_came_before(move: Column, restock: Column) -> Column:
        is_sale = move.event_type == PURCHASE
        return is_sale & (move.event_time > restock.event_time) & (move.ingest_time < restock.ingest_time)

    is_late = F.filter("moves", lambda restock: (restock.event_type == RESTOCK) & F.exists(
        "moves", lambda move: follows_and_came_before(move, restock)))
    until = F.concat(F.array(F.lit(None).cast("timestamp")), F.transform(is_late, lambda restock: restock.ingest_time))
    positions = F.flatten(F.transform(until, lambda time: _positions(
        F.filter("moves", lambda move: time.isNull() | (move.ingest_time < time)))))
    return F.filter(positions, lambda one: F.array_contains("judged", one.event_id))


def _positions(moves: Column) -> Column:
    """Movements in order of time, each with the position after it; a count after a restock is believed."""
    def step(so_far: Column, move: Column) -> Column:
        came = F.coalesce(move.stock_on_hand, so_far["position"] + move.quantity)
        position = F.when(move.event_type == RESTOCK, came).otherwise(so_far["position"] - move.quantity)
        after = F.struct(move.event_time, move.event_id, position.alias("position"))
        # What was sent twice lies side by side, and counts once.
        moved = F.struct(position.alias("position"), move.event_id, F.concat(so_far["after"], F.array(after)).alias("after"))
        return F.when(so_far["event_id"] == move.event_id, so_far).otherwise(moved)

    nothing = F.array().cast("array<struct<event_time: timestamp, event_id: string, position: double>>")
    start = F.struct(F.col("known.on_hand").alias("position"), F.lit("").alias("event_id"), nothing.alias("after"))
    return F.aggregate(moves, start, step)["after"]


def _expected_units(of_product: Column, hours: int) -> Column:
    """Forecast units of this store in some hours for which the product's forecast is known: the same share of a week's."""
    share = F.try_divide(of_product, total("known.units_by_hour"))
    return 7 * F.col("known.daily_units") * F.coalesce(share, F.lit(hours / HOURS_PER_WEEK))


def _ids(sales: Column) -> Column:
    return F.to_json(F.array_distinct(F.transform(F.array_sort(sales), lambda one: one.event_id)))
