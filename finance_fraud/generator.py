"""Card transactions of a simulated world, day by day, and apart from them which are fraud.

The idea follows the Fraud Detection Handbook: cards buy near home by their habits, and frauds come in named scenarios.
Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from common.simulation.anomalies import bursts, distinct, episodes
from common.simulation.arrivals import counts, delays
from common.simulation.dirt import DirtyFields
from common.simulation.drift import growth, shifted_share
from common.simulation.generated import Generated, Identity, as_sent
from common.simulation.messages import as_objects
from common.simulation.seasonality import DAY_SECONDS, is_weekend, seconds_of_day, to_utc, weekday_weight
from finance_fraud.events import ENTITY, EVENT_ID, EVENT_TIME, LABEL_DELAY
from finance_fraud.settings import Population
from finance_fraud.simulation.population import (
    CASH,
    CURRENCIES,
    METROS,
    ONLINE,
    USUAL_TERMINALS,
    UTC_OFFSETS,
    online_terminals,
    terminals_in,
    world_of,
)
from finance_fraud.simulation.scenarios import ALL, SCENARIOS, Day, far_away, purchases, usual_amounts

IDENTITY = Identity(EVENT_ID, ENTITY, EVENT_TIME, label_delay=LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="amount", out_of_range=-12.5, required="terminal_id", time="event_time")

# Weights of the 24 local hours.
WORKDAY = (1, 0.6, 0.4, 0.3, 0.4, 1, 3, 6, 8, 7, 7, 8, 11, 10, 7, 7, 8, 11, 13, 11, 8, 6, 4, 2)
WEEKEND = (3, 2, 1.2, 0.7, 0.4, 0.5, 1, 2, 5, 8, 11, 13, 12, 12, 12, 11, 10, 10, 10, 9, 8, 7, 6, 4)
NIGHT_OWL = (9, 8, 7, 5, 3, 1, 1, 1, 2, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8, 9, 10, 11, 11, 10)
WEEK = (0.92, 0.94, 0.97, 1.0, 1.16, 1.18, 0.83)

ONLINE_SHARE = 0.25
STRAYING_SHARE = 0.12          # purchases in the card's area, but not at one of its usual terminals
LARGE_PURCHASE_SHARE = 0.0004  # honest, of 2.5 to 6 times the usual amount
TRIP_DAYS = 7
TRIPS = 0.0015                 # trips started per card and day
ARRIVED_SECOND = 15 * 3_600    # on the day of a journey no shop sees the card before
SHARED = 0.0003                # cards a day used by a partner abroad within an hour, innocently
TOP_UPS = 0.0025               # cards a day that make several tiny online purchases
FESTIVALS = {False: 0.0015, True: 0.006}   # cards a day, on workdays and weekends, that make several small purchases


def generate(seed: int, start: date, days: int, population: Population, dirt: bool = True) -> Iterator[Generated]:
    """Chunks of each day from `start`, with the messages that arrive until their end; a last one holds the stragglers."""
    made = (generate_day(seed, start + timedelta(days=number), population) for number in range(days))
    return as_sent(seed, made, IDENTITY, DIRTY_FIELDS if dirt else None)


def generate_day(seed: int, day: date, population: Population) -> Generated:
    """The valid transactions of one UTC day and the labels of the fraudulent ones; no messages yet."""
    today = Day(world_of(seed, population), day, seed, population.fraud)
    rows = with_partners(today, with_trips(today, honest_purchases(today, population)))
    for scenario in ALL:
        rows = scenario(today, rows)
    rows["amount"] *= growth(day, population.opening, population.inflation_per_year)
    rows = rows[np.argsort(rows["second"], kind="stable")]
    return _described(today, rows)


def honest_purchases(today: Day, population: Population) -> NDArray:
    """Habits: rows of scenarios.PURCHASE."""
    rng, world = today.random("habits"), today.world
    factor = growth(today.date, population.opening, population.growth_per_year) * weekday_weight(today.date, WEEK)
    card = counts(rng, world.rate * factor * (world.weekend if is_weekend(today.date) else 1.0))
    size = len(card)
    online = shifted_share(ONLINE_SHARE, today.date, population.opening, population.online_shift_per_year)
    # A mean of `online` over cards, yet some buy nearly everything online and many hardly anything.
    is_online = rng.random(size) < online * 2 * world.online_affinity[card]
    terminal = world.usual[card, rng.integers(USUAL_TERMINALS, size=size)]
    terminal = np.where(rng.random(size) < STRAYING_SHARE, terminals_in(rng, world, world.home[card]), terminal)
    terminal = np.where(is_online, online_terminals(rng, world, size), terminal)
    amount = usual_amounts(rng, world, card) * np.where(rng.random(size) < LARGE_PURCHASE_SHARE, rng.uniform(2.5, 6, size), 1.0)
    habitual = purchases(card, terminal, _hours(rng, today, card), amount)
    return np.concatenate((habitual, _top_ups(today), _festivals(today)))


def with_trips(today: Day, rows: NDArray) -> NDArray:
    """Cards on a trip buy where they are, at a plausible speed: on days of travel only online until the afternoon."""
    world, rng = today.world, today.random("trips")
    card, age = episodes(today.seed, today.date, "trips", TRIPS * len(world.home), TRIP_DAYS + 1, len(world.home))
    destination = np.full(len(world.home), -1)
    hop = 1 + (card * 7919 + today.date.toordinal() - age) % (len(METROS) - 1)
    destination[card] = np.where(age < TRIP_DAYS, (world.home[card] + hop) % len(METROS), -1)
    travels = np.zeros(len(world.home), bool)
    travels[card] = (age == 0) | (age == TRIP_DAYS)
    in_place = world.kind[rows["terminal"]] != ONLINE
    away = np.flatnonzero(in_place & (destination[rows["card"]] >= 0))
    rows["terminal"][away] = terminals_in(rng, world, destination[rows["card"][away]])
    flying = np.flatnonzero(in_place & travels[rows["card"]] & (rows["second"] < ARRIVED_SECOND))
    rows["terminal"][flying] = online_terminals(rng, world, len(flying))
    return rows


def with_partners(today: Day, rows: NDArray) -> NDArray:
    """A few cards are lent: honest purchases far apart that no one person could make."""
    rng, world = today.random("partners"), today.world
    return np.concatenate((rows, far_away(rng, world, rows, rng.binomial(len(world.home), SHARED))))


def _hours(rng: np.random.Generator, today: Day, card: NDArray[np.int64]) -> NDArray[np.float64]:
    usual = seconds_of_day(rng, WEEKEND if is_weekend(today.date) else WORKDAY, len(card))
    late = seconds_of_day(rng, NIGHT_OWL, len(card))
    return to_utc(np.where(today.world.is_night_owl[card], late, usual), UTC_OFFSETS[today.world.home[card]])


def _top_ups(today: Day) -> NDArray:
    """Three to seven tiny amounts within 10 to 40 minutes at one online merchant: a game, not a thief."""
    rng, world = today.random("top_ups"), today.world
    cards = distinct(rng, len(world.home), rng.binomial(len(world.home), TOP_UPS))
    case, offset = bursts(rng, rng.integers(3, 8, len(cards)), rng.uniform(600, 2_400, len(cards)))
    merchant = online_terminals(rng, world, len(cards))
    start = _hours(rng, today, cards) * (1 - 2_400 / DAY_SECONDS)
    return purchases(cards[case], merchant[case], start[case] + offset, rng.uniform(0.9, 6, len(case)))


def _festivals(today: Day) -> NDArray:
    """Four to nine small purchases within one to three hours at usual places: a day out, not a thief."""
    rng, world = today.random("festivals"), today.world
    cards = distinct(rng, len(world.home), rng.binomial(len(world.home), FESTIVALS[is_weekend(today.date)]))
    case, offset = bursts(rng, rng.integers(4, 10, len(cards)), rng.uniform(3_600, 10_800, len(cards)))
    place = world.usual[cards[case], rng.integers(USUAL_TERMINALS, size=len(case))]
    start = _hours(rng, today, cards) * (1 - 10_800 / DAY_SECONDS)
    return purchases(cards[case], place, start[case] + offset, rng.uniform(2, 15, len(case)))


def _described(today: Day, rows: NDArray) -> Generated:
    """Rows of PURCHASE in order of time as events, and labels of those with a scenario."""
    world, rng = today.world, today.random("description")
    kind = world.kind[rows["terminal"]]
    amount = np.where(kind == CASH, np.maximum(10, np.round(rows["amount"], -1)), np.maximum(0.5, np.round(rows["amount"], 2)))
    is_contactless = (amount < 50) & (rng.random(len(rows)) < 0.8)
    channel = np.array(["chip", "atm", "online", "contactless"], object)[np.where((kind == 0) & is_contactless, 3, kind)]
    metro = np.where(kind == ONLINE, world.home[rows["card"]], world.metro[rows["terminal"]])
    time = np.datetime64(today.date, "ms") + (rows["second"] * 1_000).astype("timedelta64[ms]")
    prefix = f"t{today.date:%Y%m%d}"
    columns = {
        EVENT_ID: as_objects([f"{prefix}{number:07d}" for number in range(len(rows))]),
        ENTITY: world.card_id[rows["card"]],
        "terminal_id": world.terminal_id[rows["terminal"]],
        "amount": amount,
        "currency": CURRENCIES[metro],
        "channel": channel,
        "latitude": world.latitude[rows["terminal"]],
        "longitude": world.longitude[rows["terminal"]],
        EVENT_TIME: time,
    }
    scenario = np.array(("", *SCENARIOS), object)[rows["scenario"]]
    case = _cases(today.date, scenario, columns)
    arrival_time = time + delays(today.random("delays"), len(rows))
    return Generated.of(today.date, columns, scenario, arrival_time, IDENTITY, case)


def _cases(day: date, scenario: NDArray[np.object_], columns: dict[str, NDArray]) -> NDArray[np.object_]:
    """Which anomaly each row belongs to: a terminal's or card's weeks are one, otherwise a card's day is."""
    case = as_objects([""] * len(scenario))
    for row in np.flatnonzero(scenario != ""):
        if scenario[row] == "compromised_terminal":
            case[row] = f"compromised_terminal:{columns['terminal_id'][row]}"
        elif scenario[row] == "leaked_card":
            case[row] = f"leaked_card:{columns[ENTITY][row]}"
        else:
            case[row] = f"{scenario[row]}:{columns[ENTITY][row]}:{day}"
    return case
