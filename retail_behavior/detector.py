"""Defines the rules of the shop: what each scores, and which events or window it reads.

Per visitor and window (real-time mode, RocksDB state): the visitor's views in their order of arrival, and the pace between them.
Per visitor and session (micro-batches, when the watermark has passed): the cart that is left when the visitor falls silent.
Per product and window (real-time mode, RocksDB state): orders against the product's forecast.
Per store and product (real-time mode, RocksDB state): the stock that batch counted, less sales and plus restocks, event by event.
Two queries raise no alerts: purchase intent of running sessions, and recommendations with each view and purchase.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import (
    Query,
    Rule,
    Scenario,
    entity_and_window,
    judge,
    let,
    threshold,
    threshold_names,
    with_thresholds,
)
from retail_behavior.events import ADD, PURCHASE, RESTOCK, VIEW, order_key
from retail_behavior.features import ARRIVAL, EVENT_FIELDS, cart_value, has_event_of, intents, running_sessions
from retail_behavior.rules.hour_of_week import sum_of_hours
from retail_behavior.rules.stock_position import (
    hours_left_text,
    ids_at_risk,
    ids_below_reorder_point,
    lowest_position,
    reorder_point,
    stock_out_risk,
    with_positions,
)
from retail_behavior.settings import MAX_VIEWS_PER_WINDOW, RetailSettings


def bot(settings: RetailSettings) -> Column:
    """Most views in a row at an even pace: of two successive gaps neither is more than `even_pace` times the other.

    Per visitor and window, of the first MAX_VIEWS_PER_WINDOW that came in it; people read unevenly however fast they click. A
    streak within the overlap of two windows lies whole in both. A view that comes late may break a streak that was reported
    already: what counts is the longest streak that there ever was.
    """
    return F.size("streak.ids").cast("double")


def cart_abandoned(settings: RetailSettings) -> Column:
    """Worth of what is left in the cart when the visitor has been silent for `session_gap`, if nothing was bought.

    Per visitor and session.
    """
    return F.when(~has_event_of("events", PURCHASE), cart_value("events"))


def demand_spike(settings: RetailSettings) -> Column:
    """Standard deviations of a product's orders above its forecast for the whole window, by Anscombe's transform of counts.

    Per product and window of `demand_hours`. Orders, not units: a bulk order is one. Null below `min_orders` and for a
    product without forecast.
    """
    deviations = 2 * (F.sqrt(_order_count() + 0.375) - F.sqrt(_expected_orders(settings) + 0.375))
    return F.when(_order_count() >= settings.min_orders, deviations)


BY_VISITOR = (
    Rule(
        "bot",
        bot,
        "bot_streak",
        lambda settings: F.format_string("%.0f views in a row, one every %.1f seconds", bot(settings), F.col("streak.pace")),
        lambda settings: F.to_json("streak.ids"),
    ),
)
BY_SESSION = (
    Rule(
        "cart_abandoned",
        cart_abandoned,
        "cart_value",
        lambda settings: F.format_string(
            "%.2f in the cart, silent for %s", cart_abandoned(settings), F.lit(settings.session_gap)
        ),
        lambda settings: F.element_at("events", -1).event_id,
        severity="minor",
    ),
)
BY_PRODUCT = (
    Rule(
        "demand_spike",
        demand_spike,
        "demand_zscore",
        lambda settings: F.format_string(
            "%d orders in %d hours where %.1f were forecast",
            _order_count(),
            F.lit(settings.demand_hours),
            _expected_orders(settings),
        ),
        lambda settings: F.to_json(F.transform("purchases", lambda purchase: purchase.event_id)),
    ),
)
BY_STOCK = (
    Rule(
        "reorder_point",
        reorder_point,
        "reorder_ratio",
        lambda settings: F.format_string(
            "%.0f left, reorder point %.1f: order %.0f",
            lowest_position(),
            F.col("baseline.reorder_point"),
            F.col("baseline.order_up_to") - lowest_position(),
        ),
        ids_below_reorder_point,
        severity="minor",
        critical_at=4.0,
    ),
    Rule(
        "stock_out_risk",
        stock_out_risk,
        "stock_out_risk",
        lambda settings: F.format_string("%.0f left%s", lowest_position(), hours_left_text()),
        ids_at_risk,
        critical_at=1.8,
    ),
)


def by_visitor(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over the pace of a visitor's views."""
    # A row per visitor and window: `arrivals`, an array of its views in the order in which they came in.
    windows = (
        events.where(F.col("event_type") == VIEW)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.bot_window, settings.bot_slide), "visitor_id")
        .agg(
            F.sort_array(F.collect_set(F.struct(*ARRIVAL, "event_time", "event_id"))).alias("arrivals"),
            F.max("event_time").alias("event_time"),
            F.max("ingest_time").alias("ingest_time"),
        )
    )
    windows = with_thresholds(windows, threshold_names(BY_VISITOR), settings)
    long_windows = windows.where(F.size("arrivals") >= threshold("bot_streak"))
    streaks = long_windows.withColumn("streak", _longest_streak_ever(settings))
    subject = entity_and_window("visitor_id")
    return judge(streaks, BY_VISITOR, settings, vertical="retail_behavior", entity="visitor_id", subject=subject)


