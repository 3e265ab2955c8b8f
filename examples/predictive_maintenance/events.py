"""A reading of a machine: its fields, and the contract that a valid one meets."""

from datetime import timedelta

from pyspark.sql import types as T

EVENT_ID = "reading_id"
ENTITY = "machine_id"
EVENT_TIME = "event_time"
LABEL_DELAY = timedelta(days=6)  # from a reading until it is known whether it was one of the last days before a failure

EVENT_SCHEMA = T.StructType(
    [
        T.StructField("reading_id", T.StringType(), False),
        T.StructField("machine_id", T.StringType(), False),
        T.StructField("run_hours", T.DoubleType(), False),
        T.StructField("load", T.DoubleType(), False),
        T.StructField("vibration_mm_s", T.DoubleType(), False),
        T.StructField("temperature_c", T.DoubleType(), False),
        T.StructField("pressure_bar", T.DoubleType(), True),
        T.StructField("event_time", T.TimestampType(), False),
    ]
)


def _between(column: str, low: float, high: float) -> dict:
    return {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, "min_value": low, "max_value": high}}


CONTRACT: tuple[dict, ...] = (
    *(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        for column in ("reading_id", "machine_id", "run_hours", "load", "vibration_mm_s", "temperature_c", "event_time")
    ),
    *(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": column, "min_value": 1, "max_value": 64}}
        for column in ("reading_id", "machine_id")
    ),
    _between("run_hours", 0, 1_000_000),  # since the last overhaul
    _between("load", 0, 1.5),  # of what it is made for
    _between("vibration_mm_s", 0, 1_000),  # velocity, root mean square
    _between("temperature_c", -60, 400),
    _between("pressure_bar", 0, 1_000),
)
