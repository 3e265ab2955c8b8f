"""Simulates stock: weekly deliveries, suppliers that fail, and how much of a day's demand can be sold.

Each store and product is delivered on its own weekday, just after midnight, up to a fixed level. So the stock of any day
follows from the demand since the last delivery that came, a few weeks at most, and no day needs all days before it.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS
from retail_behavior.events import CHANNELS, PURCHASE
from retail_behavior.settings import Population
from retail_behavior.simulation.population import World, usual_units, world_of
from retail_behavior.simulation.scenarios import FAILED_DELIVERIES, bot_views, has_failed, spike_visits
from retail_behavior.simulation.visits import KIND_NUMBER, Day, visits

COVER_DAYS = 12.0  # of usual demand that a delivery fills up to
SAFETY_DEVIATIONS = 2.5  # of the demand of COVER_DAYS, on top
WEEK_DAYS = 7


def pair_of(world: World, rows: NDArray) -> NDArray[np.int64]:
    """The store and product of each row: a visitor's goods come from their own store."""
    return world.home_store[rows["visitor"]] * len(world.product_id) + rows["product"]


@dataclass(frozen=True)
class Demand:
    """What visitors do and want on a day, as if nothing ever ran out.

    rows: of visits.ROW in order of time; channel: of each session.
    Sessions are numbered: ordinary ones, those of demand spikes, and from `bots_from` those of bots.
    """

    rows: NDArray
    channel: NDArray[np.int64]
    spikes_from: int
    bots_from: int


@lru_cache(maxsize=2)
def demand_on(seed: int, day: date, population: Population) -> Demand:
    """What visitors do and want on a day."""
    today = Day(world_of(seed, population), day, seed)
    ordinary_rows, channel = visits(today)
    busy, spikes_from = np.unique(ordinary_rows["visitor"]), len(channel)
    spikes = spike_visits(today, busy, spikes_from)
    bots_from = spikes_from + len(np.unique(spikes["session"]))
    bots = bot_views(today, np.union1d(busy, spikes["visitor"]), bots_from)
    sessions = bots_from + len(np.unique(bots["session"]))
    other_channels = today.random("other channels").integers(len(CHANNELS), size=sessions - spikes_from)
    rows = np.concatenate((ordinary_rows, spikes, bots))
    rows = rows[rows["second"] < DAY_SECONDS - 1]
    return Demand(
        rows[np.argsort(rows["second"], kind="stable")], np.concatenate((channel, other_channels)), spikes_from, bots_from
    )


@lru_cache(maxsize=512)
def demand_units_on(seed: int, day: date, population: Population) -> NDArray[np.int64]:
    """Units of each pair that visitors want on a day."""
    world, rows = world_of(seed, population), demand_on(seed, day, population).rows
    purchases = rows[rows["kind"] == KIND_NUMBER[PURCHASE]]
    return np.bincount(pair_of(world, purchases), purchases["quantity"], world.pairs).astype(np.int64)


def order_up_to(world: World, day: date) -> NDArray[np.int64]:
    """The level that a delivery fills each pair up to."""
    cover = COVER_DAYS * usual_units(world, day)
    return np.ceil(cover + SAFETY_DEVIATIONS * np.sqrt(2 * cover)).astype(np.int64)


def opening_stock(seed: int, day: date, population: Population) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(units of each pair when the day begins, its deliveries included; units delivered just then)."""
    world = world_of(seed, population)
    stock_before = _stock_before(seed, day, world)
    has_delivery = _is_delivery_day(world, day) & ~has_failed(seed, day, world)
    delivery = np.where(has_delivery, np.maximum(order_up_to(world, day) - stock_before, 0), 0)
    return stock_before + delivery, delivery


def sell(world: World, rows: NDArray, stock: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(units sold, units left after it) of each purchase in `rows`, which are in order of time: at most what is in stock."""
    pair = pair_of(world, rows)
    order = np.argsort(pair, kind="stable")
    quantity = rows["quantity"][order]
    total = np.cumsum(quantity)
    first = np.searchsorted(pair[order], pair[order])
    earlier_demand = total - quantity - (total - quantity)[first]
    available = np.maximum(stock[pair[order]] - earlier_demand, 0)
    units = np.minimum(quantity, available)
    original_order = np.argsort(order, kind="stable")
    return units[original_order], (available - units)[original_order]


def last_delivery_day(pair: int, day: date) -> date:
    """The pair's newest delivery day up to `day`, whether the delivery came or not."""
    return day - timedelta(days=(day.toordinal() - pair) % WEEK_DAYS)


def _is_delivery_day(world: World, day: date) -> NDArray[np.bool_]:
    """For each pair, whether it has its weekly delivery on that day."""
    return np.arange(world.pairs) % WEEK_DAYS == day.toordinal() % WEEK_DAYS


def _stock_before(seed: int, day: date, world: World) -> NDArray[np.int64]:
    """Units of each pair at midnight before any delivery: the level of its last delivery less the demand since."""
    stock = np.full(world.pairs, -1, np.int64)  # -1: not known yet
    demand = np.zeros(world.pairs, np.int64)
    for days_ago in range(1, WEEK_DAYS * (FAILED_DELIVERIES + 1) + 1):
        past_day = day - timedelta(days=days_ago)
        demand += demand_units_on(seed, past_day, world.population)
        is_last_delivery = _is_delivery_day(world, past_day) & ~has_failed(seed, past_day, world) & (stock < 0)
        stock[is_last_delivery] = np.maximum(order_up_to(world, past_day)[is_last_delivery] - demand[is_last_delivery], 0)
        if (stock >= 0).all():
            break
    return stock
