"""Computes what the intent model reads of a session so far, live and in training by the same expressions.

`running_sessions` gathers a running session's events; `sessions_so_far` gives history the same rows, one for each event, with
the events that had come in by then. The label of such a row is whether the session went on to a purchase.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import let
from retail_behavior.events import ADD, PURCHASE, REMOVE, VIEW
from retail_behavior.rules.hour_of_week import sum_of
from retail_behavior.settings import RetailSettings

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FEATURES = (
    "views", "adds", "removes", "distinct_products", "repeated_share", "cart_value", "mean_price", "ends_with_add",
    "minutes_so_far", "seconds_per_view", "hour_of_day", "is_weekend", "by_email", "by_search", "by_social",
    "earlier_sessions", "earlier_buys_share", "earlier_spend",
)  # fmt: skip
VISITOR_HABITS = ("visitor_sessions_30d", "visitor_buying_sessions_30d", "visitor_spend_30d")
TOLERANCE = 1e-5  # of the exported model: trees compare in single precision
LONGEST_SESSION = 60  # events that training reads of a session; later ones add nothing and are mostly bots

EVENT_FIELDS = ("event_time", "event_id", "event_type", "product_id", "quantity", "price")
ARRIVAL = ("kafka_partition", "kafka_offset")  # orders the events of a visitor by when they came in


def running_sessions(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """A row per running session without a purchase: its `events` so far, in order of time, and its visitor's habits."""
    sessions = (
        _shopping_events(events)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.intent_window), "visitor_id", "session_id")
        .agg(
            F.sort_array(F.collect_set(F.struct(*EVENT_FIELDS))).alias("events"),
            F.max(F.struct(*reversed(ARRIVAL))).alias("newest"),
            # A session may have events joined with two versions of the baseline, and keeps the later.
            F.max(F.struct("baseline_version", *VISITOR_HABITS)).alias("habits"),
            *[F.max(name).alias(name) for name in ("event_time", "ingest_time", "channel")],
        )
    )
    return sessions.where(~has_event_of("events", PURCHASE)).select("*", "newest.*", "habits.*").drop("newest", "habits")


def sessions_so_far(history: DataFrame, window: str = RetailSettings.model_fields["intent_window"].default) -> DataFrame:
    """A row per event before its session's purchase: the `events` of the session that had come in by then, in order of time.

    Events come in in the order of their Kafka partition, which holds all events of a visitor.
    """
    arrival = F.struct(*ARRIVAL, *EVENT_FIELDS, "channel")
    sessions = (
        _shopping_events(history)
        .groupBy(F.window("event_time", window), "visitor_id", "session_id")
        .agg(F.slice(F.sort_array(F.collect_set(arrival)), 1, LONGEST_SESSION).alias("arrivals"))
    )
    # prefix: an event, and all up to it in order of arrival.
    prefixes = F.transform(
        F.sequence(F.lit(1), F.size("arrivals")),
        lambda number: F.struct(F.element_at("arrivals", number).alias("last"), F.slice("arrivals", 1, number).alias("arrivals")),
    )
    rows = sessions.select("visitor_id", "session_id", F.explode(prefixes).alias("prefix"))
    events = F.sort_array(
        F.transform("prefix.arrivals", lambda event: F.struct(*[event[name].alias(name) for name in EVENT_FIELDS]))
    )
    channel = F.array_max(F.transform("prefix.arrivals", lambda event: event.channel))
    rows = rows.select(
        "visitor_id",
        "session_id",
        channel.alias("channel"),
        events.alias("events"),
        "prefix.last.event_id",
        "prefix.last.event_time",
        "prefix.last.product_id",
    )
    return rows.where(~has_event_of("events", PURCHASE))


def purchase_labels(events: DataFrame, labels: DataFrame) -> DataFrame:
    """event_id and label: 1 where the event's session has a purchase. Purchases themselves are left out."""
    shopping_events = _shopping_events(events)
    purchases = shopping_events.where(F.col("event_type") == PURCHASE)
    buying_sessions = purchases.select("visitor_id", "session_id", F.lit(1).alias("label")).distinct()
    other_events = shopping_events.where(F.col("event_type") != PURCHASE).join(
        buying_sessions, ["visitor_id", "session_id"], "left"
    )
    return other_events.select("event_id", F.coalesce("label", F.lit(0)).alias("label")).distinct()


