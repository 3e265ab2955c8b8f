"""Forecasts that beat the obvious, intervals that hold what they promise, dates on which cells are full."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from telecom_anomaly.generator import generate_day
from telecom_anomaly.planning import capacity
from telecom_anomaly.settings import Population

LAST = pd.Timestamp("2020-03-14")
WEEKS = 6


@pytest.fixture(scope="module")
def load():
    """load[cell, hour] of six simulated weeks, suspect reports left out."""
    days = [date(2020, 2, 3) + timedelta(days=number) for number in range(WEEKS * 7)]
    reports = pd.concat([generate_day(3, day, Population(sites=12)).events.to_pandas() for day in days])
    reports = reports[~reports["suspect_flag"]].assign(hour=lambda rows: rows["event_time"].dt.floor("h"))
    hourly = reports.groupby(["cell_id", "hour"], as_index=False)["RRU_PrbTotDl"].mean().rename(columns={"RRU_PrbTotDl": "load"})
    cells, first, matrix = capacity.hour_matrix(hourly)
    assert (len(cells), first, matrix.shape[1]) == (36, pd.Timestamp("2020-02-03", tz="UTC"), WEEKS * 168)
    return matrix


def busy_days(per_year, base=40.0, noise=0.0, cells=1):
    days = np.arange(WEEKS * 7)
    rng = np.random.default_rng(5)
    return base * np.exp(np.log1p(per_year) * (days - days[-1]) / 365 + noise * rng.standard_normal((cells, len(days))))


def plan(busy, users=20.0, limit=70.0):
    growth = capacity.growth_of(busy)
    return capacity.plans(np.array([f"C{n}" for n in range(len(busy))], object), growth, np.full(len(busy), users), LAST, limit)


def test_the_forecast_beats_persistence_and_the_seven_day_slot_mean(load):
    errors = capacity.judge_forecasts(load).set_index("method")
    assert errors.loc["weighted_weeks", "mae_points"] < 0.8 * errors.loc[["persistence", "slot_mean_7d"], "mae_points"].min()
    assert errors["hours"].min() > 0.9 * load.shape[0] * 168


def test_intervals_hold_nearly_the_share_of_hours_that_they_promise(load):
    covered = capacity.judge_forecasts(load).set_index("method").loc["weighted_weeks", "covered"]
    assert 0.85 < covered < 0.95


def test_no_forecast_knows_the_hours_that_judge_it(load):
    changed = load.copy()
    changed[:, -168:] = 99.0
    for method in capacity.METHODS.values():
        assert np.allclose(method(load[:, :-168], 168), method(changed[:, :-168], 168), equal_nan=True)
    assert np.array_equal(capacity.interval(load[:, :-168]), capacity.interval(changed[:, :-168]))


def test_a_steady_week_is_forecast_as_it_was_and_gaps_stay_gaps():
    week = np.tile(np.arange(168.0), (2, 4))
    week[1, 5::168] = np.nan
    expected = capacity.forecast(week, 336)
    assert expected[0].tolist() == pytest.approx(list(range(168)) * 2)
    assert np.isnan(expected[1, 5]) and expected[1, 6] == pytest.approx(6)


def test_a_missing_hour_is_a_gap_in_the_matrix():
    hours = pd.to_datetime(["2020-01-01 00:00", "2020-01-01 02:00"])
    _, _, matrix = capacity.hour_matrix(pd.DataFrame({"cell_id": ["a", "a"], "hour": hours, "load": [1.0, 3.0]}))
    assert np.isnan(matrix[0, 1]) and matrix[0, [0, 2]].tolist() == [1.0, 3.0]


def test_growth_is_found_and_the_date_follows_from_it():
    [row] = plan(busy_days(1.0)).to_dict("records")
    assert row["busy_hour_load"] == pytest.approx(40, abs=0.1)
    assert row["growth_per_year"] == pytest.approx(1.0, abs=0.01)
    assert row["full_on"] == LAST + timedelta(days=round(365 * np.log(70 / 40) / np.log(2)))
    assert row["carriers"] == 2  # 80% in a year


def test_a_cell_that_is_full_is_full_today_and_one_that_shrinks_never():
    assert plan(busy_days(0.2, base=75.0))["full_on"].tolist() == [LAST]
    shrinking = plan(busy_days(-0.3)).iloc[0]
    assert shrinking["full_on"] is None and shrinking["carriers"] == 1


def test_dates_come_with_an_interval_that_holds_the_estimate():
    rows = plan(busy_days(0.6, noise=0.02, cells=30))
    with_dates = rows.dropna(subset=["full_on", "full_earliest", "full_latest"])
    assert len(with_dates) > 10
    earliest, full_on, latest = (with_dates[name] for name in ("full_earliest", "full_on", "full_latest"))
    assert (earliest <= full_on).all() and (full_on <= latest).all()
    assert (earliest < latest).all()


def test_noise_of_one_cell_is_drawn_towards_the_network():
    busy = busy_days(0.4, noise=0.2, cells=50)
    noisy = capacity.growth_of(busy)
    alone = [np.polyfit(np.arange(WEEKS * 7), np.log(row), 1)[0] for row in busy]
    assert np.std(noisy.per_day) < 0.5 * np.std(alone)
    assert np.log1p(0.4) / 365 == pytest.approx(noisy.per_day.mean(), abs=2 * noisy.error[0])


def test_too_little_history_says_nothing_of_growth():
    growth = capacity.growth_of(busy_days(0.5)[:, -20:])
    assert np.isnan(growth.per_day).all() and growth.load[0] == pytest.approx(39.9, abs=0.5)


def test_cells_without_enough_whole_weeks_have_no_growth_and_leave_that_of_the_others_alone():
    steady = busy_days(0.4, noise=0.02, cells=30)
    new, gap, gone = (busy_days(3.0, cells=1) for _ in range(3))
    new[:, :-9], gap[:, 14:21], gone[:, 7:] = np.nan, np.nan, np.nan
    alone = capacity.growth_of(np.vstack([steady, gap]))
    growth = capacity.growth_of(np.vstack([steady, gap, new, gone]))
    assert growth.per_day[:31] == pytest.approx(alone.per_day) and growth.error[:31] == pytest.approx(alone.error)
    assert np.isnan(growth.per_day[31:]).all() and np.isnan(growth.error[31:]).all()
    assert growth.load[31] == pytest.approx(np.median(new[0, -7:])) and np.isnan(growth.load[32])
    assert growth.per_day[30] > growth.per_day[:30].max()  # five weeks are enough


def test_what_is_not_known_of_a_cell_is_null():
    busy = np.vstack([busy_days(0.4, noise=0.02, cells=3), busy_days(3.0), busy_days(3.0, base=80.0), busy_days(3.0)])
    busy[3:5, :-9], busy[5, 7:] = np.nan, np.nan
    growth = capacity.growth_of(busy)
    rows = capacity.plans(np.array(list("abcdef"), object), growth, np.array([20.0, np.nan, 0, 20, 20, 20]), LAST, 70.0)
    assert rows["carriers"].dtype == "Int64" and rows["channels_lost"].dtype == "Int64"
    steady, without_users, _, new, full, gone = rows.astype(object).where(rows.notna(), None).to_dict("records")
    assert steady["carriers"] == 1 and steady["channels_lost"] > 20
    assert [without_users[name] for name in ("erlang", "channels_lost", "channels_waiting")] == [None] * 3
    assert without_users["carriers"] == 1 and without_users["growth_per_year"] is not None
    assert new["busy_hour_load"] > 30 and new["channels_lost"] > 20
    assert [new[name] for name in ("growth_per_year", "full_on", "full_earliest", "full_latest", "carriers")] == [None] * 5
    assert full["full_on"] == LAST and full["carriers"] is None
    assert gone["busy_hour_load"] is None and gone["full_on"] is None and gone["carriers"] is None


def test_a_network_of_new_cells_has_no_growth():
    busy = busy_days(0.4, cells=4)
    busy[:, :-9] = np.nan
    growth = capacity.growth_of(busy)
    assert np.isnan(growth.per_day).all() and np.isfinite(growth.load).all()


def test_a_forecast_is_judged_by_the_cells_that_have_one(load):
    holed = np.vstack([load, load[:2]])
    holed[-2, :-100], holed[-1, :-300] = np.nan, np.nan
    errors, alone = capacity.judge_forecasts(holed).set_index("method"), capacity.judge_forecasts(load).set_index("method")
    assert errors.loc["weighted_weeks", "covered"] == pytest.approx(alone.loc["weighted_weeks", "covered"], abs=0.02)
    assert errors.loc["weighted_weeks", "half_width_points"] < 2 * alone.loc["weighted_weeks", "half_width_points"]


def test_channels_are_those_of_erlangs_tables():
    row = plan(busy_days(0.2), users=13.18).iloc[0]
    assert row["channels_lost"] == 20 and row["channels_waiting"] > 20
