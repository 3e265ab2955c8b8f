"""Tracks the live stock position of a product in a store: units that batch counted, less sales and plus restocks since.

Every window of `stock_window` gathers the movements (sales and restocks) in it. A sale is judged in one window only: the one
that began when the baseline in force at the sale had counted the stock (`stock_as_of`). When a newer baseline comes into
force, sales from then on are judged in the window of its own count, which has gathered all movements since that count. So
no movement is missed and none is counted twice.

A restock that comes late, after a sale that followed it in event time, raises the position of later sales. Alerts that were
raised before it came stay, as a windowed score must never decrease.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import let, threshold
from retail_behavior.events import PURCHASE, RESTOCK
from retail_behavior.rules.hour_of_week import HOURS_PER_WEEK, max_of_hours, sum_of, sum_of_hours
from retail_behavior.settings import STOCK_SLIDE, RetailSettings

LOGISTIC_PROBIT = 1.702  # a logistic curve of this slope is the normal distribution within 0.01
NO_RISK_DEVIATIONS = 3.0  # of demand: with so many to spare the risk is below 1 % and not computed
STOCK_FIELDS = ("on_hand", "daily_units", "variance_ratio", "reorder_point", "order_up_to")


def with_positions(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """A row per store and product with sales to judge since `stock_as_of`.

    `sales`: an array of struct(event_time, event_id, position), where position is the units left after the sale.
    `baseline`: what batch learnt of the product in that store. `item`: store and product.
    """
    stock_in_store = [F.col("stock_by_store")[F.col("store_id")][name].alias(name) for name in STOCK_FIELDS]
    movements = events.where(F.col("event_type").isin(PURCHASE, RESTOCK) & F.col("store_id").isNotNull()).withColumns(
        {
            "baseline": F.struct("baseline_version", "units_by_hour", *stock_in_store),
            "movement": F.struct("event_time", "event_id", "event_type", "quantity", "stock_on_hand", "ingest_time"),
        }
    )
    is_in_force = F.col("window.start") == F.col("stock_as_of")
    is_judged = is_in_force & (F.col("event_type") == PURCHASE)
    windows = (
        movements.withWatermark("event_time", settings.watermark)
        .withColumn("window", F.window("event_time", settings.stock_window, STOCK_SLIDE))
        .groupBy("window", "store_id", "product_id")
        .agg(
            F.sort_array(F.collect_set("movement")).alias("movements"),
            F.collect_set(F.when(is_judged, F.col("event_id"))).alias("judged_ids"),
            F.min(F.when(is_in_force, F.col("baseline"))).alias("baseline"),
            *[F.max(F.when(is_in_force, F.col(name))).alias(name) for name in ("event_time", "ingest_time")],
        )
        .where(F.col("baseline.on_hand").isNotNull() & (F.size("judged_ids") > 0))
    )
    return windows.withColumns(
        {
            "sales": _judged_sales(),
            "item": F.concat_ws("/", "store_id", "product_id"),
            "baseline_version": F.col("baseline.baseline_version"),
        }
    )


def reorder_point(settings: RetailSettings) -> Column:
    """Reorder point over the lowest stock position since the count; a position of less than half a unit counts as half a unit.

    Per store and product, at every sale. The reorder point covers demand over the lead time and its safety stock.
    """
    return _reorder_ratio(lowest_position())


def stock_out_risk(settings: RetailSettings) -> Column:
    """Highest probability, 0 to 1, that demand within `risk_hours` of a sale takes more than it left. Per store and product.

    Demand of those hours by the product's forecast, hour by hour; its variance is a multiple of it, as in the past. Null
    where so much is left that the probability is below 1 %.
    """
    return F.array_max(F.transform(_scarce_sales(settings), lambda sale: _risk_after(sale, settings)))


def ids_below_reorder_point(settings: RetailSettings) -> Column:
    """Ids of the sales that left so little that reorder_point raised its alert."""
    return _ids_of(F.filter("sales", lambda sale: _reorder_ratio(sale.position) >= threshold("reorder_ratio")))


def ids_at_risk(settings: RetailSettings) -> Column:
    """Ids of the sales that left so little that stock_out_risk raised its alert."""
    return _ids_of(F.filter(_scarce_sales(settings), lambda sale: _risk_after(sale, settings) >= threshold("stock_out_risk")))


def lowest_position() -> Column:
    """The fewest units that any of `sales` left."""
    return F.array_min(F.transform("sales", lambda sale: sale.position))


def hours_left_text() -> Column:
    """For how many hours of usual demand the lowest position lasts, in words; "" where nothing is usually sold."""
    hours = F.try_divide(24 * F.greatest(lowest_position(), F.lit(0.0)), F.col("baseline.daily_units"))
    return F.when(hours.isNotNull(), F.format_string(", enough for %.1f hours", hours)).otherwise("")


def _reorder_ratio(position: Column) -> Column:
    return F.col("baseline.reorder_point") / F.greatest(position, F.lit(0.5))


def _risk_after(sale: Column, settings: RetailSettings) -> Column:
    """Probability that demand of the `risk_hours` after a sale exceeds what it left, by the normal distribution."""
    product_units = sum_of_hours("baseline.units_by_hour", sale.event_time, settings.risk_hours)
    expected_units = _expected_units(product_units, settings.risk_hours)
    deviations = (expected_units - sale.position - 0.5) / F.sqrt(F.col("baseline.variance_ratio") * expected_units + 0.01)
    return 1 / (1 + F.exp(-LOGISTIC_PROBIT * deviations))


def _scarce_sales(settings: RetailSettings) -> Column:
    """Those of `sales` that left less than any `risk_hours` of a week may take: only after these a risk is worth computing."""
    max_units = _expected_units(max_of_hours("baseline.units_by_hour", settings.risk_hours), settings.risk_hours)
    safe_units = max_units + NO_RISK_DEVIATIONS * F.sqrt(F.col("baseline.variance_ratio") * max_units + 0.01)
    return let(safe_units, lambda units: F.filter("sales", lambda sale: sale.position < units))


def _expected_units(product_units: Column, hours: int) -> Column:
    """Units that this store may sell in some hours, from the forecast of the product in all stores for those hours.

    The store's usual week, times the hours' share of the product's forecast for a week; without a forecast, of the clock's.
    """
    share = F.try_divide(product_units, sum_of("baseline.units_by_hour"))
    return 7 * F.col("baseline.daily_units") * F.coalesce(share, F.lit(hours / HOURS_PER_WEEK))


def _judged_sales() -> Column:
    """The sales that this window judges, each with its position after all movements that are known now.

    And each once more for every late restock, with its position as it was before that came: an alert raised then stays.
    """
    cutoffs = F.concat(F.array(F.lit(None).cast("timestamp")), _arrivals_of_late_restocks())
    positions = F.flatten(F.transform(cutoffs, lambda cutoff: _positions_after(_movements_before(cutoff))))
    return F.filter(positions, lambda movement: F.array_contains("judged_ids", movement.event_id))


def _arrivals_of_late_restocks() -> Column:
    """The ingest times of restocks that came in after a sale that is later than they are in event time."""

    def is_late(restock: Column) -> Column:
        return F.exists("movements", lambda movement: _overtakes(movement, restock))

    late_restocks = F.filter("movements", lambda movement: (movement.event_type == RESTOCK) & is_late(movement))
    return F.transform(late_restocks, lambda restock: restock.ingest_time)


def _overtakes(movement: Column, restock: Column) -> Column:
    """Whether a movement is a sale after the restock that came in before it."""
    is_sale = movement.event_type == PURCHASE
    return is_sale & (movement.event_time > restock.event_time) & (movement.ingest_time < restock.ingest_time)


def _movements_before(cutoff: Column) -> Column:
    """The movements that had come in before a time; all of them where it is null."""
    return F.filter("movements", lambda movement: cutoff.isNull() | (movement.ingest_time < cutoff))


def _positions_after(movements: Column) -> Column:
    """struct(event_time, event_id, position) of each movement, in order of time: the units that are there after it.

    A movement that was sent twice stands in the sorted set twice, side by side, and counts once.
    """

    def add(state: Column, movement: Column) -> Column:
        position = _position_after(state["position"], movement)
        entry = F.struct(movement.event_time, movement.event_id, position.alias("position"))
        new_state = F.struct(
            position.alias("position"), movement.event_id, F.concat(state["entries"], F.array(entry)).alias("entries")
        )
        return F.when(state["event_id"] == movement.event_id, state).otherwise(new_state)

    no_entries = F.array().cast("array<struct<event_time: timestamp, event_id: string, position: double>>")
    start = F.struct(F.col("baseline.on_hand").alias("position"), F.lit("").alias("event_id"), no_entries.alias("entries"))
    return F.aggregate(movements, start, add)["entries"]


def _position_after(position: Column, movement: Column) -> Column:
    """Units after a sale or a restock; a count that comes with a restock is taken instead of what was computed."""
    position_after_restock = F.coalesce(movement.stock_on_hand, position + movement.quantity)
    return F.when(movement.event_type == RESTOCK, position_after_restock).otherwise(position - movement.quantity)


def _ids_of(sales: Column) -> Column:
    """The ids of an array of sales, each once and in order of time, as JSON."""
    return F.to_json(F.array_distinct(F.transform(F.array_sort(sales), lambda sale: sale.event_id)))
