"""Converts published hours of intensive care (PhysioNet Challenge 2019) to observation sets, and to features of a risk model.

    .venv/bin/python -m health_monitoring.studies.icu icu_hours.parquet observation_sets.parquet
    .venv/bin/hybrid replay health_monitoring --file observation_sets.parquet

The features are native Spark columns over a patient's hours so far: those of an hour use it and the hours before, none after.
"""

import sys

import pandas as pd
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from health_monitoring.events import VITALS

# Column of the published hours, field of an observation set, and the value that counts until it is first measured.
VITAL_SIGNS = (
    ("HR", "heart_rate_bpm", 80.0), ("O2Sat", "spo2_percent", 97.0), ("Temp", "temperature_c", 36.9),
    ("SBP", "systolic_mmhg", 125.0), ("MAP", None, 85.0), ("DBP", "diastolic_mmhg", 65.0),
    ("Resp", "respiratory_rate_per_min", 18.0),
)  # fmt: skip
LABORATORY = {
    "FiO2": 0.21, "pH": 7.4, "PaCO2": 40.0, "BUN": 15.0, "Calcium": 8.8, "Creatinine": 0.9, "Glucose": 115.0, "Lactate": 1.5,
    "Magnesium": 2.0, "Phosphate": 3.5, "Potassium": 4.0, "Bilirubin_total": 0.7, "TroponinI": 0.05, "Hct": 33.0, "Hgb": 11.0,
    "PTT": 32.0, "WBC": 9.5, "Platelets": 200.0,
}  # fmt: skip
CIRCUMSTANCES = {"Age": 62.0, "ICULOS": 1.0, "HospAdmTime": -9.0, "Unit1": 0.5}  # years; hours in and before the ICU

TREND_HOURS = 6
OLDEST_HOURS = {"vital": 48, "laboratory": 100}  # the age of a value that was never measured
VITAL_STATISTICS = ("last", "age", "trend", "lowest_6h", "highest_6h", "deviation", "lowest", "highest")

VITAL_FEATURES = tuple(f"{name}_{statistic}" for name, *_ in VITAL_SIGNS for statistic in VITAL_STATISTICS)
ALL_FEATURES = (*VITAL_FEATURES, *(f"{name}_{statistic}" for name in LABORATORY for statistic in ("last", "age")), *CIRCUMSTANCES)

ADMISSION = pd.Timestamp(2019, 1, 1, tz="UTC")  # of every patient: the published hours have no dates


def observation_sets(hours: pd.DataFrame) -> pd.DataFrame:
    """Every published hour, invalid values included, as an observation set.

    Its id is the row's number, as one of patient and hour would name the patient.
    """
    vital_signs = {field: hours[name] for name, field, _ in VITAL_SIGNS if field} | {"fio2": hours["FiO2"]}
    return pd.DataFrame(
        {
            "observation_id": [f"icu-{number}" for number in range(len(hours))],
            "patient_id": hours["pid"],
            "ward": "intensive care",
            "sampling_minutes": 60.0,
            **vital_signs,
            "event_time": ADMISSION + pd.to_timedelta(hours["ICULOS"], unit="h"),
        }
    )


def with_features(hours: DataFrame) -> DataFrame:
    """Adds ALL_FEATURES, never null, to published hours. A value that the contract refuses counts as not measured."""
    valid_hours = hours.withColumns(
        {name: _valid_value(name, field) for name, field, _ in VITAL_SIGNS} | {"FiO2": _valid_value("FiO2", "fio2")}
    )
    columns: dict[str, Column] = {}
    for name, _, normal in VITAL_SIGNS:
        columns |= _vital_features(name, normal)
    for name, normal in LABORATORY.items():
        columns |= {
            f"{name}_last": F.coalesce(_last_value(name), F.lit(normal)),
            f"{name}_age": _age(name, OLDEST_HOURS["laboratory"]),
        }
    circumstances = {name: F.coalesce(F.col(name).cast("double"), F.lit(normal)) for name, normal in CIRCUMSTANCES.items()}
    return valid_hours.withColumns(columns).withColumns(circumstances)


def _vital_features(name: str, normal: float) -> dict[str, Column]:
    so_far, six_hours = (
        _patient_hours().rowsBetween(Window.unboundedPreceding, 0),
        _patient_hours().rangeBetween(1 - TREND_HOURS, 0),
    )
    six_hours_ago = F.last(name, ignorenulls=True).over(_patient_hours().rangeBetween(Window.unboundedPreceding, -TREND_HOURS))
    last_value = _last_value(name)
    levels = {
        "last": last_value, "lowest_6h": F.min(name).over(six_hours), "highest_6h": F.max(name).over(six_hours),
        "lowest": F.min(name).over(so_far), "highest": F.max(name).over(so_far),
    }  # fmt: skip
    changes = {"trend": last_value - six_hours_ago, "deviation": last_value - F.avg(name).over(so_far)}
    return (
        {f"{name}_{statistic}": F.coalesce(value, F.lit(normal)) for statistic, value in levels.items()}
        | {f"{name}_{statistic}": F.coalesce(value, F.lit(0.0)) for statistic, value in changes.items()}
        | {f"{name}_age": _age(name, OLDEST_HOURS["vital"])}
    )


def _last_value(name: str) -> Column:
    return F.last(name, ignorenulls=True).over(_patient_hours().rowsBetween(Window.unboundedPreceding, 0))


def _age(name: str, oldest: int) -> Column:
    """Hours since `name` was last measured, at most `oldest`."""
    measured_hour = F.last(F.when(F.col(name).isNotNull(), F.col("ICULOS")), ignorenulls=True)
    age = F.col("ICULOS") - measured_hour.over(_patient_hours().rowsBetween(Window.unboundedPreceding, 0))
    return F.least(F.coalesce(age, F.lit(oldest)), F.lit(oldest)).cast("double")


def _valid_value(name: str, field: str | None) -> Column:
    """The value where the contract takes it for the event's `field`, else null."""
    limits = {vital.field: (vital.low, vital.high) for vital in VITALS}
    return F.when(F.col(name).between(*limits[field]), F.col(name)) if field else F.col(name)


def _patient_hours() -> WindowSpec:
    return Window.partitionBy("pid").orderBy("ICULOS")


if __name__ == "__main__":
    source, target = sys.argv[1:]
    observation_sets(pd.read_parquet(source)).to_parquet(target, index=False)
