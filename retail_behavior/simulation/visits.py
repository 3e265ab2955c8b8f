"""Simulates a day's visits as rows: sessions from view to cart to purchase, before stock decides what can be sold."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS, episodes, random_for, seconds_of_day
from retail_behavior.events import ADD, CHANNELS, EVENT_TYPES, PURCHASE, REMOVE, VIEW
from retail_behavior.simulation.population import CATEGORIES, COMPLEMENT_SHARE, PROMOTION_DAYS, PROMOTIONS, World, visits_on

ROW = np.dtype([("visitor", "i8"), ("session", "i8"), ("second", "f8"), ("kind", "i8"), ("product", "i8"), ("quantity", "i8")])
KIND_NUMBER = {name: number for number, name in enumerate(EVENT_TYPES)}

# What a visitor intends, and by it:
BOUNCE, BROWSE, SHOP = range(3)
LAST_VIEW_CHANCE = np.array([0.8, 0.18, 0.16])  # chance that a view is the last
ADD_SHARE = np.array([0.01, 0.07, 0.34])  # share of views that put something into the cart
CHECKOUT_CHANCE = np.array([0.05, 0.25, 0.70])  # of a visit with something in the cart

REMOVED_SHARE = 0.10  # of the lines in a cart
BULK_SHARE = 0.004  # of the lines: a club or an office
PAUSE_SHARE, PAUSE_SECONDS = 0.07, (480, 1_380)  # before checkout: shorter than a session's gap
RETURN_SHARE, RETURN_SECONDS = 0.015, (2_700, 6_000)  # the same, much later: looks abandoned, and is not
LONGEST_VISIT_SECONDS = 9_000
OPENING_SECOND = 600  # of the UTC day, when goods are in
MAX_VIEWS = 60  # of a visit
HASTY_SHARE = 0.01  # of the visits: click through many pages at once, and are human
HOUR_WEIGHTS = (2, 1, 0.7, 0.5, 0.5, 0.8, 2, 4, 6, 7, 8, 8.5, 9, 8.5, 8, 8, 8.5, 9, 10, 12, 13, 12, 8, 4)
CHANNEL_SHARES = np.array([0.28, 0.34, 0.12, 0.12, 0.14])
CHANNEL_RESOLVE = np.array([1.1, 1.0, 1.6, 0.6, 0.8])  # factor on the chance that a visit is to end in a purchase


@dataclass(frozen=True)
class Day:
    """What the simulation of a day needs: the world, the day and the seed."""

    world: World
    date: date
    seed: int

    def random(self, purpose: str) -> np.random.Generator:
        """Random numbers of that purpose on this day."""
        return random_for(self.seed, self.date, purpose)


def is_promoted(today: Day) -> NDArray[np.bool_]:
    """For each product, whether it is on promotion."""
    products = len(today.world.product_id)
    promoted_products, _ = episodes(today.seed, today.date, "promotions", PROMOTIONS * products, PROMOTION_DAYS, products)
    return np.isin(np.arange(products), promoted_products)


def visits(today: Day) -> tuple[NDArray, NDArray[np.int64]]:
    """The ordinary visits of a day: rows of ROW, and the channel of each session."""
    rng, world = today.random("visits"), today.world
    visitor = _draw_visitors(rng, today)
    channel = rng.choice(len(CHANNELS), len(visitor), p=CHANNEL_SHARES)
    resolve = world.resolve[visitor] * CHANNEL_RESOLVE[channel]
    intents = np.where(rng.random(len(visitor)) < resolve * 0.75, SHOP, np.where(rng.random(len(visitor)) < 0.4, BOUNCE, BROWSE))
    views = _view_rows(rng, today, visitor, intents)
    adds = _add_rows(rng, views, intents)
    is_removed = rng.random(len(adds)) < REMOVED_SHARE
    session_end = np.zeros(len(visitor))
    np.maximum.at(session_end, views["session"], views["second"])
    np.maximum.at(session_end, adds["session"], adds["second"])
    seconds_to_removal = rng.uniform(5, 40, is_removed.sum())
    removals = as_later_events(adds[is_removed], REMOVE, session_end[adds["session"][is_removed]] + seconds_to_removal)
    checks_out = rng.random(len(visitor)) < CHECKOUT_CHANCE[intents]
    is_bought = ~is_removed & checks_out[adds["session"]]
    checkout = session_end + _seconds_to_checkout(rng, len(visitor))
    line_seconds = rng.random(is_bought.sum())  # the lines of one order follow within a second
    purchases = as_later_events(adds[is_bought], PURCHASE, checkout[adds["session"][is_bought]] + line_seconds)
    return np.concatenate((views, adds, removals, purchases)), channel


def _draw_visitors(rng: np.random.Generator, today: Day) -> NDArray[np.int64]:
    """Who visits: each visitor at most once, active ones more often (exponential clocks, of which the first to ring come)."""
    world = today.world
    count = min(int(rng.poisson(visits_on(today.date, world.population))), len(world.visitor_id))
    clocks = rng.exponential(size=len(world.visitor_id)) / world.activity
    return np.argsort(clocks, kind="stable")[:count]


def _view_rows(rng: np.random.Generator, today: Day, visitor: NDArray[np.int64], intents: NDArray[np.int64]) -> NDArray:
    is_hasty = rng.random(len(visitor)) < HASTY_SHARE
    counts = np.minimum(rng.geometric(LAST_VIEW_CHANCE[intents]) * np.where(is_hasty, 6, 1), MAX_VIEWS)
    session = np.repeat(np.arange(len(visitor)), counts)
    ordinary_logs, fast_logs = rng.normal(3.4, 0.9, len(session)), rng.normal(1.6, 0.5, len(session))
    gaps = np.exp(np.where(is_hasty[session], fast_logs, ordinary_logs)).clip(2, 600)
    open_seconds = DAY_SECONDS - OPENING_SECOND - LONGEST_VISIT_SECONDS
    start = OPENING_SECOND + seconds_of_day(rng, HOUR_WEIGHTS, len(visitor)) * open_seconds / DAY_SECONDS
    second = start[session] + seconds_since_first(gaps, counts)
    return session_rows(visitor[session], session, second, VIEW, products_viewed(rng, today, visitor, counts))


def products_viewed(
    rng: np.random.Generator, today: Day, visitor: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A product per view: mostly of the visitor's favourite category, popular ones first, now and then a complement."""
    world = today.world
    season = 1 + 0.25 * np.sin(2 * np.pi * (today.date.timetuple().tm_yday / 365.25 + world.category / CATEGORIES))
    weight = np.cumsum(world.popularity * season * np.where(is_promoted(today), 2.0, 1.0))
    edges = np.concatenate(([0.0], weight))[np.searchsorted(world.category, np.arange(CATEGORIES + 1))]
    taste = np.repeat(world.taste[visitor], counts)
    of_any_category = rng.random(len(taste)) < 0.5
    low, high = np.where(of_any_category, 0.0, edges[taste]), np.where(of_any_category, weight[-1], edges[taste + 1])
    product = np.minimum(np.searchsorted(weight, low + rng.random(len(taste)) * (high - low)), len(weight) - 1)
    is_complement = rng.random(len(taste)) < COMPLEMENT_SHARE
    is_complement[np.cumsum(counts) - counts] = False  # the first view of a session follows none
    return np.where(is_complement, world.complement[np.roll(product, 1)], product)


