"""What the intent model knows of a session so far, live and in training by the same expressions.

`prepare` gathers a running session's events; `so_far` gives history the same rows, one for each event, with the events
that had arrived by then. The label of such a row is whether the session went on to a purchase.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.columns import let
from retail_behavior.events import ADD, PURCHASE, REMOVE, VIEW
from retail_behavior.rules.hour_of_week import total
from retail_behavior.settings import RetailSettings

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FEATURES = (
    "views", "adds", "removes", "distinct_products", "repeated_share", "cart_value", "mean_price", "ends_with_add",
    "minutes_so_far", "seconds_per_view", "hour_of_day", "is_weekend", "by_email", "by_search", "by_social",
    "earlier_sessions", "earlier_buys_share", "earlier_spend",
)  # fmt: skip
VISITOR_HABITS = ("visitor_sessions_30d", "visitor_buying_sessions_30d", "visitor_spend_30d")
TOLERANCE = 1e-5        # trees compare in single precision
LONGEST_SESSION = 60    # events; what comes after says nothing new, and is mostly bots

HAPPENING = ("event_time", "event_id", "event_type", "product_id", "quantity", "price")
PLACE = ("kafka_partition", "kafka_offset")


def prepare(events: DataFrame, settings: RetailSettings) -> DataFrame:
    """A row per running session in which nothing was bought yet: its events so far, and its visitor's habits."""
    sessions = _shopping(events).withWatermark("event_time", settings.watermark).groupBy(
        F.window("event_time", settings.intent_window), "visitor_id", "session_id").agg(
        F.sort_array(F.collect_set(F.struct(*HAPPENING))).alias("so_far"),
        F.max(F.struct(*reversed(PLACE))).alias("newest"),
        # A session may see two versions, and keeps the later.
        F.max(F.struct("baseline_version", *VISITOR_HABITS)).alias("habits"),
        *[F.max(name).alias(name) for name in ("event_time", "ingest_time", "channel")])
    return sessions.where(~any_of("so_far", PURCHASE)).select("*", "newest.*", "habits.*").drop("newest", "habits")


def so_far(history: DataFrame, window: str = RetailSettings.model_fields["intent_window"].default) -> DataFrame:
    """For each event before its session's purchase, the session as it had arrived by then, with the event's own columns.

    Arrival is the order within a Kafka partition, which holds all events of a visitor.
    """
    place = F.struct(*PLACE, *HAPPENING, "channel")
    sessions = _shopping(history).groupBy(F.window("event_time", window), "visitor_id", "session_id").agg(
        F.slice(F.sort_array(F.collect_set(place)), 1, LONGEST_SESSION).alias("arrived"))
    upto = F.transform(F.sequence(F.lit(1), F.size("arrived")), lambda number: F.struct(
        F.element_at("arrived", number).alias("last"), F.slice("arrived", 1, number).alias("arrived")))
    prefixes = sessions.select("visitor_id", "session_id", F.explode(upto).alias("upto"))
    in_time = F.sort_array(F.transform("upto.arrived", lambda one: F.struct(*[one[name].alias(name) for name in HAPPENING])))
    channel = F.array_max(F.transform("upto.arrived", lambda one: one.channel))
    rows = prefixes.select("visitor_id", "session_id", channel.alias("channel"), in_time.alias("so_far"), "upto.last.event_id",
                           "upto.last.event_time", "upto.last.product_id")
    return rows.where(~any_of("so_far", PURCHASE))


def labelled(events: DataFrame, labels: DataFrame) -> DataFrame:
    """event_id and label: 1 where the event's session has a purchase, the purchases themselves left out."""
    shopping = _shopping(events)
    purchases = shopping.where(F.col("event_type") == PURCHASE)
    buying = purchases.select("visitor_id", "session_id", F.lit(1).alias("label")).distinct()
    rest = shopping.where(F.col("event_type") != PURCHASE).join(buying, ["visitor_id", "session_id"], "left")
    return rest.select("event_id", F.coalesce("label", F.lit(0)).alias("label")).distinct()


