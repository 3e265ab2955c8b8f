"""A day's visits as rows: sessions as a funnel from view to cart to purchase, before stock decides what can be sold."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.simulation.anomalies import episodes
from common.simulation.randomness import random_for
from common.simulation.seasonality import DAY_SECONDS, seconds_of_day
from retail_behavior.events import ADD, CHANNELS, PURCHASE, REMOVE, TYPES, VIEW
from retail_behavior.simulation.population import CATEGORIES, COMPLEMENT_SHARE, PROMOTION_DAYS, PROMOTIONS, World, visits_on

ROW = np.dtype([("visitor", "i8"), ("session", "i8"), ("second", "f8"), ("kind", "i8"), ("product", "i8"), ("quantity", "i8")])
KIND = {name: number for number, name in enumerate(TYPES)}

# What a visitor came for, and what that does to a visit.
BOUNCE, BROWSE, SHOP = range(3)
LAST_VIEW = np.array([0.8, 0.18, 0.16])        # chance that a view is the last
ADDS = np.array([0.01, 0.07, 0.34])             # share of views that put something into the cart
CHECKS_OUT = np.array([0.05, 0.25, 0.70])       # given a cart
REMOVED = 0.10                                  # of the lines in a cart
BULK_SHARE = 0.004                              # of the lines: a club or an office
PAUSE_SHARE, PAUSE_SECONDS = 0.07, (480, 1_380)      # before the till: shorter than a session's gap
RETURN_SHARE, RETURN_SECONDS = 0.015, (2_700, 6_000)  # the same, much later: looks abandoned, and is not
LONGEST_VISIT = 9_000
OPENS = 600                                     # seconds after midnight (UTC), when goods are in
MOST_VIEWS = 60
HASTY_SHARE = 0.01                              # visits that click through many pages at once, and are human
HOURS = (2, 1, 0.7, 0.5, 0.5, 0.8, 2, 4, 6, 7, 8, 8.5, 9, 8.5, 8, 8, 8.5, 9, 10, 12, 13, 12, 8, 4)
CHANNEL_SHARES = np.array([0.28, 0.34, 0.12, 0.12, 0.14])
CHANNEL_RESOLVE = np.array([1.1, 1.0, 1.6, 0.6, 0.8])


@dataclass(frozen=True)
class Day:
    """What simulating a day may know: the world, the day and the seed."""

    world: World
    date: date
    seed: int

    def random(self, purpose: str) -> np.random.Generator:
        return random_for(self.seed, self.date, purpose)


def promoted(today: Day) -> NDArray[np.bool_]:
    """Which products are on promotion."""
    products = len(today.world.product_id)
    member, _ = episodes(today.seed, today.date, "promotions", PROMOTIONS * products, PROMOTION_DAYS, products)
    return np.isin(np.arange(products), member)


def visits(today: Day) -> tuple[NDArray, NDArray[np.int64]]:
    """Rows of ROW, by session, and the channel of each session."""
    rng, world = today.random("visits"), today.world
    visitor = _visitors(rng, today)
    channel = rng.choice(len(CHANNELS), len(visitor), p=CHANNEL_SHARES)
    resolve = world.resolve[visitor] * CHANNEL_RESOLVE[channel]
    wants = np.where(rng.random(len(visitor)) < resolve * 0.75, SHOP, np.where(rng.random(len(visitor)) < 0.4, BOUNCE, BROWSE))
    views = _views(rng, today, visitor, wants)
    adds = _adds(rng, views, wants)
    removed = rng.random(len(adds)) < REMOVED
    ends = np.zeros(len(visitor))
    np.maximum.at(ends, views["session"], views["second"])
    np.maximum.at(ends, adds["session"], adds["second"])
    removals = later(adds[removed], REMOVE, ends[adds["session"][removed]] + rng.uniform(5, 40, removed.sum()))
    buys = rng.random(len(visitor)) < CHECKS_OUT[wants]
    bought = ~removed & buys[adds["session"]]
    till = ends + _until_till(rng, len(visitor))
    line = rng.random(bought.sum())  # a second for the lines of one order
    purchases = later(adds[bought], PURCHASE, till[adds["session"][bought]] + line)
    return np.concatenate((views, adds, removals, purchases)), channel


def _visitors(rng: np.random.Generator, today: Day) -> NDArray[np.int64]:
    """Who visits: each at most once, the active more often (exponential clocks, the first to ring come)."""
    world = today.world
    count = min(int(rng.poisson(visits_on(today.date, world.population))), len(world.visitor_id))
    clocks = rng.exponential(size=len(world.visitor_id)) / world.activity
    return np.argsort(clocks, kind="stable")[:count]


def _views(rng: np.random.Generator, today: Day, visitor: NDArray[np.int64], wants: NDArray[np.int64]) -> NDArray:
    is_hasty = rng.random(len(visitor)) < HASTY_SHARE
    counts = np.minimum(rng.geometric(LAST_VIEW[wants]) * np.where(is_hasty, 6, 1), MOST_VIEWS)
    session = np.repeat(np.arange(len(visitor)), counts)
    ordinary, fast = rng.normal(3.4, 0.9, len(session)), rng.normal(1.6, 0.5, len(session))
    gaps = np.exp(np.where(is_hasty[session], fast, ordinary)).clip(2, 600)
    start = OPENS + seconds_of_day(rng, HOURS, len(visitor)) * (DAY_SECONDS - OPENS - LONGEST_VISIT) / DAY_SECONDS
    second = start[session] + since_first(gaps, counts)
    return rows_of(visitor[session], session, second, VIEW, products_viewed(rng, today, visitor, counts))


def products_viewed(
    rng: np.random.Generator, today: Day, visitor: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A product per view: mostly of the visitor's favourite category, popular ones first, now and then a complement."""
    world = today.world
    season = 1 + 0.25 * np.sin(2 * np.pi * (today.date.timetuple().tm_yday / 365.25 + world.category / CATEGORIES))
    weight = np.cumsum(world.popularity * season * np.where(promoted(today), 2.0, 1.0))
    edges = np.concatenate(([0.0], weight))[np.searchsorted(world.category, np.arange(CATEGORIES + 1))]
    taste = np.repeat(world.taste[visitor], counts)
    anywhere = rng.random(len(taste)) < 0.5
    low, high = np.where(anywhere, 0.0, edges[taste]), np.where(anywhere, weight[-1], edges[taste + 1])
    product = np.minimum(np.searchsorted(weight, low + rng.random(len(taste)) * (high - low)), len(weight) - 1)
    follows = rng.random(len(taste)) < COMPLEMENT_SHARE
    follows[np.cumsum(counts) - counts] = False
    return np.where(follows, world.complement[np.roll(product, 1)], product)


