"""The rules of the shop: what each scores, and which events or window it reads.

Per visitor and window (real-time mode, RocksDB state): the set of the visitor's views as they came, and the pace between them.
Per visitor and session (micro-batch, speaks when the watermark has passed): the cart that is left when silence falls.
Per product and window (real-time mode): orders against the product's forecast.
Per store and product (real-time mode): stock of the morning, what came and what went, event by event.
Beside alerts, two topics: purchase intent of running sessions, and recommendations with each view and purchase.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.columns import let
from common.rules import Rule, judge, threshold_names
from common.thresholds import threshold, with_thresholds
from common.vertical import Query
from retail_behavior.events import PURCHASE, RESTOCK, VIEW, order
from retail_behavior.features import HAPPENING, PLACE, any_of, cart_value, intents, prepare
from retail_behavior.rules.hour_of_week import hours_from
from retail_behavior.rules.stock_position import (
    at_risk,
    hours_left,
    lowest,
    reorder_point,
    short_of_reorder_point,
    stock_out_risk,
    with_positions,
)
from retail_behavior.settings import JUDGED_VIEWS, RetailSettings


def bot(settings: RetailSettings) -> Column:
    """Most views in a row at an even pace: each gap at most `even_pace` times the one before it, or that times it.

    Per visitor and window, of the first JUDGED_VIEWS that came in it; people read unevenly however fast they click. A streak
    within the windows' overlap is seen whole. A view that comes late may break a streak that was seen before: what counts
    is the longest there ever was.
    """
    return F.size("streak.ids").cast("double")


def cart_abandoned(settings: RetailSettings) -> Column:
    """Worth of what is left in the cart when the visitor has been silent for `session_gap`, if nothing was bought.

    Per visitor and session.
    """
    return F.when(~any_of("happened", PURCHASE), cart_value("happened"))


def demand_spike(settings: RetailSettings) -> Column:
    """Standard deviations of a product's orders above its forecast for the whole window, by Anscombe's transform of counts.

    Per product and window of `demand_hours`. Orders, not units: a bulk order is one. Null below `min_orders` and for a
    product without forecast.
    """
    above = 2 * (F.sqrt(_orders() + 0.375) - F.sqrt(_expected_orders(settings) + 0.375))
    return F.when(_orders() >= settings.min_orders, above)


BY_VISITOR = (
    Rule("bot", bot, "bot_streak",
         lambda s: F.format_string("%.0f views in a row, one every %.1f seconds", bot(s), F.col("streak.pace")),
         lambda s: F.to_json("streak.ids")),
)
BY_SESSION = (
    Rule("cart_abandoned", cart_abandoned, "cart_value",
         lambda s: F.format_string("%.2f in the cart, silent for %s", cart_abandoned(s), F.lit(s.session_gap)),
         lambda s: F.element_at("happened", -1).event_id, severity="minor"),
)
BY_PRODUCT = (
    Rule("demand_spike", demand_spike, "demand_zscore",
         lambda s: F.format_string("%d orders in %d hours where %.1f were forecast", _orders(), F.lit(s.demand_hours),
                                   _expected_orders(s)),
         lambda s: F.to_json(F.transform("purchases", lambda one: one.event_id))),
)
BY_STOCK = (
    Rule("reorder_point", reorder_point, "reorder_ratio",
         lambda s: F.format_string("%.0f left, reorder point %.1f: order %.0f", lowest(), F.col("known.reorder_point"),
                                   F.col("known.order_up_to") - lowest()),
         short_of_reorder_point, severity="minor", critical_at=4.0),
    Rule("stock_out_risk", stock_out_risk, "stock_out_risk",
         lambda s: F.format_string("%.0f left%s", lowest(), hours_left()), at_risk, critical_at=1.8),
)


def by_visitor(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over the pace of a visitor's views."""
    windows = (
        events.where(F.col("event_type") == VIEW).withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.bot_window, settings.bot_slide), "visitor_id")
        .agg(F.sort_array(F.collect_set(F.struct(*PLACE, "event_time", "event_id"))).alias("arrived"),
             F.max("event_time").alias("event_time"), F.max("ingest_time").alias("ingest_time"))
    )
    enough = with_thresholds(windows, threshold_names(BY_VISITOR), settings).where(F.size("arrived") >= threshold("bot_streak"))
    paced = enough.withColumn("streak", _streak(settings))
    return judge(paced, BY_VISITOR, settings, vertical="retail_behavior", entity="visitor_id", subject=_subject("visitor_id"))


