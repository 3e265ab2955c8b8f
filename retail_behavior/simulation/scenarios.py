"""Adds the anomalies of the shop by name, each beside its innocent look-alike.

bot                a scraper views dozens of products at an even pace; a hasty person clicks as fast, but unevenly
cart_abandoned     goods worth CART_VALUE or more stay in the cart; others pause before checkout, and then buy
demand_spike       many visitors buy one product within hours; a bulk order or a promotion is none
stock_running_out  a supplier fails twice, and stock falls below what a day may need; every week it falls and is refilled
"""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS, bursts, case_count, draw_distinct, random_for
from retail_behavior.events import ADD, PURCHASE, VIEW
from retail_behavior.simulation.population import World, usual_units
from retail_behavior.simulation.visits import (
    LONGEST_VISIT_SECONDS,
    OPENING_SECOND,
    Day,
    as_later_events,
    seconds_since_first,
    session_rows,
)

BOT, ABANDONED, SPIKE, RUNNING_OUT = SCENARIO_NAMES = ("bot", "cart_abandoned", "demand_spike", "stock_running_out")

BOTS = 2.5  # per day
SPIKES = 1.2  # per day
FAILURES = 0.004  # of suppliers that begin per day and pair that sells FAST_UNITS or more
CART_VALUE = 60.0  # currency units
SPIKE_HOURS = (3.0, 5.0)  # that a spike lasts
FAST_UNITS = 2.5  # units a day
FAILED_DELIVERIES = 2  # in a row


def bot_views(today: Day, busy_visitors: NDArray[np.int64], session: int) -> NDArray:
    """Sessions numbered from `session` on, by others than `busy_visitors`: 30 to 120 views, each gap within 15% of the last."""
    rng, world = today.random("bots"), today.world
    free_visitors = np.setdiff1d(np.arange(len(world.visitor_id)), busy_visitors)
    count = case_count(today.seed, today.date, BOT, BOTS * world.population.anomalies)
    visitor = free_visitors[draw_distinct(rng, len(free_visitors), count)]
    counts = rng.integers(30, 121, len(visitor))
    number = np.repeat(np.arange(len(visitor)), counts)
    gaps = np.exp(rng.uniform(np.log(2), np.log(30), len(visitor)))[number] * rng.uniform(0.93, 1.07, len(number))
    start = OPENING_SECOND + rng.random(len(visitor)) * (DAY_SECONDS - OPENING_SECOND - LONGEST_VISIT_SECONDS)
    product = rng.integers(len(world.product_id), size=len(number))
    return session_rows(visitor[number], session + number, start[number] + seconds_since_first(gaps, counts), VIEW, product)


def spike_visits(today: Day, busy_visitors: NDArray[np.int64], session: int) -> NDArray:
    """Visits by others than `busy_visitors` in which a view ends with one product bought: 14 to 34 of them within SPIKE_HOURS."""
    rng, world = today.random("spikes"), today.world
    free_visitors = np.setdiff1d(np.arange(len(world.visitor_id)), busy_visitors)
    count = case_count(today.seed, today.date, SPIKE, SPIKES * world.population.anomalies)
    products = draw_distinct(rng, len(world.product_id), count)
    sizes = rng.integers(14, 35, len(products))
    case, offset = bursts(rng, sizes, rng.uniform(*SPIKE_HOURS, len(products)) * 3_600)
    case, offset = case[: len(free_visitors)], offset[: len(free_visitors)]
    start = (OPENING_SECOND + 6 * 3_600 + rng.random(len(products)) * 9 * 3_600)[case] + offset
    visitor = free_visitors[draw_distinct(rng, len(free_visitors), len(case))]
    views = session_rows(visitor, session + np.arange(len(case)), start, VIEW, products[case])
    adds = as_later_events(views, ADD, start + rng.uniform(20, 90, len(case)), 1 + (rng.random(len(case)) < 0.15))
    return np.concatenate((views, adds, as_later_events(adds, PURCHASE, adds["second"] + rng.uniform(15, 90, len(case)))))


def has_failed(seed: int, delivery: date, world: World) -> NDArray[np.bool_]:
    """For each pair, whether a delivery on that day stays out: the first or second of a supplier's failure.

    Failures never meet: each pair has one week in four in which one may begin.
    """
    is_failed = np.zeros(world.pairs, bool)
    pairs = np.arange(world.pairs)
    for number in range(FAILED_DELIVERIES):
        first_day = delivery - timedelta(weeks=number)
        is_its_week = (first_day.toordinal() // 7 + pairs) % 4 == 0
        candidates = np.flatnonzero((usual_units(world, first_day) >= FAST_UNITS) & is_its_week)
        candidates = candidates[candidates % 7 == first_day.toordinal() % 7]
        chance = min(1.0, 7 * 4 * FAILURES * world.population.anomalies)
        is_failed[candidates[random_for(seed, first_day, "failures").random(len(candidates)) < chance]] = True
    return is_failed


def low_stock_level(usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Units below which a pair that sells `usual` a day is running out: a day's demand that one day in a hundred exceeds."""
    return usual + 2.33 * np.sqrt(2 * usual)
