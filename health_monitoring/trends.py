"""Computes what batch reports to people: NEWS2 by ward, cohort and risk band, slopes, alarms, calibration, drift."""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Bars, Chart, DailyLines, TrainedModel, reliability, stability, with_score
from health_monitoring.baselines import baselines, events_between
from health_monitoring.events import LABEL_DELAY
from health_monitoring.features import FEATURES, outcomes, with_features
from health_monitoring.rules.news2 import news2

WEEK = timedelta(days=7)
SLOPE_DAYS = 14  # the last days of which a slope is
LEAST_SLOPE_DAYS = 3.0  # for which a patient must have been observed to have a slope
TOP_SLOPES = 50  # that are reported

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("wards", DailyLines("Mean NEWS2, by ward", "ward", "mean_news2", "NEWS2")),
    ("risk_bands", DailyLines("Observations by clinical risk", "risk", "share", "share of the day's observations")),
    ("cohorts", DailyLines("Mean NEWS2, by cohort", "cohort", "mean_news2", "NEWS2")),
    ("alarms", DailyLines("Alarms per patient-day, by rule", "rule", "per_patient_day", "alarms per patient-day")),
    ("slopes", Bars("Patients whose blood pressure moves most", "patient_id", "systolic_per_day", "mmHg a day")),
    ("calibration", Bars("Calibration of the risk model", "expected", "observed", "share that deteriorated")),
    ("drift", Bars("Drift, last week against the week before", "feature", "psi", "population stability index", (0.1, 0.25))),
)


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: TrainedModel | None = None) -> dict[str, DataFrame]:
    """Wards, cohorts and risk bands by day, long-term slopes, alarms per patient-day, drift; with `model` its calibration.

    Empty without history.
    """
    newest_day = history.agg(F.max(F.to_date("event_time"))).first()
    if newest_day is None or newest_day[0] is None:
        return {}
    last_day: date = newest_day[0]
    scored_observations = history.withColumns({"day": F.to_date("event_time"), "score": news2()})
    tables = {
        "wards": _news2_by(scored_observations.fillna("unknown", ["ward"]), "ward"),
        "cohorts": _news2_by(scored_observations.withColumn("cohort", _cohort()), "cohort"),
        "risk_bands": _risk_bands(scored_observations),
        "slopes": _slopes(scored_observations, last_day),
        "alarms": _alarms_per_patient_day(scored_observations, alerts),
        "drift": _drift(history, labels, last_day),
    }
    if model is None:
        return tables
    return tables | {"calibration": _calibration(_scored_week(history, labels, last_day, model), labels)}


def _news2_by(scored_observations: DataFrame, column: str) -> DataFrame:
    """Patients, observations, mean NEWS2 and share of medium or high risk, by day and `column`."""
    return scored_observations.groupBy("day", column).agg(
        F.countDistinct("patient_id").alias("patients"),
        F.count("*").alias("observations"),
        F.round(F.avg("score.total"), 3).alias("mean_news2"),
        F.round(F.avg(F.col("score.risk").isin("medium", "high").cast("double")), 4).alias("share_medium_or_high"),
    )


def _cohort() -> Column:
    scale_2 = F.coalesce(F.col("spo2_scale") == 2, F.lit(False))
    oxygen = F.col("score.oxygen")
    scale_1 = F.when(oxygen > 0, "scale 1, on oxygen").when(oxygen == 0, "scale 1, on air").otherwise("scale 1, oxygen unknown")
    return F.when(scale_2, "SpO2 scale 2").otherwise(scale_1)


def _risk_bands(scored_observations: DataFrame) -> DataFrame:
    risk = F.coalesce("score.risk", F.lit("incomplete")).alias("risk")
    counts = scored_observations.groupBy("day", risk).agg(F.count("*").alias("observations"))
    return counts.join(scored_observations.groupBy("day").agg(F.count("*").alias("of")), "day").select(
        "day", "risk", "observations", F.round(F.col("observations") / F.col("of"), 4).alias("share")
    )


def _slopes(scored_observations: DataFrame, last_day: date) -> DataFrame:
    """Change a day over a patient's last two weeks (least squares): blood pressure, NEWS2 and the share of red observations."""
    end = last_day + timedelta(days=1)
    recent = events_between(scored_observations, end - timedelta(days=SLOPE_DAYS), end)
    elapsed = F.unix_seconds("event_time") / 86_400
    is_risky = F.col("score.risk").isin("medium", "high").cast("double")
    slopes = recent.groupBy("patient_id").agg(
        F.round(F.max(elapsed) - F.min(elapsed), 2).alias("days"),
        *(
            F.round(F.regr_slope(value, elapsed), 4).alias(name)
            for name, value in (
                ("systolic_per_day", F.col("systolic_mmhg")),
                ("diastolic_per_day", F.col("diastolic_mmhg")),
                ("news2_per_day", F.col("score.total").cast("double")),
                ("medium_or_high_per_day", is_risky),
            )
        ),
    )
    steepest = F.abs("systolic_per_day").desc()
    return slopes.where(F.col("days") >= LEAST_SLOPE_DAYS).orderBy(steepest, "patient_id").limit(TOP_SLOPES)


def _alarms_per_patient_day(scored_observations: DataFrame, alerts: DataFrame) -> DataFrame:
    """Alerts by day and rule, and per patient observed on that day: the load that alarms are to a ward."""
    patient_days = scored_observations.groupBy("day").agg(F.countDistinct("patient_id").alias("patients"))
    counts = alerts.groupBy(F.to_date("event_time").alias("day"), "rule").agg(F.countDistinct("alert_id").alias("alarms"))
    return counts.join(patient_days, "day").withColumn("per_patient_day", F.round(F.col("alarms") / F.col("patients"), 4))


def _calibration(scored_observations: DataFrame, labels: DataFrame) -> DataFrame:
    """Reliability of `model_score`, by the observations' outcomes."""
    labelled = outcomes(scored_observations, labels).withColumnRenamed("event_id", "observation_id")
    return reliability(scored_observations.join(labelled, "observation_id"))


def _scored_week(history: DataFrame, labels: DataFrame, last_day: date, model: TrainedModel) -> DataFrame:
    """A week of observations, scored as serving does, whose outcome is known by the end of the newest day.

    The model may have learnt from it: this shows whether it still fits, not how it would do on others.
    """
    days = [last_day - LABEL_DELAY - timedelta(days=age) for age in range(WEEK.days)]
    return with_score(_rows_as_served(history, labels, days), model)


def _drift(history: DataFrame, labels: DataFrame, last_day: date) -> DataFrame:
    """PSI of the model's features, as serving has them: the last 7 days against the 7 days before."""
    rows = _rows_as_served(history, labels, [last_day - timedelta(days=age) for age in range(2 * WEEK.days)])
    return stability(rows.withColumn("is_current", F.col("as_of") > F.lit(last_day - WEEK)), list(FEATURES))


def _rows_as_served(history: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    """Observations of `days` with the model's features, from the baselines of each day's start."""
    rows = history.withColumn("as_of", F.to_date("event_time")).where(F.col("as_of").isin(days))
    return with_features(rows.join(baselines(history, labels, days)["patient"], ["patient_id", "as_of"], "left"))