def _add_rows(rng: np.random.Generator, views: NDArray, intents: NDArray[np.int64]) -> NDArray:
    sources = views[rng.random(len(views)) < ADD_SHARE[intents[views["session"]]]]
    usual_quantity = np.where(rng.random(len(sources)) < 0.75, 1, rng.integers(2, 5, len(sources)))
    quantity = np.where(rng.random(len(sources)) < BULK_SHARE, rng.integers(10, 21, len(sources)), usual_quantity)
    return as_later_events(sources, ADD, sources["second"] + rng.uniform(1, 12, len(sources)), quantity)


def _seconds_to_checkout(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    quantile = rng.random(count)
    seconds = rng.uniform(15, 90, count)
    seconds = np.where(quantile < PAUSE_SHARE + RETURN_SHARE, rng.uniform(*PAUSE_SECONDS, count), seconds)
    return np.where(quantile < RETURN_SHARE, rng.uniform(*RETURN_SECONDS, count), seconds)


def seconds_since_first(gaps: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds from its session's first view to each view. gaps: before each view; counts: views of each session."""
    total = np.cumsum(gaps)
    return total - np.repeat(total[np.cumsum(counts) - counts], counts)


def session_rows(visitor: NDArray, session: NDArray, second: NDArray, kind: str, product: NDArray) -> NDArray:
    """Rows of ROW of one kind and one unit each."""
    rows = np.empty(len(visitor), ROW)
    rows["visitor"], rows["session"], rows["second"], rows["product"] = visitor, session, second, product
    rows["kind"], rows["quantity"] = KIND_NUMBER[kind], 1
    return rows


def as_later_events(rows: NDArray, kind: str, second: NDArray, quantity: NDArray | None = None) -> NDArray:
    """The same rows as events of another kind at later seconds, and of other quantities where these are given."""
    rows = rows.copy()
    rows["kind"], rows["second"] = KIND_NUMBER[kind], second
    if quantity is not None:
        rows["quantity"] = quantity
    return rows
