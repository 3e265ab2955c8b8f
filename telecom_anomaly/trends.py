"""What batch reports to people: load and capacity, availability, the worst cells, faults and alerts.

A report counts to the UTC day and hour of its event_time, the end of its period. Forecasts and plans instead count days of 24
hours back from the newest hour, so that the last one is complete.
Spark reduces the history to one row per cell and hour; forecasts and plans of these rows (`capacity`) fit on one machine.
"""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.authoring import Bars, Chart, DailyLines, TrainedModel, load
from telecom_anomaly.baselines import is_normal, refused_share
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.planning import capacity
from telecom_anomaly.settings import TelecomSettings

PLANNING_DAYS = 56  # of history for load and growth
LEAST_DAYS = 28  # of history for a forecast that can be judged and a growth
WORST_DAYS = 7  # over which cells are compared
WORST_CELLS = 50  # that are reported
REPORTS_A_DAY = 86_400 // GRANULARITY_S


def prb_limit() -> float:
    """Busy-hour use of resource blocks at which a cell is full, %, as settings have it."""
    return load(TelecomSettings).prb_limit


CHARTS: tuple[tuple[str, Chart], ...] = (
    ("busy_hour_by_region", DailyLines("Busy-hour load, by region", "region", "load", "resource blocks in use (%)")),
    ("availability_by_region", DailyLines("Unavailable time, by region", "region", "unavailable_minutes", "minutes a cell")),
    (
        "capacity",
        Bars(
            "Busy-hour load of the fullest cells",
            "cell_id",
            "busy_hour_load",
            "resource blocks in use (%)",
            limits=lambda: (prb_limit(),),
        ),
    ),
    ("worst_cells", Bars("Worst cells of the last week", "cell_id", "badness", "mean rank among all cells (1 is worst)")),
    ("faults_by_scenario", DailyLines("Faults known, by scenario", "scenario", "cases", "faults a day")),
    ("alerts_by_rule", DailyLines("Alarms, by rule", "rule", "alerts", "alarms a day")),
)


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: TrainedModel | None = None) -> dict[str, DataFrame]:
    """Busy hours, forecasts and their errors, plans, availability, worst cells, faults, alerts. Empty without history.

    model: unused.
    """
    newest = history.agg(F.max(F.to_date("event_time"))).first()
    if newest is None or newest[0] is None:
        return {}
    reports = history.dropDuplicates(["cell_id", "event_time"]).withColumn("day", F.to_date("event_time"))
    return {
        "availability_by_region": _availability(reports),
        "worst_cells": _worst_cells(reports.where(F.col("day") > F.lit(newest[0] - timedelta(days=WORST_DAYS)))),
        "faults_by_scenario": labels.groupBy(F.to_date("event_time").alias("day"), "scenario").agg(
            F.countDistinct("case_id").alias("cases")
        ),
        "alerts_by_rule": alerts.groupBy(F.to_date("event_time").alias("day"), "rule").agg(F.count("*").alias("alerts")),
        **_plan_tables(reports.where(is_normal() & (F.col("day") > F.lit(newest[0] - timedelta(days=PLANNING_DAYS))))),
    }


def _availability(reports: DataFrame) -> DataFrame:
    """Share and minutes of availability by day and region, and the share of reports that came.

    Planned work counts as unavailable: the customer does not care why. A report that did not come counts as neither.
    """
    unavailable_seconds = F.sum(F.coalesce("RRU_CellUnavailableTime", F.lit(0.0)))
    cell_days = F.count_distinct("cell_id")
    return reports.groupBy("day", "region").agg(
        F.round(1 - unavailable_seconds / (F.count("*") * GRANULARITY_S), 6).alias("availability"),
        F.round(unavailable_seconds / 60 / cell_days, 2).alias("unavailable_minutes"),
        F.round(F.count("*") / (cell_days * REPORTS_A_DAY), 4).alias("reports_received"),
    )