def with_features(sessions: DataFrame) -> DataFrame:
    """Adds FEATURES, never null, to rows of `running_sessions` or of `sessions_so_far` joined with the visitor's baseline."""
    views, minutes = _count_of("events", VIEW), _session_seconds() / 60
    newest = F.element_at("events", -1).event_time
    distinct_products = F.size(F.array_distinct(F.transform("events", lambda event: event.product_id))).cast("double")
    earlier_sessions = F.coalesce(F.col("visitor_sessions_30d").cast("double"), F.lit(0.0))
    earlier_buys = F.coalesce(F.col("visitor_buying_sessions_30d").cast("double"), F.lit(0.0))
    columns = {
        "views": views,
        "adds": _count_of("events", ADD),
        "removes": _count_of("events", REMOVE),
        "distinct_products": distinct_products,
        "repeated_share": 1 - distinct_products / F.size("events"),
        "cart_value": cart_value("events"),
        "mean_price": sum_of(F.transform("events", lambda event: event.price)) / F.size("events"),
        "ends_with_add": _flag(F.element_at("events", -1).event_type == ADD),
        "minutes_so_far": minutes,
        "seconds_per_view": F.coalesce(F.try_divide(60 * minutes, views), F.lit(0.0)),
        "hour_of_day": F.hour(newest).cast("double"),
        "is_weekend": _flag(F.weekday(newest) >= 5),
        **{f"by_{channel}": _flag(F.col("channel") == channel) for channel in ("email", "search", "social")},
        "earlier_sessions": earlier_sessions,
        "earlier_buys_share": F.coalesce(F.try_divide(earlier_buys, earlier_sessions), F.lit(0.0)),
        "earlier_spend": F.coalesce("visitor_spend_30d", F.lit(0.0)),
    }
    return sessions.withColumns(columns)


def fit_intent(features: pd.DataFrame, labels: np.ndarray, trees: int = 150, depth: int = 5) -> "Pipeline":
    """Gradient boosting as orbital exports it: small steps, each tree on a part of the rows and features."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    classifier = GradientBoostingClassifier(
        n_estimators=trees,
        max_depth=depth,
        learning_rate=5.25 / trees,
        min_samples_leaf=30,
        subsample=0.6,
        max_features=6,
        random_state=0,
    )
    return Pipeline([("trees", classifier.fit(features, labels))])


def fit_live(features: pd.DataFrame, labels: np.ndarray) -> "Pipeline":
    """The same with fewer trees: each update of a running session is scored by all of them, written out as SQL."""
    return fit_intent(features, labels, trees=40, depth=3)


def cart_value(events: str) -> Column:
    """The value of what was put into the cart and not taken out again, over an array of EVENT_FIELDS (currency units).

    Product by product: what is taken out lessens only what these events put in, and a product of which all is taken out is
    worth nothing.
    """

    def value_of(product: Column, lines: Column) -> Column:
        product_lines = F.filter(lines, lambda line: line.product_id == product)
        units = sum_of(F.transform(product_lines, _units_added))
        return left_in_cart(units, sum_of(F.transform(product_lines, lambda line: _units_added(line) * line.price)))

    def value_of_all(lines: Column) -> Column:
        products = F.array_distinct(F.transform(lines, lambda line: line.product_id))
        return sum_of(F.transform(products, lambda product: value_of(product, lines)))

    return let(F.filter(events, lambda event: event.event_type.isin(ADD, REMOVE)), value_of_all)


def left_in_cart(units: Column, value: Column) -> Column:
    """Worth of what is left of a product: `units` and their `value` as they were put in, less what was taken out."""
    return F.when(units > 0, F.greatest(value, F.lit(0.0))).otherwise(0.0)


def has_event_of(events: str, event_type: str) -> Column:
    """Whether an array of EVENT_FIELDS holds an event of that type."""
    return F.exists(events, lambda event: event.event_type == event_type)


def intents(sessions: DataFrame, settings: RetailSettings) -> DataFrame:
    """What is published of a running session: its visitor as entity, and the probability that it ends in a purchase."""
    return sessions.where(F.col("model_score").isNotNull()).select(
        F.col("visitor_id").alias("entity_id"),
        "session_id",
        "event_time",
        F.col("model_score").alias("purchase_probability"),
        "cart_value",
        "views",
        "adds",
        "model_version",
        "baseline_version",
        "ingest_time",
    )


def _shopping_events(events: DataFrame) -> DataFrame:
    return events.where(F.col("event_type").isin(VIEW, ADD, REMOVE, PURCHASE) & F.col("session_id").isNotNull())


def _units_added(line: Column) -> Column:
    """Units that an event puts into the cart; negative where it takes them out."""
    return F.when(line.event_type == ADD, line.quantity).otherwise(-line.quantity)


def _count_of(events: str, event_type: str) -> Column:
    return F.size(F.filter(events, lambda event: event.event_type == event_type)).cast("double")


def _session_seconds() -> Column:
    """From the session's first event to its newest."""
    first, newest = F.element_at("events", 1).event_time, F.element_at("events", -1).event_time
    return (F.unix_millis(newest) - F.unix_millis(first)) / 1000


def _flag(condition: Column) -> Column:
    return F.when(condition, 1.0).otherwise(0.0)
