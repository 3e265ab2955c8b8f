"""The event of this vertical: a cell's performance report, its schema and its contract.

Measurements carry their names of 3GPP TS 28.552, with `_` where the standard has a dot; their unit is the standard's, in
the schema's metadata. A report covers the 15 minutes that end at event_time.
"""

from datetime import timedelta

from pyspark.sql import types as T

EVENT_ID = "report_id"
ENTITY = "cell_id"
EVENT_TIME = "event_time"
LABEL_DELAY = timedelta(days=2)  # until it is known which reports belonged to a fault

TECHNOLOGIES = ("LTE", "NR")
GRANULARITY_S = 900  # seconds that a report covers; they end at event_time

# Column, unit, greatest valid value. An event may lack any of them but RRU_PrbTotDl: gaps stay gaps.
MEASUREMENTS: tuple[tuple[str, str, float], ...] = (
    ("DRB_UEThpDl", "kbit/s", 1e7),  # throughput of a user
    ("DRB_UEThpUl", "kbit/s", 1e7),
    ("DRB_RlcSduDelayDl", "0.1 ms", 1e6),
    ("DRB_RlcPacketDropRateDl", "1e-6", 1e6),  # share of packets, times a million
    ("DRB_PacketLossRateUl", "1e-6", 1e6),
    ("DRB_RelActNbr", "releases", 1e7),  # sessions dropped while active
    ("RRC_ConnEstabAtt", "attempts", 1e7),
    ("RRC_ConnEstabSucc", "attempts", 1e7),
    ("RRC_ConnMean", "users", 1e6),
    ("RRU_PrbTotDl", "%", 100.0),  # share of physical resource blocks in use
    ("RRU_CellUnavailableTime", "s", GRANULARITY_S),  # TS 32.425
)
KPIS = tuple(name for name, _, _ in MEASUREMENTS)


def _measurement(name: str, unit: str) -> T.StructField:
    # Every report must have the load: throughput, delay and loss can only be judged beside it.
    return T.StructField(name, T.DoubleType(), name != "RRU_PrbTotDl", {"unit": unit, "measurement": name.replace("_", ".", 1)})


EVENT_SCHEMA = T.StructType(
    [
        T.StructField("report_id", T.StringType(), False),
        T.StructField("cell_id", T.StringType(), False),
        T.StructField("site_id", T.StringType(), False),
        T.StructField("region", T.StringType(), True),
        T.StructField("technology", T.StringType(), True),
        T.StructField("event_time", T.TimestampType(), False),
        T.StructField("suspect_flag", T.BooleanType(), True),  # 3GPP suspectFlag: the report may be wrong, as during planned work
        *(_measurement(name, unit) for name, unit, _ in MEASUREMENTS),
    ]
)

# great-expectations' own configuration dictionaries. A null passes every one but "not be null".
CONTRACT: tuple[dict, ...] = (
    *(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        for column in ("report_id", "cell_id", "site_id", "event_time", "RRU_PrbTotDl")
    ),
    *(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": column, "min_value": 1, "max_value": 64}}
        for column in ("report_id", "cell_id", "site_id")
    ),
    *(
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": name, "min_value": 0, "max_value": highest}}
        for name, _, highest in MEASUREMENTS
    ),
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "technology", "value_set": list(TECHNOLOGIES)}},
)
