"""The demand forecast: below the calendar-aware mean on real invoices, and no peeking."""

import numpy as np
import pandas as pd
import pytest

from retail_behavior.planning.forecast import (
    HORIZON,
    backtest,
    calendar_mean,
    forecast,
    seasonal_naive,
    weighted_rmsse,
)

pytestmark = [pytest.mark.files, pytest.mark.usefixtures("compiled")]

DAYS = 140
WEEKDAYS = np.arange(DAYS + HORIZON) % 7


@pytest.fixture(scope="module")
def sold(shared_data):
    """(units, revenue, weekday) of the 300 most active products of the real invoices, a column per day."""
    rows = pd.read_parquet(shared_data / "retail" / "online_retail_2010-12_to_2011-09.parquet").drop_duplicates()
    rows = rows[~rows["InvoiceNo"].str.startswith("C") & (rows["Quantity"] > 0) & (rows["UnitPrice"] > 0)]
    rows = rows.assign(day=rows["InvoiceDate"].dt.normalize(), revenue=rows["Quantity"] * rows["UnitPrice"])
    active = rows.groupby("StockCode")["day"].nunique().nlargest(300).index
    days = pd.date_range(rows["day"].min(), rows["day"].max())
    tables = (
        rows[rows["StockCode"].isin(active)]
        .pivot_table(index="StockCode", columns="day", values=["Quantity", "revenue"], aggfunc="sum")
        .fillna(0.0)
    )
    units, revenue = (tables[name].reindex(columns=days, fill_value=0.0).to_numpy(float) for name in ("Quantity", "revenue"))
    return units, revenue, (days[0].weekday() + np.arange(len(days) + HORIZON)) % 7


@pytest.fixture(scope="module")
def units():
    """Twenty products with a weekly season, closed on day 5 of the week."""
    rng = np.random.default_rng(3)
    season = np.array([1.0, 0.8, 0.9, 1.1, 1.6, 0.0, 0.6])
    return rng.poisson(np.linspace(2, 40, 20)[:, None] * season[WEEKDAYS[:DAYS]]).astype(float)


def test_it_is_below_the_calendar_aware_mean_on_real_invoices(sold):
    measured = backtest(*sold, cuts=3)
    print({name: round(value, 4) for name, value in measured.items()})
    assert measured["model"] < measured["calendar_mean"] - 0.005
    assert measured["calendar_mean"] < measured["seasonal_naive"]
    assert 0.7 < measured["coverage"] < 0.93


def test_it_is_below_the_calendar_aware_mean_on_cuts_that_no_choice_saw_too(sold):
    measured = backtest(*sold, cuts=5)
    print({name: round(value, 4) for name, value in measured.items()})
    assert measured["model"] < measured["calendar_mean"] - 0.005


def test_what_it_says_does_not_change_with_what_comes_after(units):
    demand = forecast(units[:, :100], WEEKDAYS)
    changed = units.copy()
    changed[:, 100:] = 9_999
    assert np.array_equal(forecast(changed[:, :100], WEEKDAYS).mean, demand.mean)
    assert not np.array_equal(forecast(changed[:, :107], WEEKDAYS).mean, demand.mean)


def test_it_learns_the_week_and_the_closed_day(units):
    demand = forecast(units, WEEKDAYS)
    weekday = WEEKDAYS[DAYS : DAYS + HORIZON]
    assert (demand.mean[:, weekday == 5] == 0).all() and (demand.high[:, weekday == 5] == 0).all()
    assert demand.mean[:, weekday == 4].mean() > 1.5 * demand.mean[:, weekday == 1].mean()
    measured = backtest(units, units, WEEKDAYS, cuts=1)
    assert measured["model"] < 0.9 * measured["calendar_mean"]


def test_its_interval_holds_the_mean_and_most_days(units):
    demand = forecast(units, WEEKDAYS)
    assert (demand.low <= demand.mean).all() and (demand.mean <= demand.high).all() and (demand.low >= 0).all()
    assert 0.7 < backtest(units, units, WEEKDAYS, cuts=2)["coverage"] < 0.95


def test_a_short_history_still_gives_a_forecast(units):
    demand = forecast(units[:, :28], WEEKDAYS)
    assert np.isfinite(demand.mean).all() and (demand.high > demand.mean)[:, WEEKDAYS[28:56] != 5].all()


@pytest.mark.parametrize(("first", "end"), [(49, 56), (40, 70), (24, 84), (1, 77)])
def test_a_shop_that_was_closed_for_a_while_still_gets_a_forecast(units, first, end):
    closed = units[:, :84].copy()
    closed[:, first:end] = 0
    demand = forecast(closed, WEEKDAYS, 7)
    assert np.isfinite(demand.mean).all() and (demand.low <= demand.mean).all() and (demand.mean <= demand.high).all()
    assert (demand.mean.sum() == 0) == (end - first == 60)  # nothing sold in eight weeks: no weekday is open


def test_a_cut_without_sales_does_not_hide_the_others(units):
    closed = units.copy()
    closed[:, DAYS - 2 * HORIZON : DAYS - HORIZON] = 0
    measured = backtest(closed, closed, WEEKDAYS, cuts=2)
    assert np.isfinite(list(measured.values())).all() and 0.5 < measured["coverage"] <= 1
    # What never varies has no scale to measure an error by, before it varies.
    flat = units.copy()
    flat[:, : DAYS - HORIZON] = 5
    assert np.isfinite(backtest(flat, flat, WEEKDAYS, cuts=2, horizon=7)["model"])
    assert np.isnan(backtest(flat[:, : DAYS - HORIZON], flat, WEEKDAYS, cuts=1)["model"])


def test_a_bulk_order_moves_the_forecast_little(units):
    bulk = units.copy()
    bulk[3, DAYS - 10] = 74_215
    assert forecast(bulk, WEEKDAYS).mean[3].sum() < 2 * forecast(units, WEEKDAYS).mean[3].sum()


def test_the_yardsticks_are_what_their_names_say():
    units = np.array([[0, 2, 4, 0, 2, 4, 0] * 6], float)
    weekday = np.arange(42 + HORIZON) % 7
    mean = calendar_mean(units, weekday)
    closed = np.isin(weekday[42:], (0, 3, 6))
    assert (mean[0, closed] == 0).all() and (mean[0, ~closed] == pytest.approx(3))
    assert seasonal_naive(units)[0, :7].tolist() == [0, 2, 4, 0, 2, 4, 0]


def test_the_error_is_scaled_and_weighted_by_revenue():
    past = np.array([[0, 0, 1, 3, 1, 3], [5, 5, 5, 5, 5, 5], [0, 10, 0, 10, 0, 10]], float)
    revenue = past * np.array([[3.0], [1.0], [0.0]])
    actual = np.zeros((3, 2))
    # Only the first product has both a scale (2, from its first sale on) and revenue.
    assert weighted_rmsse(past, revenue, actual, actual + 4.0) == pytest.approx(2.0)
