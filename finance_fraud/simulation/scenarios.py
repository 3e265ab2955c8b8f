"""Adds frauds by name: each function takes a day's purchases and returns them with its own frauds added and marked.

No fraud can be told by its amount alone, and each kind has an innocent look-alike in `generator`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import DAY_SECONDS, bursts, case_count, draw_distinct, episodes, random_for
from finance_fraud.simulation.population import DISTANCES_KM, ONLINE, World, online_terminals, terminals_in

PURCHASE = np.dtype([("card", "i8"), ("terminal", "i8"), ("second", "f8"), ("amount", "f8"), ("scenario", "i8")])

COMPROMISED_DAYS = 28
LEAKED_DAYS = 14
FAR_KM = 3_000.0

# Cases that begin per day and card.
LARGE_AMOUNTS = 0.0022
BURSTS = 0.00106
TRAVELS = 0.0014
LEAKS = 0.0003
COMPROMISES = 0.0002  # per day and terminal
COPIES_PER_HONEST_PURCHASE = 1.2  # at a compromised terminal
SPREES_PER_DAY = 0.5  # of a leaked card


@dataclass(frozen=True)
class Day:
    """What a scenario needs: the world, the day, the seed, and the factor on the number of cases."""

    world: World
    date: date
    seed: int
    fraud: float

    def random(self, purpose: str) -> np.random.Generator:
        """Random numbers of that purpose on this day."""
        return random_for(self.seed, self.date, purpose)

    def draw_case_count(self, purpose: str, per_card: float) -> int:
        """Draws how many cases begin on this day."""
        return case_count(self.seed, self.date, purpose, per_card * len(self.world.home) * self.fraud)


def purchases(card: NDArray, terminal: NDArray, second: NDArray, amount: NDArray, scenario: str = "") -> NDArray:
    """Rows of PURCHASE; `second` is UTC within the day."""
    rows = np.empty(len(card), PURCHASE)
    rows["card"], rows["terminal"], rows["second"], rows["amount"] = card, terminal, second, amount
    rows["scenario"] = SCENARIO_NAMES.index(scenario) + 1 if scenario else 0
    return rows


def usual_amounts(rng: np.random.Generator, world: World, card: NDArray[np.int64]) -> NDArray[np.float64]:
    """Amounts drawn for each of the cards, log-normal around the card's mean."""
    sigma = world.sigma[card]
    return world.mean_amount[card] * np.exp(sigma * rng.standard_normal(len(card)) - sigma**2 / 2)


def large_amount(day: Day, honest: NDArray) -> NDArray:
    """One purchase of 5 to 14 times what the card usually spends, at any hour."""
    rng, world = day.random("large_amount frauds"), day.world
    card = draw_distinct(rng, len(world.home), day.draw_case_count("large_amount", LARGE_AMOUNTS))
    terminal = _terminals_for(rng, world, card, online_share=0.5)
    amount = world.mean_amount[card] * rng.uniform(5, 14, len(card))
    return np.concatenate((honest, purchases(card, terminal, rng.random(len(card)) * DAY_SECONDS, amount, "large_amount")))


def compromised_terminal(day: Day, honest: NDArray) -> NDArray:
    """For four weeks, beside its honest customers, more purchases with cards copied elsewhere, for ordinary amounts."""
    rng, world = day.random("compromised_terminal frauds"), day.world
    per_day, in_places = COMPROMISES * len(world.kind) * day.fraud, int(world.first_terminal[-1])
    terminal, _ = episodes(day.seed, day.date, "compromised_terminal", per_day, COMPROMISED_DAYS, in_places)
    sampled_purchases = honest[np.isin(honest["terminal"], terminal)]
    sampled_purchases = np.repeat(sampled_purchases, rng.poisson(COPIES_PER_HONEST_PURCHASE, len(sampled_purchases)))
    card = _cards_from_afar(rng, world, sampled_purchases["terminal"])
    second = (sampled_purchases["second"] + rng.uniform(-3_600, 3_600, len(sampled_purchases))).clip(0, DAY_SECONDS - 1)
    copied_purchases = purchases(
        card, sampled_purchases["terminal"], second, usual_amounts(rng, world, card), "compromised_terminal"
    )
    return np.concatenate((honest, copied_purchases))


def leaked_card(day: Day, honest: NDArray) -> NDArray:
    """For two weeks someone else buys with the card too, every other day: a spree of larger amounts, mostly online."""
    rng, world = day.random("leaked_card frauds"), day.world
    card, _ = episodes(day.seed, day.date, "leaked_card", LEAKS * len(world.home) * day.fraud, LEAKED_DAYS, len(world.home))
    cards = card[rng.random(len(card)) < SPREES_PER_DAY]
    case, second = _burst_times(rng, rng.integers(4, 8, len(cards)), rng.uniform(3_600, 7_200, len(cards)))
    card = cards[case]
    amount = usual_amounts(rng, world, card) * rng.uniform(2.5, 6, len(card))
    terminal = _terminals_for(rng, world, card, online_share=0.7)
    return np.concatenate((honest, purchases(card, terminal, second, amount, "leaked_card")))


