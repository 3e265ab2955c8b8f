"""Draws the world that transactions happen in: metropolitan areas, terminals in them, cards at home there and their habits."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.authoring import EVERY_DAY, distance_km, random_for, scatter
from finance_fraud.settings import Population

# name, currency, latitude, longitude, hours ahead of UTC, share of cards. A currency unit is worth about the same in each.
METROS = (
    ("London", "GBP", 51.507, -0.128, 0, 0.20), ("Paris", "EUR", 48.857, 2.352, 1, 0.17),
    ("Berlin", "EUR", 52.520, 13.405, 1, 0.12), ("Zurich", "CHF", 47.377, 8.541, 1, 0.06),
    ("New York", "USD", 40.713, -74.006, -5, 0.18), ("Chicago", "USD", 41.878, -87.630, -6, 0.10),
    ("Los Angeles", "USD", 34.052, -118.244, -8, 0.10), ("Toronto", "CAD", 43.653, -79.383, -5, 0.07),
)  # fmt: skip
CURRENCIES = np.array([metro[1] for metro in METROS], object)
LATITUDES = np.array([metro[2] for metro in METROS])
LONGITUDES = np.array([metro[3] for metro in METROS])
UTC_OFFSETS = np.array([metro[4] for metro in METROS], float)
SHARES = np.array([metro[5] for metro in METROS])
DISTANCES_KM = distance_km(LATITUDES[:, None], LONGITUDES[:, None], LATITUDES, LONGITUDES)

SPREAD_KM = 9.0  # of homes and terminals around the middle of their area
USUAL_TERMINALS = 10  # of a card: the nearest of its CANDIDATE_TERMINALS
CANDIDATE_TERMINALS = 32  # drawn for a card, from which its usual ones are chosen
ONLINE_SHARE = 0.10  # of all terminals
CASH_SHARE = 0.08  # of the terminals in a place

SHOP, CASH, ONLINE = 0, 1, 2


@dataclass(frozen=True)
class World:
    """What is the same on every day, as arrays over cards (first block) and over terminals (second)."""

    card_id: NDArray[np.object_]
    home: NDArray[np.int64]  # index into METROS
    usual_terminals: NDArray[np.int64]  # (cards, USUAL_TERMINALS) terminal indices
    mean_amount: NDArray[np.float64]
    sigma: NDArray[np.float64]  # of the logarithm of an amount
    rate: NDArray[np.float64]  # transactions per average day
    weekend: NDArray[np.float64]  # factor on the rate on Saturday and Sunday
    is_night_owl: NDArray[np.bool_]
    online_affinity: NDArray[np.float64]  # quantile: buys online when below the day's share

    terminal_id: NDArray[np.object_]
    kind: NDArray[np.int64]  # SHOP, CASH or ONLINE
    metro: NDArray[np.int64]  # ascending over terminals in a place; those come before the online ones
    latitude: NDArray[np.float64]  # NaN online
    longitude: NDArray[np.float64]
    first_terminal: NDArray[np.int64]  # terminals in a place of metro m are first_terminal[m] .. first_terminal[m + 1] - 1


@lru_cache(maxsize=4)
def world_of(seed: int, population: Population) -> World:
    """The world of a seed and a population: always the same one."""
    terminals = _draw_terminals(random_for(seed, EVERY_DAY, "terminals"), population.terminals)
    cards = _draw_cards(random_for(seed, EVERY_DAY, "cards"), population, terminals)
    return World(**cards, **terminals)


def terminals_in(rng: np.random.Generator, world: World, metro: NDArray[np.int64]) -> NDArray[np.int64]:
    """Any terminal of each metropolitan area in `metro`."""
    count = world.first_terminal[metro + 1] - world.first_terminal[metro]
    return world.first_terminal[metro] + (rng.random(len(metro)) * count).astype(np.int64)


def online_terminals(rng: np.random.Generator, world: World, size: int) -> NDArray[np.int64]:
    """`size` online merchants, a few of them much more popular than the rest."""
    first_online = world.first_terminal[-1]
    return first_online + (rng.random(size) ** 2 * (len(world.kind) - first_online)).astype(np.int64)


def _draw_terminals(rng: np.random.Generator, count: int) -> dict[str, NDArray]:
    online_count = int(count * ONLINE_SHARE)
    first_terminal = np.concatenate(([0], np.round(np.cumsum(SHARES) / SHARES.sum() * (count - online_count)))).astype(np.int64)
    metro = np.repeat(np.arange(len(METROS)), np.diff(first_terminal))
    latitude, longitude = scatter(rng, LATITUDES[metro], LONGITUDES[metro], SPREAD_KM)
    kind = np.where(rng.random(len(metro)) < CASH_SHARE, CASH, SHOP)
    no_position = np.full(online_count, np.nan)
    return {
        "terminal_id": _numbered_ids("T", count),
        "kind": np.concatenate((kind, np.full(online_count, ONLINE))),
        "metro": np.concatenate((metro, np.zeros(online_count, np.int64))),
        "latitude": np.concatenate((latitude, no_position)),
        "longitude": np.concatenate((longitude, no_position)),
        "first_terminal": first_terminal,
    }


def _draw_cards(rng: np.random.Generator, population: Population, terminals: dict[str, NDArray]) -> dict[str, NDArray]:
    count = population.cards
    home = rng.choice(len(METROS), count, p=SHARES / SHARES.sum())
    wealthy = np.where(rng.random(count) < 0.01, 8.0, 1.0)  # naturally large amounts, and honest
    return {
        "card_id": _numbered_ids("C", count),
        "home": home,
        "usual_terminals": _draw_usual_terminals(rng, home, terminals),
        "mean_amount": 28 * rng.lognormal(0, 0.7, count) * wealthy,
        "sigma": rng.uniform(0.25, 0.6, count),
        "rate": rng.gamma(3, population.transactions_per_card / 3, count),
        "weekend": rng.lognormal(0, 0.25, count),
        "is_night_owl": rng.random(count) < 0.12,
        "online_affinity": rng.random(count),
    }


def _draw_usual_terminals(rng: np.random.Generator, home: NDArray[np.int64], terminals: dict[str, NDArray]) -> NDArray[np.int64]:
    latitude, longitude = scatter(rng, LATITUDES[home], LONGITUDES[home], SPREAD_KM)
    first_terminal = terminals["first_terminal"]
    count = (first_terminal[home + 1] - first_terminal[home])[:, None]
    candidates = first_terminal[home][:, None] + (rng.random((len(home), CANDIDATE_TERMINALS)) * count).astype(np.int64)
    distance = distance_km(
        latitude[:, None], longitude[:, None], terminals["latitude"][candidates], terminals["longitude"][candidates]
    )
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :USUAL_TERMINALS]
    return np.take_along_axis(candidates, nearest, axis=1)


def _numbered_ids(letter: str, count: int) -> NDArray[np.object_]:
    digits = max(5, len(str(count - 1)))
    ids = np.empty(count, object)
    ids[:] = [f"{letter}{number:0{digits}d}" for number in range(count)]
    return ids
