"""Defines an event in a shop (a visitor's view, cart and purchase, a store's restock): its fields, and its contract."""

from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

EVENT_ID = "event_id"
ENTITY = "visitor_id"
EVENT_TIME = "event_time"
LABEL_DELAY = timedelta(days=1)  # from an event until it is known which anomaly it belongs to

VIEW, ADD, REMOVE, PURCHASE, RESTOCK = EVENT_TYPES = ("view", "add_to_cart", "remove_from_cart", "purchase", "restock")
CHANNELS = ("direct", "search", "email", "social", "ads")

# visitor_id is who acts: of a restock, which no visitor makes, the store itself. session_id, store, channel and the count
# after a restock may be missing: invoices from elsewhere have none of them.
EVENT_SCHEMA = T.StructType(
    [
        T.StructField("event_id", T.StringType(), False),
        T.StructField("visitor_id", T.StringType(), False),
        T.StructField("session_id", T.StringType(), True),
        T.StructField("event_type", T.StringType(), False),
        T.StructField("product_id", T.StringType(), False),
        T.StructField("store_id", T.StringType(), True),
        T.StructField("quantity", T.LongType(), False),
        T.StructField("price", T.DoubleType(), False),  # per unit, currency units
        T.StructField("channel", T.StringType(), True),  # how the session began
        T.StructField("stock_on_hand", T.DoubleType(), True),  # units counted after a restock
        T.StructField("event_time", T.TimestampType(), False),
    ]
)

REQUIRED = ("event_id", "visitor_id", "event_type", "product_id", "quantity", "price", "event_time")

# great-expectations' own configuration dictionaries. A null passes every one but "not be null".
CONTRACT: tuple[dict, ...] = (
    *({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}} for column in REQUIRED),
    *(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": column, "min_value": 1, "max_value": 64}}
        for column in ("event_id", "visitor_id", "session_id", "product_id", "store_id")
    ),
    # An invoice number that begins with C cancels one (UCI Online Retail): no sale, and no session.
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "session_id", "regex": r"^[^C]"}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "event_type", "value_set": list(EVENT_TYPES)}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "quantity", "min_value": 1, "max_value": 100_000}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "price", "min_value": 0, "max_value": 100_000, "strict_min": True},
    },
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "channel", "value_set": list(CHANNELS)}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "stock_on_hand", "min_value": 0, "max_value": 1e7}},
)


def order_key() -> Column:
    """Names the order that a purchase belongs to: its visitor's session, or itself where no session is named."""
    return F.concat_ws("|", "visitor_id", F.coalesce("session_id", "event_id"))