def card_testing(day: Day, honest: NDArray) -> NDArray:
    """6 to 20 tiny amounts within minutes at one merchant, mostly online: is the number still good?"""
    rng, world = day.random("card_testing frauds"), day.world
    cards = draw_distinct(rng, len(world.home), day.draw_case_count("card_testing", BURSTS))
    sizes = np.minimum(5 + rng.geometric(0.4, len(cards)), 20)
    case, second = _burst_times(rng, sizes, rng.uniform(120, 480, len(cards)))
    merchant = _terminals_for(rng, world, cards, online_share=0.9)
    amount = rng.uniform(0.5, 4, len(case))
    return np.concatenate((honest, purchases(cards[case], merchant[case], second, amount, "card_testing")))


def velocity(day: Day, honest: NDArray) -> NDArray:
    """6 to 12 ordinary purchases within 10 to 20 minutes, in shops of the card's own area and online."""
    rng, world = day.random("velocity frauds"), day.world
    cards = draw_distinct(rng, len(world.home), day.draw_case_count("velocity", BURSTS))
    sizes = np.minimum(5 + rng.geometric(0.6, len(cards)), 12)
    case, second = _burst_times(rng, sizes, rng.uniform(600, 1_200, len(cards)))
    card = cards[case]
    terminal = _terminals_for(rng, world, card, online_share=0.3)
    return np.concatenate((honest, purchases(card, terminal, second, usual_amounts(rng, world, card), "velocity")))


def impossible_travel(day: Day, honest: NDArray) -> NDArray:
    """Within an hour of an honest purchase in a shop, one thousands of kilometres away with the same card."""
    rng, world = day.random("impossible_travel frauds"), day.world
    return np.concatenate(
        (honest, far_away(rng, world, honest, day.draw_case_count("impossible_travel", TRAVELS), "impossible_travel"))
    )


def far_away(rng: np.random.Generator, world: World, honest: NDArray, count: int, scenario: str = "") -> NDArray:
    """Purchases thousands of kilometres from an honest one in a shop, 5 to 55 minutes after it, with the same card."""
    is_in_place = (honest["scenario"] == 0) & (world.kind[honest["terminal"]] != ONLINE)
    candidates = honest[is_in_place & (honest["second"] < DAY_SECONDS - 3_600)]
    sampled_purchases = candidates[draw_distinct(rng, len(candidates), count)]
    is_far = DISTANCES_KM[world.metro[sampled_purchases["terminal"]]] > FAR_KM
    metro = np.argmax(np.where(is_far, rng.random(is_far.shape), 0), axis=1)
    second = sampled_purchases["second"] + rng.uniform(300, 3_300, len(sampled_purchases))
    return purchases(
        sampled_purchases["card"],
        terminals_in(rng, world, metro),
        second,
        usual_amounts(rng, world, sampled_purchases["card"]),
        scenario,
    )


SCENARIOS: tuple[Callable[[Day, NDArray], NDArray], ...] = (
    compromised_terminal, leaked_card, large_amount, card_testing, velocity, impossible_travel,
)  # fmt: skip
SCENARIO_NAMES = tuple(scenario.__name__ for scenario in SCENARIOS)


def _terminals_for(rng: np.random.Generator, world: World, card: NDArray, online_share: float) -> NDArray[np.int64]:
    """A terminal for each card: online with that probability, otherwise in the card's own area."""
    is_online = rng.random(len(card)) < online_share
    return np.where(is_online, online_terminals(rng, world, len(card)), terminals_in(rng, world, world.home[card]))


def _cards_from_afar(rng: np.random.Generator, world: World, terminal: NDArray) -> NDArray[np.int64]:
    """A card for each terminal, at home thousands of kilometres away: copies are used where nobody knows the owner."""
    candidates = rng.integers(len(world.home), size=(len(terminal), 16))
    is_far = DISTANCES_KM[world.metro[terminal][:, None], world.home[candidates]] > FAR_KM
    return np.take_along_axis(candidates, np.argmax(is_far, axis=1)[:, None], axis=1)[:, 0]


def _burst_times(rng: np.random.Generator, sizes: NDArray, within: NDArray) -> tuple[NDArray, NDArray]:
    """(case, UTC second of the day) of each purchase; a burst ends before the day does."""
    case, offset = bursts(rng, sizes, within)
    return case, (rng.random(len(sizes)) * (DAY_SECONDS - within))[case] + offset
