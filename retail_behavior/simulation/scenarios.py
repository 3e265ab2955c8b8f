"""What goes wrong in the shop, by name, and what a plain threshold on a single event would look at instead.

bot                a scraper views dozens of products at an even pace; the innocent look-alike clicks as fast, unevenly
cart_abandoned     goods worth CART_VALUE or more stay in the cart; others pause before the till, and then buy
demand_spike       many visitors buy one product within hours; a bulk order or a promotion is none
stock_running_out  a supplier fails twice, and stock falls below what a day may need; every week it falls, and is refilled
"""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from common.simulation.anomalies import bursts, cases_on, distinct
from common.simulation.randomness import random_for
from common.simulation.seasonality import DAY_SECONDS
from retail_behavior.events import ADD, PURCHASE, VIEW
from retail_behavior.simulation.population import World, usual_units
from retail_behavior.simulation.visits import LONGEST_VISIT, OPENS, Day, later, rows_of, since_first

BOT, ABANDONED, SPIKE, RUNNING_OUT = NAMES = ("bot", "cart_abandoned", "demand_spike", "stock_running_out")

BOTS = 2.5                # a day
SPIKES = 1.2              # a day
FAILURES = 0.004          # suppliers' failures begun per pair that sells FAST units or more, and day
CART_VALUE = 60.0         # currency units
SPIKE_HOURS = (3.0, 5.0)
FAST = 2.5                # units a day
FAILED_DELIVERIES = 2     # in a row


def bot_views(today: Day, busy: NDArray[np.int64], session: int) -> NDArray:
    """Sessions numbered from `session` on, by visitors other than `busy`: 30 to 120 views, each gap within 15% of the last."""
    rng, world = today.random("bots"), today.world
    free = np.setdiff1d(np.arange(len(world.visitor_id)), busy)
    count = cases_on(today.seed, today.date, BOT, BOTS * world.population.anomalies)
    visitor = free[distinct(rng, len(free), count)]
    counts = rng.integers(30, 121, len(visitor))
    number = np.repeat(np.arange(len(visitor)), counts)
    gaps = np.exp(rng.uniform(np.log(2), np.log(30), len(visitor)))[number] * rng.uniform(0.93, 1.07, len(number))
    start = OPENS + rng.random(len(visitor)) * (DAY_SECONDS - OPENS - LONGEST_VISIT)
    product = rng.integers(len(world.product_id), size=len(number))
    return rows_of(visitor[number], session + number, start[number] + since_first(gaps, counts), VIEW, product)


def spike_visits(today: Day, busy: NDArray[np.int64], session: int) -> NDArray:
    """Visits by others than `busy` in which a view ends with one product bought: 14 to 34 of them within SPIKE_HOURS."""
    rng, world = today.random("spikes"), today.world
    free = np.setdiff1d(np.arange(len(world.visitor_id)), busy)
    products = distinct(rng, len(world.product_id), cases_on(today.seed, today.date, SPIKE, SPIKES * world.population.anomalies))
    sizes = rng.integers(14, 35, len(products))
    case, offset = bursts(rng, sizes, rng.uniform(*SPIKE_HOURS, len(products)) * 3_600)
    case, offset = case[: len(free)], offset[: len(free)]
    start = (OPENS + 6 * 3_600 + rng.random(len(products)) * 9 * 3_600)[case] + offset
    visitor = free[distinct(rng, len(free), len(case))]
    views = rows_of(visitor, session + np.arange(len(case)), start, VIEW, products[case])
    adds = later(views, ADD, start + rng.uniform(20, 90, len(case)), 1 + (rng.random(len(case)) < 0.15))
    return np.concatenate((views, adds, later(adds, PURCHASE, adds["second"] + rng.uniform(15, 90, len(case)))))


def has_failed(seed: int, delivery: date, world: World) -> NDArray[np.bool_]:
    """For each pair, whether a delivery on that day stays out: the first or second of a supplier's failure.

    Failures never meet: each pair has one week in four in which one may begin.
    """
    failed = np.zeros(world.pairs, bool)
    for number in range(FAILED_DELIVERIES):
        begun = delivery - timedelta(weeks=number)
        may = np.flatnonzero((usual_units(world, begun) >= FAST) & ((begun.toordinal() // 7 + np.arange(world.pairs)) % 4 == 0))
        may = may[may % 7 == begun.toordinal() % 7]
        chance = min(1.0, 7 * 4 * FAILURES * world.population.anomalies)
        failed[may[random_for(seed, begun, "failures").random(len(may)) < chance]] = True
    return failed


def runs_low_at(usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Units below which a pair that sells `usual` a day is running out: a day's demand that one day in a hundred exceeds."""
    return usual + 2.33 * np.sqrt(2 * usual)


def order_size() -> Column:
    """Units of a purchase: what a plain threshold on demand or stock would look at."""
    return F.when(F.col("event_type") == PURCHASE, F.col("quantity")).cast("double")


def line_value() -> Column:
    """Worth of what a single event puts into the cart."""
    return F.when(F.col("event_type") == ADD, F.col("quantity") * F.col("price"))


def viewed_price() -> Column:
    """Price of what is viewed: nothing in a single view tells a bot."""
    return F.when(F.col("event_type") == VIEW, F.col("price"))
