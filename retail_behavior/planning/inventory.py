"""How much to order and when: the classical models of inventory theory, and a simulation of what they really deliver.

Quantities are units; costs are per order (fixed), per unit and period held (holding) or short (stockout), and demand is
per period, of whatever length the caller chooses. Formulas follow Snyder and Shen, Fundamentals of Supply Chain Theory
(2019), whose chapter is named at each; the tests hold them to stockpyl's published examples.
"""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, poisson

NEGLIGIBLE = 1e-9
MOST_ITERATIONS = 200


@dataclass(frozen=True)
class Policy:
    """Order when the inventory position is at or below `reorder_point`: a fixed `quantity`, or up to `order_up_to`."""

    reorder_point: float
    order_up_to: float
    cost: float | None = None

    @property
    def quantity(self) -> float:
        return self.order_up_to - self.reorder_point


@dataclass(frozen=True)
class Service:
    """What a simulation delivered. cycle_service: share of replenishment cycles without a stock-out; fill_rate: of demand."""

    cycle_service: float
    fill_rate: float
    cycles: int


def economic_order_quantity(fixed: float, holding: float, demand: float) -> tuple[float, float]:
    """(quantity, cost per period) that balances ordering and holding (chapter 3.2)."""
    quantity = sqrt(2 * fixed * demand / holding)
    return quantity, holding * quantity


def newsvendor(holding: float, stockout: float, mean: float, std: float) -> tuple[float, float]:
    """(base-stock level, expected cost) for one period of normal demand (chapter 4.3)."""
    z_score = float(norm.ppf(stockout / (stockout + holding)))
    return mean + z_score * std, (holding + stockout) * float(norm.pdf(z_score)) * std


def safety_stock(service: float, std: float, lead_time: float) -> float:
    """Units beyond mean demand over `lead_time` periods, so that a cycle has no stock-out with probability `service`."""
    return float(norm.ppf(service)) * std * sqrt(lead_time)


def reorder_point(service: float, mean: float, std: float, lead_time: float) -> float:
    """Mean demand over the lead time and its safety stock; `mean` and `std` per period of normal demand."""
    return mean * lead_time + safety_stock(service, std, lead_time)


def continuous_review(fixed: float, holding: float, stockout: float, mean: float, std: float, lead_time: float) -> Policy:
    """(r, Q) by the expected-inventory-level approximation, solved by alternating r and Q (chapter 5.3.1).

    mean, std: of demand per period; lead_time in periods. Unmet demand is backordered.
    """
    lead_mean, lead_std = mean * lead_time, std * sqrt(lead_time)
    quantity = economic_order_quantity(fixed, holding, mean)[0]
    point = lead_mean
    for _ in range(MOST_ITERATIONS):
        before = quantity
        z_score = float(norm.ppf(1 - min(quantity * holding / (stockout * mean), 1 - NEGLIGIBLE)))
        point = lead_mean + z_score * lead_std
        quantity = sqrt(2 * mean * (fixed + stockout * _expected_shortage(z_score, lead_std)) / holding)
        if abs(quantity - before) < NEGLIGIBLE:
            break
    shortage = stockout * mean * _expected_shortage((point - lead_mean) / lead_std, lead_std) / quantity
    cost = holding * (point - lead_mean + quantity / 2) + fixed * mean / quantity + shortage
    return Policy(point, point + quantity, cost)


def power_approximation(fixed: float, holding: float, stockout: float, mean: float, std: float) -> Policy:
    """(s, S) for periodic review without lead time, by Ehrhardt and Mosier's power approximation (chapter 4.4.4).

    Without their correction for orders of less than 1.5 periods' demand, as the published example is.
    """
    quantity = 1.30 * mean**0.494 * (fixed / holding) ** 0.506 * (1 + std**2 / mean**2) ** 0.116
    ratio = sqrt(quantity / (std * stockout / holding))
    point = 0.973 * mean + std * (0.183 / ratio + 1.063 - 2.192 * ratio)
    return Policy(point, point + quantity)


def exact_poisson(fixed: float, holding: float, stockout: float, mean: float) -> Policy:
    """The optimal (s, S) for periodic review and Poisson demand, by Zheng and Federgruen's algorithm (chapter 4.4.3)."""
    pmf = poisson.pmf(np.arange(int(poisson.ppf(1 - 1e-12, mean)) + 1), mean)

    def one_period(level: int) -> float:
        on_hand = np.maximum(level - np.arange(len(pmf)), 0) @ pmf
        return float(holding * on_hand + stockout * (on_hand - level + mean))

    def cost(low: int, high: int) -> float:
        renewal, spent = _renewal(pmf, high - low), fixed
        for below, visits in enumerate(renewal):
            spent += visits * one_period(high - below)
        return spent / float(renewal.sum())

    best_level = next(level for level in range(10**9) if one_period(level + 1) >= one_period(level))
    low = best_level - 1
    while cost(low, best_level) > one_period(low):
        low -= 1
    best_low, best_high, best = low, best_level, cost(low, best_level)
    high = best_level + 1
    while one_period(high) <= best:
        if cost(best_low, high) < best:
            best_high = high
            while cost(best_low, high) <= one_period(best_low + 1):
                best_low += 1
            best = cost(best_low, high)
        high += 1
    return Policy(best_low, best_high, best)


def simulated_service(demand: NDArray[np.float64], policy: Policy, lead_time: int) -> Service:
    """What (s, S) delivers over `demand` per period: reviewed at the end of each, delivered `lead_time` later, sales lost.

    A cycle ends with a delivery; it had a stock-out when any demand in it was lost.
    """
    stock, orders = policy.order_up_to, dict[int, float]()
    cycles = short_cycles = 0
    lost, is_short = 0.0, False
    for period, wanted in enumerate(demand):
        if period in orders:
            stock += orders.pop(period)
            cycles, short_cycles, is_short = cycles + 1, short_cycles + is_short, False
        sold = min(stock, float(wanted))
        is_short |= sold < wanted
        lost, stock = lost + float(wanted) - sold, stock - sold
        position = stock + sum(orders.values())
        if position <= policy.reorder_point:
            orders[period + 1 + lead_time] = ceil(policy.order_up_to - position)
    total = float(demand.sum())
    return Service(1 - short_cycles / cycles if cycles else float("nan"), 1 - lost / total if total else float("nan"), cycles)


def _expected_shortage(z_score: float, std: float) -> float:
    """Units short on average when stock stands `z_score` deviations above mean demand (standard normal loss function)."""
    return std * (float(norm.pdf(z_score)) - z_score * float(norm.sf(z_score)))


def _renewal(pmf: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Expected visits to each level of 0 .. size - 1 units below S within a cycle."""
    visits = np.zeros(size)
    visits[0] = 1 / (1 - pmf[0])
    for level in range(1, size):
        reach = pmf[1 : level + 1]
        visits[level] = visits[level - len(reach) : level][::-1] @ reach / (1 - pmf[0])
    return visits