def with_features(sessions: DataFrame) -> DataFrame:
    """Adds FEATURES, never null, to rows of `prepare` or of `so_far` joined with the visitor's baseline."""
    views, minutes = _count("so_far", VIEW), _seconds() / 60
    newest = F.element_at("so_far", -1).event_time
    distinct = F.size(F.array_distinct(F.transform("so_far", lambda one: one.product_id))).cast("double")
    sessions_before = F.coalesce(F.col("visitor_sessions_30d").cast("double"), F.lit(0.0))
    buys_before = F.coalesce(F.col("visitor_buying_sessions_30d").cast("double"), F.lit(0.0))
    columns = {
        "views": views, "adds": _count("so_far", ADD), "removes": _count("so_far", REMOVE),
        "distinct_products": distinct,
        "repeated_share": 1 - distinct / F.size("so_far"),
        "cart_value": cart_value("so_far"),
        "mean_price": total(F.transform("so_far", lambda one: one.price)) / F.size("so_far"),
        "ends_with_add": _flag(F.element_at("so_far", -1).event_type == ADD),
        "minutes_so_far": minutes,
        "seconds_per_view": F.coalesce(F.try_divide(60 * minutes, views), F.lit(0.0)),
        "hour_of_day": F.hour(newest).cast("double"),
        "is_weekend": _flag(F.weekday(newest) >= 5),
        **{f"by_{channel}": _flag(F.col("channel") == channel) for channel in ("email", "search", "social")},
        "earlier_sessions": sessions_before,
        "earlier_buys_share": F.coalesce(F.try_divide(buys_before, sessions_before), F.lit(0.0)),
        "earlier_spend": F.coalesce("visitor_spend_30d", F.lit(0.0)),
    }
    return sessions.withColumns(columns)


def fit_intent(features: pd.DataFrame, labels: np.ndarray, trees: int = 150, depth: int = 5) -> "Pipeline":
    """Gradient boosting as orbital exports it: small steps, each tree on a part of the rows and features."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    boosted = GradientBoostingClassifier(
        n_estimators=trees, max_depth=depth, learning_rate=5.25 / trees, min_samples_leaf=30, subsample=0.6, max_features=6,
        random_state=0)
    return Pipeline([("trees", boosted.fit(features, labels))])


def fit_live(features: pd.DataFrame, labels: np.ndarray) -> "Pipeline":
    """The same, small: every update of a running session is scored by the trees written out as SQL."""
    return fit_intent(features, labels, trees=40, depth=3)


def cart_value(events: str) -> Column:
    """Worth of what was put into the cart and not taken out again, over an array of HAPPENING (currency units).

    By product: what is taken out lessens only what these events put in, and of what is all taken out nothing is left.
    """
    def worth(product: Column, lines: Column) -> Column:
        of_product = F.filter(lines, lambda one: one.product_id == product)
        units, value = (total(F.transform(of_product, amount)) for amount in (_put_in, lambda one: _put_in(one) * one.price))
        return left_in_cart(units, value)

    def of_all(lines: Column) -> Column:
        products = F.array_distinct(F.transform(lines, lambda one: one.product_id))
        return total(F.transform(products, lambda product: worth(product, lines)))

    return let(F.filter(events, lambda one: one.event_type.isin(ADD, REMOVE)), of_all)


def left_in_cart(units: Column, value: Column) -> Column:
    """Worth of what is left of a product: `units` and their `value` as they were put in, less what was taken out."""
    return F.when(units > 0, F.greatest(value, F.lit(0.0))).otherwise(0.0)


def any_of(events: str, event_type: str) -> Column:
    """Whether an array of HAPPENING holds an event of that type."""
    return F.exists(events, lambda one: one.event_type == event_type)


def intents(sessions: DataFrame, settings: Any) -> DataFrame:
    """What is served of a running session: its visitor as entity, and the probability that it ends in a purchase."""
    return sessions.where(F.col("model_score").isNotNull()).select(
        F.col("visitor_id").alias("entity_id"), "session_id", "event_time", F.col("model_score").alias("purchase_probability"),
        "cart_value", "views", "adds", "model_version", "baseline_version", "ingest_time")


def _shopping(events: DataFrame) -> DataFrame:
    return events.where(F.col("event_type").isin(VIEW, ADD, REMOVE, PURCHASE) & F.col("session_id").isNotNull())


def _put_in(one: Column) -> Column:
    return F.when(one.event_type == ADD, one.quantity).otherwise(-one.quantity)


def _count(events: str, event_type: str) -> Column:
    return F.size(F.filter(events, lambda one: one.event_type == event_type)).cast("double")


def _seconds() -> Column:
    first, last = F.element_at("so_far", 1).event_time, F.element_at("so_far", -1).event_time
    return (F.unix_millis(last) - F.unix_millis(first)) / 1000


def _flag(condition: Column) -> Column:
    return F.when(condition, 1.0).otherwise(0.0)
