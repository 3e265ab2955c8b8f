"""Order quantity and safety stock against published figures, and what a policy really delivers beside its nominal service."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from retail_behavior.planning.inventory import (
    Policy,
    compute_reorder_point,
    economic_order_quantity,
    safety_stock,
    simulated_service,
)
from retail_behavior.planning.stock_plan import plan_stock
from retail_behavior.settings import RetailSettings


def test_economic_order_quantity_is_the_published_one():
    assert economic_order_quantity(8, 0.225, 1300) == pytest.approx((304.0468, 68.4105), abs=5e-5)


def test_safety_stock_is_the_quantile_of_normal_demand():
    assert safety_stock(0.95, 10, 4) == pytest.approx(1.644854 * 20, abs=1e-4)
    assert compute_reorder_point(0.95, 50, 10, 4) == pytest.approx(200 + 1.644854 * 20, abs=1e-4)
    assert safety_stock(0.5, 10, 4) == pytest.approx(0)


def test_a_simulation_shows_what_nominal_service_leaves_out():
    demand = np.random.default_rng(2).normal(50, 10, 60_000).clip(0)
    lead_time_only, with_review = (compute_reorder_point(0.95, 50, 10, periods) for periods in (3, 4))
    nominal = simulated_service(demand, Policy(lead_time_only, lead_time_only + 400), 3)
    protected = simulated_service(demand, Policy(with_review, with_review + 400), 3)
    # By the time the review sees it the position is below the reorder point already, which the formula does not know.
    assert 0.5 < nominal.cycle_service < 0.9
    assert nominal.fill_rate > 0.95
    assert protected.cycle_service > 0.95
    assert protected.fill_rate > nominal.fill_rate


def test_a_simulation_counts_what_one_can_count_by_hand():
    # 5 in stock; 3 sold; 2 left, order 3 (to arrive 1 period later); then 4 wanted: 2 lost; then delivered.
    realised = simulated_service(np.array([3.0, 4.0, 1.0]), Policy(2, 5), 1)
    assert (realised.cycles, realised.cycle_service) == (1, 0.0)
    assert realised.fill_rate == pytest.approx(6 / 8)


def test_no_demand_and_no_order_is_no_service():
    realised = simulated_service(np.zeros(3), Policy(0, 5), 1)
    assert realised.cycles == 0 and np.isnan(realised.cycle_service) and np.isnan(realised.fill_rate)


def test_a_policy_is_what_the_settings_ask_for():
    units = np.random.default_rng(1).poisson(10, 200).astype(float)
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(len(units))]
    sales = pd.DataFrame({"product_id": "p", "day": days, "units": units, "revenue": 5 * units})
    usual = plan_stock(sales, RetailSettings()).iloc[0]
    slow, careful, dear = (
        plan_stock(sales, RetailSettings(**{name: value})).iloc[0]
        for name, value in (("lead_days", 3), ("cycle_service", 0.99), ("order_cost", 32.0))
    )
    assert slow["reorder_point"] > usual["reorder_point"] + 19, "two days more of ten units each"
    assert careful["safety_stock"] > 1.4 * usual["safety_stock"] and careful["nominal_cycle_service"] == 0.99
    batch, dear_batch = (plan["order_up_to"] - plan["reorder_point"] for plan in (usual, dear))
    assert dear_batch == pytest.approx(2 * batch), "four times the cost of an order, twice its size"