def _worst_cells(reports: DataFrame) -> DataFrame:
    """Cells of the last week by their mean rank (0 best, 1 worst) in four measures of what customers feel."""
    cells: pd.DataFrame = (
        reports.groupBy("cell_id", "site_id")
        .agg(
            F.round(F.sum("RRU_CellUnavailableTime") / 60, 1).alias("unavailable_minutes"),
            F.round(refused_share(), 5).alias("refused_share"),
            F.round(F.median("DRB_RlcPacketDropRateDl"), 1).alias("drops"),
            F.round(F.median("DRB_RlcSduDelayDl") / 10, 2).alias("delay_ms"),
        )
        .toPandas()
    )
    measures = ["unavailable_minutes", "refused_share", "drops", "delay_ms"]
    cells["badness"] = cells[measures].rank(pct=True).mean(axis=1).round(4)
    worst = cells.sort_values(["badness", "cell_id"], ascending=[False, True]).head(WORST_CELLS)
    return reports.sparkSession.createDataFrame(worst)


def _plan_tables(reports: DataFrame) -> dict[str, DataFrame]:
    """Busy hours, and of LEAST_DAYS and more of history also forecasts and plans (`capacity`)."""
    hourly: pd.DataFrame = (
        reports.groupBy("cell_id", F.date_trunc("hour", "event_time").alias("hour"))
        .agg(F.avg("RRU_PrbTotDl").alias("load"), F.avg("RRC_ConnMean").alias("users"), F.first("region").alias("region"))
        .toPandas()
    )
    tables = {"busy_hour": _busy_hours(hourly), **_forecasts(hourly)}
    tables["busy_hour_by_region"] = tables["busy_hour"].groupby(["day", "region"], as_index=False)["load"].mean().round(2)
    return {name: reports.sparkSession.createDataFrame(rows) for name, rows in tables.items() if len(rows)}


def _busy_hours(hourly: pd.DataFrame) -> pd.DataFrame:
    """The hour of each cell and day with the highest load (%), and the users connected in it."""
    busiest = hourly.loc[hourly.groupby(["cell_id", hourly["hour"].dt.date])["load"].idxmax()]
    rows = busiest.assign(day=busiest["hour"].dt.date, hour_of_day=busiest["hour"].dt.hour)
    return rows[["cell_id", "region", "day", "hour_of_day", "load", "users"]].round(2)


def _forecasts(hourly: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Tables of the forecasts' errors, of next week's load, and of the capacity plan; empty without LEAST_DAYS of history."""
    cells, first, load_by_hour = capacity.hour_matrix(hourly)
    days = load_by_hour.shape[1] // 24
    if days < LEAST_DAYS:
        return {}
    full_days = load_by_hour[:, -days * 24 :]
    by_day = np.where(np.isnan(full_days), -1.0, full_days).reshape(len(cells), days, 24)
    busy = np.where(by_day.max(axis=2) < 0, np.nan, by_day.max(axis=2))
    users = hourly.groupby("cell_id")["users"].quantile(23 / 24).reindex(cells).to_numpy()
    last = first + timedelta(hours=load_by_hour.shape[1] - 1)
    plan = capacity.plans(cells, capacity.growth_of(busy), users, last.normalize(), prb_limit())
    return {
        "forecast_judged": capacity.judge_forecasts(full_days),
        "forecast": _next_week(cells, last, full_days),
        "capacity": _with_dates_as_text(plan),
    }


def _next_week(cells: np.ndarray, last: pd.Timestamp, load_by_hour: np.ndarray) -> pd.DataFrame:
    """Load of the next 168 hours of each cell, with the bounds that hold 90% of hours; no cell uses more than all it has."""
    expected, width = capacity.forecast(load_by_hour), capacity.interval(load_by_hour)[:, None]
    hours = pd.date_range(last + timedelta(hours=1), periods=expected.shape[1], freq="h")
    return pd.DataFrame(
        {
            "cell_id": np.repeat(cells, len(hours)),
            "hour": np.tile(hours.to_numpy(), len(cells)),
            "load": np.clip(expected, 0, 100).ravel().round(2),
            "low": np.clip(expected - width, 0, 100).ravel().round(2),
            "high": np.clip(expected + width, 0, 100).ravel().round(2),
        }
    )


def _with_dates_as_text(plan: pd.DataFrame) -> pd.DataFrame:
    """Spark takes no column of mixed kinds: a date that never comes is null."""
    dates = ["full_on", "full_earliest", "full_latest"]
    text = {name: [None if pd.isna(value) else f"{value:%Y-%m-%d}" for value in plan[name]] for name in dates}
    return plan.assign(**text).sort_values(["busy_hour_load", "cell_id"], ascending=[False, True])