def _adds(rng: np.random.Generator, views: NDArray, wants: NDArray[np.int64]) -> NDArray:
    chosen = views[rng.random(len(views)) < ADDS[wants[views["session"]]]]
    few = np.where(rng.random(len(chosen)) < 0.75, 1, rng.integers(2, 5, len(chosen)))
    quantity = np.where(rng.random(len(chosen)) < BULK_SHARE, rng.integers(10, 21, len(chosen)), few)
    return later(chosen, ADD, chosen["second"] + rng.uniform(1, 12, len(chosen)), quantity)


def _until_till(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    kind = rng.random(count)
    wait = rng.uniform(15, 90, count)
    wait = np.where(kind < PAUSE_SHARE + RETURN_SHARE, rng.uniform(*PAUSE_SECONDS, count), wait)
    return np.where(kind < RETURN_SHARE, rng.uniform(*RETURN_SECONDS, count), wait)


def since_first(gaps: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds since the session's first view; the gap before that does not count."""
    total = np.cumsum(gaps)
    return total - np.repeat(total[np.cumsum(counts) - counts], counts)


def rows_of(visitor: NDArray, session: NDArray, second: NDArray, kind: str, product: NDArray) -> NDArray:
    rows = np.empty(len(visitor), ROW)
    rows["visitor"], rows["session"], rows["second"], rows["product"] = visitor, session, second, product
    rows["kind"], rows["quantity"] = KIND[kind], 1
    return rows


def later(rows: NDArray, kind: str, second: NDArray, quantity: NDArray | None = None) -> NDArray:
    rows = rows.copy()
    rows["kind"], rows["second"] = KIND[kind], second
    if quantity is not None:
        rows["quantity"] = quantity
    return rows
