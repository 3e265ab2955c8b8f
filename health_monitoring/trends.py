"""What batch learns of patients (baselines), and what it reports to people (trends).

A baseline of a day is what was known when that day began: the patient's own values of the three whole days (UTC) before.
"""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.models.drift import stability
from common.models.scoring import with_score
from common.models.training import TrainedModel
from common.monitoring.plots import Bars, Chart, DailyLines, draw_all
from health_monitoring.calibration import reliability
from health_monitoring.features import FEATURES, MEASURED, with_features
from health_monitoring.generator import LABEL_DELAY
from health_monitoring.rules.news2 import news2

# Until it is known what came within HORIZON of a day's last observation: in whole days, as the core counts them.
OUTCOME_DELAY = LABEL_DELAY + timedelta(days=1)
BASELINE_DAYS = 3
WEEK = timedelta(days=7)
SLOPE_DAYS = 14         # a slope is of so many last days
LEAST_SLOPE_DAYS = 3.0  # of a patient observed for at least so many
SHOWN = 50

# Columns of a baseline beside its key and `as_of`.
PATIENT_BASELINE = T.StructType([
    T.StructField("patient_observations", T.LongType()),
    *(T.StructField(f"patient_{name}_{what}", T.DoubleType()) for _, name, _ in MEASURED for what in ("mean", "std")),
])

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("wards", DailyLines("Mean NEWS2, by ward", "ward", "mean_news2", "NEWS2")),
    ("risk_bands", DailyLines("Observations by clinical risk", "risk", "share", "share of the day's observations")),
    ("cohorts", DailyLines("Mean NEWS2, by cohort", "cohort", "mean_news2", "NEWS2")),
    ("alarms", DailyLines("Alarms per patient-day, by rule", "rule", "per_patient_day", "alarms per patient-day")),
    ("slopes", Bars("Patients whose blood pressure moves most", "patient_id", "systolic_per_day", "mmHg a day")),
    ("calibration", Bars("Calibration of the risk model", "expected", "observed", "share that deteriorated")),
    ("drift", Bars("Drift, last week against the week before", "feature", "psi", "population stability index", (0.1, 0.25))),
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"patient"}: a row for each patient observed within BASELINE_DAYS before `as_of` day of `days`."""
    recent = _between(history, min(days) - timedelta(days=BASELINE_DAYS), max(days))
    sums = [
        column.alias(f"{name}_{what}") for field, name, _ in MEASURED
        for what, column in (("count", F.count(field)), ("sum", F.sum(field)), ("squares", F.sum(F.col(field) ** 2)))
    ]
    event_day = F.to_date("event_time").alias("event_day")
    daily = recent.groupBy("patient_id", event_day).agg(F.count("*").alias("observations"), *sums)
    asked = daily.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    inside = asked.where(F.datediff("as_of", "event_day").between(1, BASELINE_DAYS))
    totals = inside.groupBy("patient_id", "as_of").agg(F.sum("observations").alias("patient_observations"), *[
        F.sum(f"{name}_{what}").alias(f"{name}_{what}") for _, name, _ in MEASURED for what in ("count", "sum", "squares")])
    columns = [column for _, name, _ in MEASURED for column in _mean_and_std(name)]
    return {"patient": totals.select("patient_id", "as_of", "patient_observations", *columns)}


def _mean_and_std(name: str) -> tuple[Column, Column]:
    mean = F.try_divide(F.col(f"{name}_sum"), F.col(f"{name}_count"))
    variance = F.try_divide(F.col(f"{name}_squares"), F.col(f"{name}_count")) - mean**2
    std = F.when(variance.isNotNull(), F.sqrt(F.greatest(variance, F.lit(0.0))))
    return mean.alias(f"patient_{name}_mean"), std.alias(f"patient_{name}_std")


def trends(
    history: DataFrame, labels: DataFrame, alerts: DataFrame, model: TrainedModel | None = None
) -> dict[str, DataFrame]:
    """Wards, cohorts and risk bands by day, long-term slopes, alarms per patient-day, drift; with `model` its calibration.

    Empty without history.
    """
    newest = history.agg(F.max(F.to_date("event_time"))).first()
    if newest is None or newest[0] is None:
        return {}
    last_day: date = newest[0]
    scored = history.withColumns({"day": F.to_date("event_time"), "score": news2()})
    found = {
        "wards": _load(scored.fillna("unknown", ["ward"]), "ward"),
        "cohorts": _load(scored.withColumn("cohort", _cohort()), "cohort"),
        "risk_bands": _risk_bands(scored),
        "slopes": _slopes(scored, last_day),
        "alarms": _alarms(scored, alerts),
        "drift": _drift(history, labels, last_day),
    }
    if model is None:
        return found
    return found | {"calibration": reliability(_judged_week(history, labels, last_day, model), labels)}


def _load(scored: DataFrame, by: str) -> DataFrame:
    return scored.groupBy("day", by).agg(
        F.countDistinct("patient_id").alias("patients"), F.count("*").alias("observations"),
        F.round(F.avg("score.total"), 3).alias("mean_news2"),
        F.round(F.avg(F.col("score.risk").isin("medium", "high").cast("double")), 4).alias("share_medium_or_high"))


def _cohort() -> Column:
    scale_2 = F.coalesce(F.col("spo2_scale") == 2, F.lit(False))
    oxygen = F.col("score.oxygen")
    scale_1 = F.when(oxygen > 0, "scale 1, on oxygen").when(oxygen == 0, "scale 1, on air").otherwise("scale 1, oxygen unknown")
    return F.when(scale_2, "SpO2 scale 2").otherwise(scale_1)


def _risk_bands(scored: DataFrame) -> DataFrame:
    risk = F.coalesce("score.risk", F.lit("incomplete")).alias("risk")
    counted = scored.groupBy("day", risk).agg(F.count("*").alias("observations"))
    return counted.join(scored.groupBy("day").agg(F.count("*").alias("of")), "day").select(
        "day", "risk", "observations", F.round(F.col("observations") / F.col("of"), 4).alias("share"))


def _slopes(scored: DataFrame, last_day: date) -> DataFrame:
    """Change a day over a patient's last two weeks (least squares): blood pressure, NEWS2 and the share of red observations."""
    end = last_day + timedelta(days=1)
    recent = _between(scored, end - timedelta(days=SLOPE_DAYS), end)
    elapsed = F.unix_seconds("event_time") / 86_400
    is_risky = F.col("score.risk").isin("medium", "high").cast("double")
    slopes = recent.groupBy("patient_id").agg(
        F.round(F.max(elapsed) - F.min(elapsed), 2).alias("days"),
        *(F.round(F.regr_slope(value, elapsed), 4).alias(name) for name, value in (
            ("systolic_per_day", F.col("systolic_mmhg")), ("diastolic_per_day", F.col("diastolic_mmhg")),
            ("news2_per_day", F.col("score.total").cast("double")), ("medium_or_high_per_day", is_risky))))
    return slopes.where(F.col("days") >= LEAST_SLOPE_DAYS).orderBy(F.abs("systolic_per_day").desc(), "patient_id").limit(SHOWN)


