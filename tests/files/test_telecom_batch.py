"""What batch learns of a cell, and what it reports to people."""

from datetime import date, datetime, timedelta
from math import exp, log1p

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.charts import draw_all
from telecom_anomaly import baselines, generator, trends
from telecom_anomaly.events import EVENT_SCHEMA, KPIS
from telecom_anomaly.settings import Population

pytestmark = pytest.mark.files

DAY = date(2020, 3, 2)  # a Monday
EMPTY_LABELS = "event_id string, entity_id string, scenario string, case_id string, event_time timestamp, known_time timestamp"


def reports(spark, rows):
    usual = dict.fromkeys(KPIS, 100.0) | {"RRU_CellUnavailableTime": 0.0, "RRU_PrbTotDl": 20.0, "suspect_flag": False}
    full = [
        {"report_id": f"r{n}", "cell_id": "C1", "site_id": "S1", "region": None, "technology": None, **usual, **row}
        for n, row in enumerate(rows)
    ]
    return spark.createDataFrame(
        [[row[name] for name in EVENT_SCHEMA.names] for row in full],
        T.StructType([T.StructField(field.name, field.dataType) for field in EVENT_SCHEMA]),
    )


def cells_of(spark, rows, day=DAY):
    history = reports(spark, rows)
    return baselines.baselines(history, spark.createDataFrame([], EMPTY_LABELS), [day])["cell"].collect()


def mondays(values, hour=9, **report):
    """One report at `hour` of each Monday before DAY, the newest last."""
    first = datetime(2020, 3, 2, hour) - timedelta(weeks=len(values))
    return [
        {"event_time": first + timedelta(weeks=number), "DRB_RlcSduDelayDl": value, **report}
        for number, value in enumerate(values)
    ]


def test_a_baseline_is_the_median_and_spread_of_its_hour_of_the_week(spark):
    [row] = cells_of(spark, mondays([100.0, 120.0, 90.0, 110.0, 5_000.0]))
    middle = log1p(110.0)
    distances = sorted(abs(log1p(value) - middle) for value in (100.0, 120.0, 90.0, 110.0, 5_000.0))
    assert row.as_of == DAY and row.known_values[9] == 5 and sum(row.known_values) == 5
    assert row.delay_median[9] == pytest.approx(middle) and row.delay_median[10] is None
    assert row.delay_spread[9] == pytest.approx(1.4826 * distances[2])


def test_the_day_itself_what_is_too_old_and_what_is_suspect_teach_nothing(spark):
    odd = [
        {"event_time": datetime(2020, 3, 2, 9), "DRB_RlcSduDelayDl": 1.0},
        {"event_time": datetime(2020, 3, 2, 9) - timedelta(days=49), "DRB_RlcSduDelayDl": 1.0},
        *mondays([1.0, 1.0], hour=9, suspect_flag=True, report_id="s"),
        *mondays([1.0], RRU_CellUnavailableTime=60.0),
    ]
    odd = [{**row, "event_time": row["event_time"] + timedelta(minutes=15)} for row in odd]
    [row] = cells_of(spark, [*mondays([100.0, 100.0, 100.0]), *odd])
    assert row.known_values[9] == 3 and row.delay_median[9] == pytest.approx(log1p(100.0))


def test_a_report_that_came_twice_and_a_gap_change_nothing(spark):
    once = mondays([100.0, 120.0, 140.0])
    [row], [again] = cells_of(spark, once), cells_of(spark, [*once, *once])
    assert again.asDict() == row.asDict()
    [gap] = cells_of(spark, [*once, {"event_time": datetime(2020, 2, 24, 9, 30), "DRB_RlcSduDelayDl": None}])
    assert gap.delay_median[9] == row.delay_median[9]


def test_a_drift_is_measured_against_the_older_half_at_the_same_load(spark):
    def day(age, factor):
        return [
            {
                "event_time": datetime(2020, 3, 2) - timedelta(days=age) + timedelta(minutes=15 * period),
                "RRU_PrbTotDl": 10.0 + period % 48,
                "DRB_UEThpDl": factor * (30_000 - 250 * (10.0 + period % 48)),
            }
            for period in range(96)
        ]

    steady = [report for age in range(22, 36) for report in day(age, 1.0)]
    [row] = cells_of(spark, [*steady, *day(2, 0.8), *day(1, 0.8)])
    assert (row.speed_empty, row.speed_slope) == (pytest.approx(30_000), pytest.approx(-250))
    assert exp(row.speed_residual / (1 - 0.7**2)) == pytest.approx(0.8)
    [unsure] = cells_of(spark, [*steady[:200], *day(1, 0.8)])
    assert unsure.speed_empty is None and unsure.speed_residual == 0


def test_the_refused_share_is_that_of_reports_which_tell_both_numbers(spark):
    both = {"RRC_ConnEstabAtt": 100.0, "RRC_ConnEstabSucc": 95.0}
    rows = mondays([100.0] * 3, **both) + mondays([100.0] * 2, hour=10, RRC_ConnEstabAtt=400.0, RRC_ConnEstabSucc=None)
    rows += mondays([100.0], hour=11, RRC_ConnEstabAtt=None, RRC_ConnEstabSucc=70.0)
    assert cells_of(spark, rows)[0].refused_share == pytest.approx(0.05)
    worst = trends._worst_cells(reports(spark, rows)).collect()
    assert [row.refused_share for row in worst] == [pytest.approx(0.05)]
    assert cells_of(spark, mondays([1.0], RRC_ConnEstabSucc=None))[0].refused_share is None


