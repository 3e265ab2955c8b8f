"""Defines a card transaction: its fields, and the contract that a valid one meets."""

from datetime import timedelta

from pyspark.sql import types as T

EVENT_ID = "transaction_id"
ENTITY = "card_id"
EVENT_TIME = "event_time"
LABEL_DELAY = timedelta(days=7)  # from a transaction until it is known whether it was fraud

CHANNELS = ("chip", "contactless", "online", "atm")

# Position, currency and channel are nullable: an online purchase has no position, and data from elsewhere may lack them all.
EVENT_SCHEMA = T.StructType(
    [
        T.StructField("transaction_id", T.StringType(), False),
        T.StructField("card_id", T.StringType(), False),
        T.StructField("terminal_id", T.StringType(), False),
        T.StructField("amount", T.DoubleType(), False),
        T.StructField("currency", T.StringType(), True),
        T.StructField("channel", T.StringType(), True),
        T.StructField("latitude", T.DoubleType(), True),
        T.StructField("longitude", T.DoubleType(), True),
        T.StructField("event_time", T.TimestampType(), False),
    ]
)

# great-expectations' own configuration dictionaries. A null passes every one but "not be null".
CONTRACT: tuple[dict, ...] = (
    *(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        for column in ("transaction_id", "card_id", "terminal_id", "amount", "event_time")
    ),
    *(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": column, "min_value": 1, "max_value": 64}}
        for column in ("transaction_id", "card_id", "terminal_id")
    ),
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 0, "max_value": 1_000_000}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "latitude", "min_value": -90, "max_value": 90}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "longitude", "min_value": -180, "max_value": 180}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "channel", "value_set": list(CHANNELS)}},
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "currency", "regex": "^[A-Z]{3}$"}},
)