def _alarms(scored: DataFrame, alerts: DataFrame) -> DataFrame:
    """Alerts by day and rule, over the patients observed on that day: what a ward has to bear."""
    patient_days = scored.groupBy("day").agg(F.countDistinct("patient_id").alias("patients"))
    counted = alerts.groupBy(F.to_date("event_time").alias("day"), "rule").agg(F.countDistinct("alert_id").alias("alarms"))
    return counted.join(patient_days, "day").withColumn("per_patient_day", F.round(F.col("alarms") / F.col("patients"), 4))


def _judged_week(history: DataFrame, labels: DataFrame, last_day: date, model: TrainedModel) -> DataFrame:
    """A week of observations, scored as served, whose outcome is known by the end of the newest day.

    The model may have learnt from it: this says whether it still fits, not how it would do on others.
    """
    days = [last_day - OUTCOME_DELAY - timedelta(days=age) for age in range(WEEK.days)]
    return with_score(_served(history, labels, days), model)


def _drift(history: DataFrame, labels: DataFrame, last_day: date) -> DataFrame:
    """PSI of the model's features, as serving has them: the last 7 days against the 7 days before."""
    rows = _served(history, labels, [last_day - timedelta(days=age) for age in range(2 * WEEK.days)])
    return stability(rows.withColumn("is_current", F.col("as_of") > F.lit(last_day - WEEK)), list(FEATURES))


def _served(history: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    rows = history.withColumn("as_of", F.to_date("event_time")).where(F.col("as_of").isin(days))
    return with_features(rows.join(baselines(history, labels, days)["patient"], ["patient_id", "as_of"], "left"))


def _between(history: DataFrame, first: date, end: date) -> DataFrame:
    start, stop = F.lit(first).cast("timestamp"), F.lit(end).cast("timestamp")
    return history.where((F.col("event_time") >= start) & (F.col("event_time") < stop))


def plots(tables: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Draw the trends that have rows as PNG into `folder`; returns the files."""
    return draw_all(tables, CHARTS, folder)