def test_a_site_has_the_cells_that_reported_from_it_last_and_within_a_week(spark):
    rows = [
        *mondays([1.0] * 3),
        *mondays([1.0], cell_id="C2"),
        *mondays([1.0], cell_id="C3", hour=8, site_id="S2"),
        *mondays([1.0], cell_id="C3", hour=9),
        *mondays([1.0], cell_id="C4", site_id="S2"),
    ]
    gone = {**mondays([1.0] * 2)[0], "cell_id": "C5"}
    cells = {row.cell_id: row.site_cells for row in cells_of(spark, [*rows, gone])}
    assert cells == {"C1": 3, "C2": 3, "C3": 3, "C4": 1, "C5": None}


@pytest.fixture(scope="module")
def history(spark, tmp_path_factory):
    """Five weeks of six sites, and their labels."""
    folder = tmp_path_factory.mktemp("history")
    days = [generator.generate_day(5, DAY - timedelta(days=back), Population(sites=6)) for back in range(35)]
    for number, day in enumerate(days):
        pq.write_table(day.events, folder / f"events{number}.parquet")
        pq.write_table(day.labels, folder / f"labels{number}.parquet")
    read = [spark.read.parquet(str(folder / f"{kind}*.parquet")) for kind in ("events", "labels")]
    return read[0].withColumn("event_day", F.to_date("event_time")), read[1]


def test_trends_tell_load_capacity_availability_and_the_worst(spark, history, tmp_path):
    events, labels = history
    alerts = spark.createDataFrame([("interference", datetime(2020, 3, 1))], "rule string, event_time timestamp")
    tables = {name: rows.toPandas() for name, rows in trends.trends(events, labels, alerts).items()}
    errors = tables["forecast_judged"].set_index("method")["mae_points"]
    assert errors.idxmin() == "weighted_weeks"
    plan = tables["capacity"]
    assert len(plan) == 18 and plan["busy_hour_load"].is_monotonic_decreasing
    assert (plan["channels_waiting"] >= plan["channels_lost"]).all() and (plan["channels_lost"] > plan["erlang"]).all()
    assert len(tables["forecast"]) == 18 * 168
    assert (tables["forecast"]["low"] <= tables["forecast"]["high"]).all()
    assert tables["busy_hour"].groupby("cell_id")["day"].nunique().min() >= 30
    assert tables["availability_by_region"]["availability"].between(0, 1).all()
    assert tables["availability_by_region"]["reports_received"].between(0.8, 1).all()
    assert tables["worst_cells"]["badness"].is_monotonic_decreasing
    assert {"interference", "flapping"} <= set(tables["faults_by_scenario"]["scenario"])
    assert len(draw_all(tables, trends.CHARTS, tmp_path)) == len(trends.CHARTS)


def test_a_new_cell_and_one_that_sends_no_users_keep_no_plan_from_the_others(spark, history):
    events, labels = history
    alerts = spark.createDataFrame([], "rule string, event_time timestamp")
    new_cell, silent_cell = sorted(row.cell_id for row in events.select("cell_id").distinct().collect())[:2]
    newest = events.agg(F.max("event_time")).first()[0]
    holed = events.where((F.col("cell_id") != new_cell) | (F.col("event_time") > F.lit(newest - timedelta(days=9)))).withColumn(
        "RRC_ConnMean", F.when(F.col("cell_id") != silent_cell, F.col("RRC_ConnMean"))
    )
    tables = trends.trends(holed, labels, alerts)
    plan = {row.cell_id: row for row in tables["capacity"].collect()}
    assert len(plan) == 18
    assert plan[new_cell].growth_per_year is None and plan[new_cell].carriers is None and plan[new_cell].full_on is None
    assert plan[new_cell].busy_hour_load > 0 and plan[new_cell].channels_lost > 0
    assert plan[silent_cell].channels_lost is None and plan[silent_cell].erlang is None and plan[silent_cell].carriers >= 1
    rest = [row for cell, row in plan.items() if cell not in (new_cell, silent_cell)]
    assert all(row.growth_per_year is not None and row.carriers >= 1 and row.channels_lost > 0 for row in rest)
    bounds = tables["forecast"].where(F.col("cell_id") != new_cell).toPandas()[["low", "load", "high"]]
    assert bounds.notna().all().all() and (bounds["low"] <= bounds["load"]).all() and (bounds["load"] <= bounds["high"]).all()


def test_a_forecast_stays_within_what_a_cell_has():
    full = np.full((1, 672), 95.0)
    full[0, -168:] = 100.0
    rows = trends._next_week(np.array(["C1"], object), pd.Timestamp("2020-03-01"), full)
    assert (rows["load"] <= rows["high"]).all() and (rows["low"] <= rows["load"]).all()


def test_the_chart_of_capacity_shows_the_limit_in_force(monkeypatch):
    monkeypatch.setenv("TELECOM_ANOMALY_PRB_LIMIT", "55")
    assert dict(trends.CHARTS)["capacity"].limits() == (55.0,)


def test_trends_of_nothing_are_nothing(spark, history):
    events, labels = history
    assert trends.trends(events.limit(0), labels, spark.createDataFrame([], "rule string, event_time timestamp")) == {}