def by_session(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over what a visitor leaves in the cart; a session is a visitor's events less than `session_gap` apart."""
    # A row per visitor and session: `events`, an array of them in order of time.
    sessions = (
        events.where(F.col("event_type") != RESTOCK)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.session_window("event_time", settings.session_gap).alias("window"), "visitor_id")
        .agg(F.sort_array(F.collect_set(F.struct(*EVENT_FIELDS))).alias("events"), F.max("ingest_time").alias("ingest_time"))
    )
    # The same as the window's end, which is not used: Spark pushes a filter on it below the sessions, and cuts them.
    session_end = F.element_at("events", -1).event_time + F.expr(f"INTERVAL {settings.session_gap}")
    sessions = sessions.withColumn("event_time", session_end)
    subject = entity_and_window("visitor_id")
    return judge(sessions, BY_SESSION, settings, vertical="retail_behavior", entity="visitor_id", subject=subject)


def by_product(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over a product's orders within a window."""
    # A window keeps the forecast that it began with: under a newer one an alert that was raised might not have been.
    forecast = F.struct("baseline_version", "orders_by_hour")
    # A row per product and window: `purchases`, an array of them in order of time, and the forecast.
    windows = (
        events.where(F.col("event_type") == PURCHASE)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", f"{settings.demand_hours} hours", settings.demand_slide), "product_id")
        .agg(
            F.sort_array(F.collect_set(F.struct("event_time", "event_id", order_key().alias("order")))).alias("purchases"),
            F.min(F.when(F.col("baseline_version").isNotNull(), forecast)).alias("forecast"),
            F.max("event_time").alias("event_time"),
            F.max("ingest_time").alias("ingest_time"),
        )
        .withColumn("baseline_version", F.col("forecast.baseline_version"))
    )
    subject = entity_and_window("product_id")
    return judge(windows, BY_PRODUCT, settings, vertical="retail_behavior", entity="product_id", subject=subject)


def by_stock(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """Alerts over the stock of a product in a store since its baseline counted it."""
    positions = with_positions(events, settings)
    return judge(positions, BY_STOCK, settings, vertical="retail_behavior", entity="item", subject=entity_and_window("item"))


def recommendations(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """What goes with each product that is viewed or bought, as it happens."""
    return events.where(F.col("event_type").isin(VIEW, PURCHASE) & (F.size("recommended") > 0)).select(
        F.col("visitor_id").alias("entity_id"),
        "event_id",
        "event_type",
        "product_id",
        "recommended",
        "event_time",
        "baseline_version",
        "ingest_time",
    )


def _longest_streak_ever(settings: RetailSettings) -> Column:
    """The longest even streak that there was after any arrival, in the shape of `_longest_streak`.

    Only a late view can shorten a streak. So the longest one ever is the longest of those that there were just before each
    late view, and of the one that there is now.
    """
    views = F.array_distinct(F.transform("arrivals", lambda view: F.struct(view.event_time, view.event_id)))

    def longest(arrivals: Column) -> Column:
        counts = F.concat(_counts_before_late_views(arrivals), F.array(F.size(arrivals)))
        return F.array_max(
            F.transform(
                counts,
                lambda count: let(
                    F.array_sort(F.slice(arrivals, 1, count)), lambda ordered_views: _longest_streak(ordered_views, settings)
                ),
            )
        )

    return let(F.slice(views, 1, MAX_VIEWS_PER_WINDOW), longest)


def _counts_before_late_views(arrivals: Column) -> Column:
    """For each view that came in after a later one, how many views had come in before it."""

    def add(state: Column, view: Column) -> Column:
        late_counts = F.when(view.event_time < state["newest"], F.array(state["count"])).otherwise(F.array().cast("array<int>"))
        return F.struct(
            (state["count"] + 1).alias("count"),
            F.greatest(state["newest"], view.event_time).alias("newest"),
            F.concat(state["counts"], late_counts).alias("counts"),
        )

    start = F.struct(
        F.lit(0).alias("count"), F.lit(None).cast("timestamp").alias("newest"), F.array().cast("array<int>").alias("counts")
    )
    return F.aggregate(arrivals, start, add)["counts"]


def _longest_streak(views: Column, settings: RetailSettings) -> Column:
    """Of views in order of time: struct(gaps: how many, pace: mean seconds of a gap, ids of its views).

    One pass over the gaps: `_next_run` keeps the run of even gaps that ends with the newest one, and the longest run so far.
    """
    zero = F.lit(0)
    no_run = F.struct(
        F.lit(0.0).alias("gap"),
        zero.alias("run"),
        F.lit(0.0).alias("run_seconds"),
        zero.alias("longest"),
        zero.alias("end"),
        F.lit(0.0).alias("pace"),
    )
    positions = F.when(F.size(views) > 1, F.sequence(F.lit(2), F.size(views))).otherwise(F.array().cast("array<int>"))
    runs = F.aggregate(
        positions, no_run, lambda state, position: _next_run(state, position, _gap_seconds(views, position), settings)
    )

    def view_ids(run: Column) -> Column:
        run_views = F.slice(views, F.greatest(run.end - run.longest, F.lit(1)), run.longest + 1)
        return F.transform(run_views, lambda view: view.event_id)

    return let(runs, lambda run: F.struct(run.longest.alias("gaps"), run.pace.alias("pace"), view_ids(run).alias("ids")))


def _gap_seconds(views: Column, position: Column) -> Column:
    """Seconds from the view before to that at `position`, which counts from 1."""
    view, previous_view = F.element_at(views, position), F.element_at(views, position - 1)
    return (F.unix_millis(view.event_time) - F.unix_millis(previous_view.event_time)) / 1000


def _next_run(state: Column, position: Column, gap: Column, settings: RetailSettings) -> Column:
    """The state after the gap that ends with the view at `position`.

    gap: seconds of the newest gap. run, run_seconds: how many even gaps end with it, and how long they are together.
    longest, end, pace: gaps of the longest run so far, the position of its last view, and the mean seconds of its gaps.
    """
    previous_gap = state["gap"]
    is_even = (gap <= settings.longest_gap_seconds) & (
        F.greatest(gap, previous_gap) <= settings.even_pace * F.least(gap, previous_gap)
    )
    run = F.when(is_even, state["run"] + 1).otherwise(1)
    run_seconds = F.when(is_even, state["run_seconds"] + gap).otherwise(gap)
    is_longest = run > state["longest"]
    return F.struct(
        gap.alias("gap"),
        run.alias("run"),
        run_seconds.alias("run_seconds"),
        F.when(is_longest, run).otherwise(state["longest"]).alias("longest"),
        F.when(is_longest, position).otherwise(state["end"]).alias("end"),
        F.when(is_longest, run_seconds / run).otherwise(state["pace"]).alias("pace"),
    )


def _order_count() -> Column:
    return F.size(F.array_distinct(F.transform("purchases", lambda purchase: purchase.order)))


def _expected_orders(settings: RetailSettings) -> Column:
    """Forecast orders of the whole window."""
    return sum_of_hours("forecast.orders_by_hour", F.col("window.start"), settings.demand_hours)


QUERIES = (
    Query("by_visitor", BY_VISITOR, by_visitor, stateful=True),
    Query("by_session", BY_SESSION, by_session, stateful=True, output_mode="append"),
    Query("by_product", BY_PRODUCT, by_product, baselines=("product",), stateful=True),
    Query("by_stock", BY_STOCK, by_stock, baselines=("product",), stateful=True),
    Query("intents", (), intents, baselines=("visitor",), model=True, stateful=True, topic="intents", prepare=running_sessions),
    Query("recommendations", (), recommendations, baselines=("product",), topic="recommendations"),
)


def _viewed_price() -> Column:
    return F.when(F.col("event_type") == VIEW, F.col("price"))


def _added_value() -> Column:
    return F.when(F.col("event_type") == ADD, F.col("quantity") * F.col("price"))


def _order_units() -> Column:
    return F.when(F.col("event_type") == PURCHASE, F.col("quantity")).cast("double")


# Beside each scenario what a plain threshold on a single event would look at.
SCENARIOS = (
    Scenario("bot", ("bot",), _viewed_price),
    Scenario("cart_abandoned", ("cart_abandoned",), _added_value),
    Scenario("demand_spike", ("demand_spike",), _order_units),
    Scenario("stock_running_out", ("reorder_point", "stock_out_risk"), _order_units),
)
