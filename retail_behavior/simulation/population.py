"""Draws the shop that visits happen in: products with popularity, season and complements, visitors with tastes, warehouses."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.authoring import EVERY_DAY, growth, random_for, weekday_weight
from retail_behavior.settings import Population

CATEGORIES = 8
COMPLEMENT_SHARE = 0.3  # views that follow a product with what goes with it
UNITS_PER_VISIT = 0.58  # units bought in a visit, on average; measured, and only used to size the warehouses
PROMOTIONS = 0.01  # that begin per product and day
PROMOTION_DAYS = 3
DISCOUNT = 0.75  # of the price, while popularity doubles

# Weights: of weekdays, Monday first, and of months, January first, of which those before Christmas are the strongest.
WEEKDAYS = (1.02, 0.98, 0.95, 0.97, 1.02, 1.08, 1.10)
MONTHS = (0.92, 0.92, 0.95, 0.98, 1.0, 0.97, 0.95, 0.94, 0.98, 1.04, 1.18, 1.22)


@dataclass(frozen=True)
class World:
    """What is the same on every day, as arrays over products (first block), visitors (second) and stores (third)."""

    product_id: NDArray[np.object_]
    price: NDArray[np.float64]
    popularity: NDArray[np.float64]  # shares of all views
    category: NDArray[np.int64]  # ascending
    complement: NDArray[np.int64]  # what goes with it, of the same category

    visitor_id: NDArray[np.object_]
    activity: NDArray[np.float64]  # relative number of visits
    taste: NDArray[np.int64]  # favourite category
    resolve: NDArray[np.float64]  # 0 to 1: how often a visit is meant to end in a purchase
    home_store: NDArray[np.int64]

    store_id: NDArray[np.object_]
    store_share: NDArray[np.float64]
    population: Population

    @property
    def pairs(self) -> int:
        """Number of pairs of a store and a product, of which stock is kept: pair = store * products + product."""
        return len(self.store_id) * len(self.product_id)


@lru_cache(maxsize=4)
def world_of(seed: int, population: Population) -> World:
    """The shop of a seed and a population: always the same one."""
    products = _draw_products(random_for(seed, EVERY_DAY, "products"), population.products)
    store_share = np.linspace(1.4, 0.6, population.stores) / population.stores if population.stores > 1 else np.ones(1)
    visitors = _draw_visitors(random_for(seed, EVERY_DAY, "visitors"), population.visitors, store_share)
    stores: dict[str, Any] = {"store_id": _numbered_ids("S", population.stores, 2), "store_share": store_share}
    return World(**products, **visitors, **stores, population=population)


def visits_on(day: date, population: Population) -> float:
    """Expected number of sessions of a day."""
    usual = population.visitors * population.visits_per_visitor * weekday_weight(day, WEEKDAYS) * MONTHS[day.month - 1]
    return min(usual * growth(day, population.opening, population.growth_per_year), 0.9 * population.visitors)


def usual_units(world: World, day: date) -> NDArray[np.float64]:
    """Units of each pair that the shop plans for on an ordinary day of that time; no season in it."""
    population = world.population
    visits = population.visitors * population.visits_per_visitor * growth(day, population.opening, population.growth_per_year)
    views = world.popularity + COMPLEMENT_SHARE * np.bincount(world.complement, world.popularity, len(world.popularity))
    return np.outer(world.store_share, views / views.sum() * visits * UNITS_PER_VISIT).ravel()


def _draw_products(rng: np.random.Generator, count: int) -> dict[str, Any]:
    category = np.sort(rng.integers(CATEGORIES, size=count))
    popularity = rng.permutation((np.arange(count) + 12.0) ** -0.8)
    first = np.searchsorted(category, category)
    size = np.bincount(category, minlength=CATEGORIES)[category]
    step = 1 + (rng.random(count) * np.maximum(size - 1, 1)).astype(np.int64)
    return {
        "product_id": _numbered_ids("P", count, 4),
        "price": np.round(np.exp(rng.normal(3.0, 0.7, count)).clip(3, 300), 2),
        "popularity": popularity / popularity.sum(),
        "category": category,
        "complement": first + (np.arange(count) - first + step) % size,
    }


def _draw_visitors(rng: np.random.Generator, count: int, store_share: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "visitor_id": _numbered_ids("V", count, 6),
        "activity": rng.gamma(1.5, 1 / 1.5, count) + 0.05,
        "taste": rng.integers(CATEGORIES, size=count),
        "resolve": rng.beta(1.2, 2.4, count),
        "home_store": rng.choice(len(store_share), count, p=store_share / store_share.sum()),
    }


def _numbered_ids(letter: str, count: int, digits: int) -> NDArray[np.object_]:
    ids = np.empty(count, object)
    ids[:] = [f"{letter}{number:0{digits}d}" for number in range(count)]
    return ids
