"""Demand and stock as a planner sees them: the forecast tested on its own past, policies with the service they deliver."""

from datetime import date

import numpy as np
import pandas as pd

from retail_behavior.baselines import HOLDING_COST, LEAD_DAYS, ORDER_COST, SERVICE, WEEK_DAYS
from retail_behavior.planning.forecast import HORIZON, LEVEL_DAYS, backtest
from retail_behavior.planning.inventory import (
    Policy,
    economic_order_quantity,
    reorder_point,
    safety_stock,
    simulated_service,
)

BACKTEST = "method string, wrmsse double, days_inside_interval double"
POLICY = (
    "product_id string, daily_units double, daily_deviation double, safety_stock double, reorder_point double, "
    "order_up_to double, nominal_cycle_service double, realised_cycle_service double, realised_fill_rate double, cycles long")
CUTS = 3
REVIEW_DAYS = 1.0        # stock is looked at each night: an order protects until the goods of the next one
SIMULATED_DAYS = 4_000


def backtested(sales: pd.DataFrame) -> pd.DataFrame:
    """Sales by product and day to a row per method: its error over as many rolling cuts as history has room for, up to CUTS.

    Each cut is HORIZON days, or a week where history has no room for one.
    """
    day = pd.to_datetime(sales["day"])
    calendar = pd.date_range(day.min(), day.max())
    spare = len(calendar) - 2 * LEVEL_DAYS
    horizon = HORIZON if spare >= HORIZON else WEEK_DAYS
    cuts = min(CUTS, (spare if horizon == HORIZON else len(calendar) - LEVEL_DAYS) // horizon)
    if cuts < 1:
        nothing = pd.DataFrame({"method": "", "wrmsse": 0.0, "days_inside_interval": 0.0}, index=[0])
        return nothing.iloc[:0]  # empty, and of the right types
    wide = sales.assign(day=day).pivot_table(index="product_id", columns="day", values=["units", "revenue"], aggfunc="sum")
    units, revenue = (wide[name].reindex(columns=calendar).fillna(0.0).to_numpy() for name in ("units", "revenue"))
    measured = backtest(units, revenue, (calendar[0].weekday() + np.arange(len(calendar) + HORIZON)) % 7, cuts, horizon)
    methods = ("model", "calendar_mean", "seasonal_naive")
    inside = [measured["coverage"], np.nan, np.nan]
    return pd.DataFrame({"method": methods, "wrmsse": [measured[name] for name in methods], "days_inside_interval": inside})


def planned(sales: pd.DataFrame, until: date | None = None) -> pd.DataFrame:
    """Sales by day of one product to its (s, S) policy, with its service over days drawn from its own past.

    Its days are those from its first sale to `until`, or to its last sale: days without one are demand of nothing.
    Nominal is what the normal formula promises; realised is what simulation over the product's real days delivered.
    """
    day = pd.to_datetime(sales["day"])
    units = sales.set_index(day)["units"].reindex(pd.date_range(day.min(), until or day.max()), fill_value=0.0).to_numpy(float)
    mean, std = float(units.mean()), float(units.std())
    price = float(sales["revenue"].sum() / sales["units"].sum())
    protected = LEAD_DAYS + REVIEW_DAYS
    quantity, _ = economic_order_quantity(ORDER_COST, HOLDING_COST * price / 365, mean)
    point = reorder_point(SERVICE, mean, std, protected)
    drawn = np.random.default_rng(0).choice(units, SIMULATED_DAYS)
    realised = simulated_service(drawn, Policy(point, point + quantity), int(LEAD_DAYS))
    return pd.DataFrame({
        "product_id": [sales["product_id"].iloc[0]], "daily_units": mean, "daily_deviation": std,
        "safety_stock": safety_stock(SERVICE, std, protected), "reorder_point": point, "order_up_to": point + quantity,
        "nominal_cycle_service": SERVICE, "realised_cycle_service": realised.cycle_service,
        "realised_fill_rate": realised.fill_rate, "cycles": realised.cycles,
    })
