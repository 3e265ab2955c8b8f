"""Computes how much to order and when: order quantity, safety stock, and a simulation of what a policy really delivers.

Quantities are units; costs are per order (order_cost) or per unit and period held (holding_cost), and demand is per period, of
whatever length the caller chooses. Formulas follow Snyder and Shen, Fundamentals of Supply Chain Theory (2019).
"""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


@dataclass(frozen=True)
class Policy:
    """Order up to `order_up_to` when the inventory position is at or below `reorder_point`: (s, S)."""

    reorder_point: float
    order_up_to: float


@dataclass(frozen=True)
class Service:
    """What a simulation delivered. cycle_service: share of replenishment cycles without a stock-out; fill_rate: of demand."""

    cycle_service: float
    fill_rate: float
    cycles: int


def economic_order_quantity(order_cost: float, holding_cost: float, demand: float) -> tuple[float, float]:
    """(quantity, cost per period) that balances ordering and holding (chapter 3.2 of the book)."""
    quantity = sqrt(2 * order_cost * demand / holding_cost)
    return quantity, holding_cost * quantity


def safety_stock(service: float, std: float, lead_time: float) -> float:
    """Units beyond mean demand over `lead_time` periods, so that a cycle has no stock-out with probability `service`."""
    return float(norm.ppf(service)) * std * sqrt(lead_time)


def compute_reorder_point(service: float, mean: float, std: float, lead_time: float) -> float:
    """Mean demand over the lead time and its safety stock; `mean` and `std` per period of normal demand."""
    return mean * lead_time + safety_stock(service, std, lead_time)


def simulated_service(demand: NDArray[np.float64], policy: Policy, lead_time: int) -> Service:
    """What (s, S) delivers over `demand` per period: reviewed at the end of each, delivered `lead_time` periods later.

    Demand beyond the stock is lost. A cycle ends with a delivery; it had a stock-out when any demand in it was lost.
    """
    units_in_stock, orders = policy.order_up_to, dict[int, float]()
    cycles = short_cycles = 0
    lost_units, is_short = 0.0, False
    for period, demanded_units in enumerate(demand):
        if period in orders:
            units_in_stock += orders.pop(period)
            cycles, short_cycles, is_short = cycles + 1, short_cycles + is_short, False
        sold_units = min(units_in_stock, float(demanded_units))
        is_short |= sold_units < demanded_units
        lost_units, units_in_stock = lost_units + float(demanded_units) - sold_units, units_in_stock - sold_units
        position = units_in_stock + sum(orders.values())
        if position <= policy.reorder_point:
            orders[period + 1 + lead_time] = ceil(policy.order_up_to - position)
    total = float(demand.sum())
    return Service(
        1 - short_cycles / cycles if cycles else float("nan"), 1 - lost_units / total if total else float("nan"), cycles
    )
