"""A post about a term: its fields, and the contract that a valid one meets.

A post that names several terms is several events: whoever collects posts sends one event for each term.
"""

from datetime import timedelta

from pyspark.sql import types as T

EVENT_ID = "post_id"
ENTITY = "term"
EVENT_TIME = "event_time"
LABEL_DELAY = timedelta(days=1)  # from a post until it is known whether it was anomalous

EVENT_SCHEMA = T.StructType(
    [
        T.StructField("post_id", T.StringType(), False),
        T.StructField("term", T.StringType(), False),
        T.StructField("author_id", T.StringType(), False),
        T.StructField("followers", T.LongType(), False),
        T.StructField("text", T.StringType(), False),
        T.StructField("event_time", T.TimestampType(), False),
    ]
)

CONTRACT: tuple[dict, ...] = (
    *(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        for column in ("post_id", "term", "author_id", "followers", "text", "event_time")
    ),
    *(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": column, "min_value": 1, "max_value": 64}}
        for column in ("post_id", "term", "author_id")
    ),
    {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "text", "min_value": 1, "max_value": 1_000}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "followers", "min_value": 0, "max_value": 1_000_000_000}},
)