def by_session(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over what a visitor leaves behind; a session is a visitor's events less than `session_gap` apart."""
    sessions = (
        events.where(F.col("event_type") != RESTOCK).withWatermark("event_time", settings.watermark)
        .groupBy(F.session_window("event_time", settings.session_gap).alias("window"), "visitor_id")
        .agg(F.sort_array(F.collect_set(F.struct(*HAPPENING))).alias("happened"), F.max("ingest_time").alias("ingest_time"))
    )
    # The same as the window's end, which is not used: Spark pushes a filter on it below the sessions, and cuts them.
    silent = F.element_at("happened", -1).event_time + F.expr(f"INTERVAL {settings.session_gap}")
    sessions = sessions.withColumn("event_time", silent)
    return judge(sessions, BY_SESSION, settings, vertical="retail_behavior", entity="visitor_id", subject=_subject("visitor_id"))


def by_product(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over a product's orders within a window."""
    # A window keeps the forecast that it began with: under a newer one an alert that was raised might not have been.
    forecast = F.struct("baseline_version", "orders_by_hour")
    windows = (
        events.where(F.col("event_type") == PURCHASE).withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", f"{settings.demand_hours} hours", settings.demand_slide), "product_id")
        .agg(F.sort_array(F.collect_set(F.struct("event_time", "event_id", order().alias("order")))).alias("purchases"),
             F.min(F.when(F.col("baseline_version").isNotNull(), forecast)).alias("forecast"),
             F.max("event_time").alias("event_time"), F.max("ingest_time").alias("ingest_time"))
        .withColumn("baseline_version", F.col("forecast.baseline_version"))
    )
    return judge(windows, BY_PRODUCT, settings, vertical="retail_behavior", entity="product_id", subject=_subject("product_id"))


def by_stock(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over the stock of a product in a store since its baseline counted it."""
    return judge(with_positions(events, settings), BY_STOCK, settings, vertical="retail_behavior", entity="item",
                 subject=F.concat_ws("|", "item", F.col("window.start").cast("string")))


def recommendations(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """What goes with each product that is viewed or bought, as it happens."""
    return events.where(F.col("event_type").isin(VIEW, PURCHASE) & (F.size("recommended") > 0)).select(
        F.col("visitor_id").alias("entity_id"), "event_id", "event_type", "product_id", "recommended", "event_time",
        "baseline_version", "ingest_time")


def _streak(settings: RetailSettings) -> Column:
    """The longest even streak that there was at any arrival: struct(gaps, pace: mean seconds between its views, ids)."""
    views = F.array_distinct(F.transform("arrived", lambda view: F.struct(view.event_time, view.event_id)))

    def longest(arrived: Column) -> Column:
        # A streak shrinks by nothing but a late view: as it was before each of these, and at last, is all there is to see.
        counts = F.concat(_before_late(arrived), F.array(F.size(arrived)))
        return F.array_max(F.transform(counts, lambda count: let(
            F.array_sort(F.slice(arrived, 1, count)), lambda ordered: _longest_streak(ordered, settings))))

    return let(F.slice(views, 1, JUDGED_VIEWS), longest)


def _before_late(arrived: Column) -> Column:
    """For each view that came after a later one, how many had come before it."""
    def step(so_far: Column, view: Column) -> Column:
        late = F.when(view.event_time < so_far["newest"], F.array(so_far["count"])).otherwise(F.array().cast("array<int>"))
        return F.struct((so_far["count"] + 1).alias("count"), F.greatest(so_far["newest"], view.event_time).alias("newest"),
                        F.concat(so_far["late"], late).alias("late"))

    start = F.struct(F.lit(0).alias("count"), F.lit(None).cast("timestamp").alias("newest"),
                     F.array().cast("array<int>").alias("late"))
    return F.aggregate(arrived, start, step)["late"]


def _longest_streak(views: Column, settings: RetailSettings) -> Column:
    """Of views in order of time, as `_streak`."""
    def seconds(position: Column) -> Column:
        view, before = F.element_at(views, position), F.element_at(views, position - 1)
        return (F.unix_millis(view.event_time) - F.unix_millis(before.event_time)) / 1000

    def step(so_far: Column, position: Column) -> Column:
        gap, before = seconds(position), so_far["gap"]
        is_even = (gap <= settings.longest_gap_seconds) & (F.greatest(gap, before) <= settings.even_pace * F.least(gap, before))
        run = F.when(is_even, so_far["run"] + 1).otherwise(1)
        spent = F.when(is_even, so_far["spent"] + gap).otherwise(gap)
        is_best = run > so_far["best"]
        return F.struct(
            gap.alias("gap"), run.alias("run"), spent.alias("spent"),
            F.when(is_best, run).otherwise(so_far["best"]).alias("best"),
            F.when(is_best, position).otherwise(so_far["end"]).alias("end"),
            F.when(is_best, spent / run).otherwise(so_far["pace"]).alias("pace"))

    zero = F.lit(0)
    start = F.struct(F.lit(0.0).alias("gap"), zero.alias("run"), F.lit(0.0).alias("spent"), zero.alias("best"),
                     zero.alias("end"), F.lit(0.0).alias("pace"))
    positions = F.when(F.size(views) > 1, F.sequence(F.lit(2), F.size(views))).otherwise(F.array().cast("array<int>"))
    return let(F.aggregate(positions, start, step), lambda found: F.struct(
        found.best.alias("gaps"), found.pace.alias("pace"),
        F.transform(F.slice(views, F.greatest(found.end - found.best, F.lit(1)), found.best + 1), lambda view: view.event_id)
        .alias("ids")))


def _orders() -> Column:
    return F.size(F.array_distinct(F.transform("purchases", lambda one: one.order)))


def _expected_orders(settings: RetailSettings) -> Column:
    """Forecast orders of the whole window."""
    return hours_from("forecast.orders_by_hour", F.col("window.start"), settings.demand_hours)


def _subject(key: str) -> Column:
    return F.concat_ws("|", F.col(key), F.col("window.start").cast("string"))


QUERIES = (
    Query("by_visitor", BY_VISITOR, by_visitor, stateful=True),
    Query("by_session", BY_SESSION, by_session, stateful=True, output_mode="append"),
    Query("by_product", BY_PRODUCT, by_product, baselines=("product",), stateful=True),
    Query("by_stock", BY_STOCK, by_stock, baselines=("product",), stateful=True),
    Query("intents", (), intents, baselines=("visitor",), model=True, stateful=True, topic="intents", prepare=prepare),
    Query("recommendations", (), recommendations, baselines=("product",), topic="recommendations"),
)
