"""Defines the event of this vertical: a patient's observation set, its codes, its schema and its contract.

One event is what a bedside device or a nurse charted at one moment. Every vital sign may be missing: observation sets differ
in which of them they have.
"""

from dataclasses import dataclass
from datetime import timedelta

from pyspark.sql import types as T

EVENT_ID = "observation_id"
ENTITY = "patient_id"
EVENT_TIME = "event_time"
CHARTING_DELAY = timedelta(days=2)  # until somebody has charted what an anomaly was
# Until it is also known what came within features.HORIZON of a day's last observation: in whole days, as the core counts them.
LABEL_DELAY = CHARTING_DELAY + timedelta(days=1)

CONSCIOUSNESS = ("A", "C", "V", "P", "U")  # alert, new confusion, responds to voice, to pain, unresponsive
MONITORING = ("active", "ended")  # ended: taken off on purpose, at discharge or on an order


@dataclass(frozen=True)
class Vital:
    """A measured field: LOINC codes under which FHIR carries it (the first is written), UCUM unit, and the valid range.

    The range is what an instrument can mean, wider than what a patient survives for long: a value outside is no measurement.
    per_unit: how many of `ucum` one of the field's own unit is (an inspired fraction of 1 is 100 %).
    """

    field: str
    loinc: tuple[str, ...]
    ucum: str
    low: float
    high: float
    description: str
    per_unit: float = 1.0


VITALS = (
    Vital("heart_rate_bpm", ("8867-4",), "/min", 0, 350, "heart rate"),
    Vital("respiratory_rate_per_min", ("9279-1",), "/min", 0, 120, "respiratory rate"),
    Vital("spo2_percent", ("59408-5", "2708-6"), "%", 0, 100, "oxygen saturation by pulse oximetry"),
    Vital("systolic_mmhg", ("8480-6",), "mm[Hg]", 0, 350, "systolic blood pressure"),
    Vital("diastolic_mmhg", ("8462-4",), "mm[Hg]", 0, 320, "diastolic blood pressure"),
    Vital("temperature_c", ("8310-5",), "Cel", 12, 46, "body temperature; the coldest survivor of an accident had 13.7"),
    Vital("oxygen_flow_l_per_min", ("3151-8",), "L/min", 0, 100, "inhaled oxygen flow"),
    Vital("fio2", ("3150-6",), "%", 0.2, 1, "inspired fraction of oxygen; air has 0.209, and is charted as 0.21", per_unit=100),
)
CONSCIOUSNESS_LOINC = "67775-7"  # level of responsiveness

EVENT_SCHEMA = T.StructType(
    [
        T.StructField("observation_id", T.StringType(), False),
        T.StructField("patient_id", T.StringType(), False),
        T.StructField("ward", T.StringType(), True),
        T.StructField("device_id", T.StringType(), True),
        *(T.StructField(vital.field, T.DoubleType(), True) for vital in VITALS),
        T.StructField("consciousness", T.StringType(), True),
        T.StructField("on_oxygen", T.BooleanType(), True),
        T.StructField("spo2_scale", T.IntegerType(), True),  # 2 only where prescribed; a null means 1
        T.StructField("sampling_minutes", T.DoubleType(), True),  # how often the device reports
        T.StructField("battery_percent", T.DoubleType(), True),
        T.StructField("monitoring", T.StringType(), True),  # a null means active
        T.StructField("event_time", T.TimestampType(), False),
    ]
)


def _between(column: str, low: float, high: float) -> dict:
    return {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, "min_value": low, "max_value": high}}


def _in_set(column: str, values: tuple) -> dict:
    return {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": column, "value_set": list(values)}}


# great-expectations' own configuration dictionaries. A null passes every one but "not be null".
CONTRACT: tuple[dict, ...] = (
    *(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
        for column in ("observation_id", "patient_id", "event_time")
    ),
    *(
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": column, "min_value": 1, "max_value": 128}}
        for column in ("observation_id", "patient_id", "ward", "device_id")
    ),
    *(_between(vital.field, vital.low, vital.high) for vital in VITALS),
    _between("sampling_minutes", 0.01, 1_440),
    _between("battery_percent", 0, 100),
    _in_set("consciousness", CONSCIOUSNESS),
    _in_set("spo2_scale", (1, 2)),
    _in_set("monitoring", MONITORING),
)
