"""Computes what a planner reads: the demand forecast's errors on the past, and stock policies with the service they deliver."""

from datetime import date

import numpy as np
import pandas as pd

from retail_behavior.planning.forecast import HORIZON, LEVEL_DAYS, WEEK_DAYS, backtest
from retail_behavior.planning.inventory import (
    Policy,
    compute_reorder_point,
    economic_order_quantity,
    safety_stock,
    simulated_service,
)
from retail_behavior.settings import RetailSettings

BACKTEST_SCHEMA = "method string, wrmsse double, days_inside_interval double"
POLICY_SCHEMA = (
    "product_id string, daily_units double, daily_deviation double, safety_stock double, reorder_point double, "
    "order_up_to double, nominal_cycle_service double, realised_cycle_service double, realised_fill_rate double, cycles long"
)
CUTS = 3  # of history, each with its forecast
REVIEW_DAYS = 1.0  # between two looks at the stock: an order has to last until the goods of the next one come
SIMULATED_DAYS = 4_000


def backtest_forecast(sales: pd.DataFrame) -> pd.DataFrame:
    """Sales by product and day to a row per method: its error over as many rolling cuts as history has room for, up to CUTS.

    Each cut is HORIZON days, or a week where history has no room for one.
    """
    day = pd.to_datetime(sales["day"])
    calendar = pd.date_range(day.min(), day.max())
    spare_days = len(calendar) - 2 * LEVEL_DAYS
    horizon = HORIZON if spare_days >= HORIZON else WEEK_DAYS
    cuts = min(CUTS, (spare_days if horizon == HORIZON else len(calendar) - LEVEL_DAYS) // horizon)
    if cuts < 1:
        row = pd.DataFrame({"method": "", "wrmsse": 0.0, "days_inside_interval": 0.0}, index=[0])
        return row.iloc[:0]  # empty, and of the right types
    by_day = sales.assign(day=day).pivot_table(index="product_id", columns="day", values=["units", "revenue"], aggfunc="sum")
    units, revenue = (by_day[name].reindex(columns=calendar).fillna(0.0).to_numpy() for name in ("units", "revenue"))
    weekday = (calendar[0].weekday() + np.arange(len(calendar) + HORIZON)) % WEEK_DAYS
    figures = backtest(units, revenue, weekday, cuts, horizon)
    methods = ("model", "calendar_mean", "seasonal_naive")
    inside_shares = [figures["coverage"], np.nan, np.nan]
    return pd.DataFrame({"method": methods, "wrmsse": [figures[name] for name in methods], "days_inside_interval": inside_shares})


def plan_stock(sales: pd.DataFrame, settings: RetailSettings, until: date | None = None) -> pd.DataFrame:
    """Sales by day of one product to its (s, S) policy, with its service over days drawn from its own past.

    Its days are those from its first sale to `until`, or to its last sale; a day without a sale is a demand of 0 units.
    Nominal is what the normal formula promises; realised is what simulation over the product's real days delivered.
    """
    day = pd.to_datetime(sales["day"])
    units = sales.set_index(day)["units"].reindex(pd.date_range(day.min(), until or day.max()), fill_value=0.0).to_numpy(float)
    mean, std = float(units.mean()), float(units.std())
    price = float(sales["revenue"].sum() / sales["units"].sum())
    service, days = settings.cycle_service, settings.lead_days + REVIEW_DAYS
    quantity, _ = economic_order_quantity(settings.order_cost, settings.holding_cost * price / 365, mean)
    reorder_level = compute_reorder_point(service, mean, std, days)
    demand = np.random.default_rng(0).choice(units, SIMULATED_DAYS)
    realised_service = simulated_service(demand, Policy(reorder_level, reorder_level + quantity), settings.lead_days)
    return pd.DataFrame(
        {
            "product_id": [sales["product_id"].iloc[0]],
            "daily_units": mean,
            "daily_deviation": std,
            "safety_stock": safety_stock(service, std, days),
            "reorder_point": reorder_level,
            "order_up_to": reorder_level + quantity,
            "nominal_cycle_service": service,
            "realised_cycle_service": realised_service.cycle_service,
            "realised_fill_rate": realised_service.fill_rate,
            "cycles": realised_service.cycles,
        }
    )
