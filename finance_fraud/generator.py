"""Generates card transactions of a simulated world, day by day, and apart from them labels: which of them are fraud.

The idea follows the Fraud Detection Handbook: cards buy near home by their habits, and frauds come in named scenarios.
Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import (
    DAY_SECONDS,
    DirtyFields,
    EventColumns,
    GeneratedEvents,
    bursts,
    delays,
    draw_distinct,
    episodes,
    event_sources,
    growth,
    is_weekend,
    object_array,
    seconds_of_day,
    shifted_share,
    to_utc,
    weekday_weight,
)
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
from finance_fraud.simulation.scenarios import SCENARIO_NAMES, SCENARIOS, Day, far_away, purchases, usual_amounts

EVENT_COLUMNS = EventColumns(EVENT_ID, ENTITY, EVENT_TIME, label_delay=LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="amount", out_of_range=-12.5, required="terminal_id", time="event_time")

# Weights of the 24 local hours.
WORKDAY_HOURS = (1, 0.6, 0.4, 0.3, 0.4, 1, 3, 6, 8, 7, 7, 8, 11, 10, 7, 7, 8, 11, 13, 11, 8, 6, 4, 2)
WEEKEND_HOURS = (3, 2, 1.2, 0.7, 0.4, 0.5, 1, 2, 5, 8, 11, 13, 12, 12, 12, 11, 10, 10, 10, 9, 8, 7, 6, 4)
NIGHT_OWL_HOURS = (9, 8, 7, 5, 3, 1, 1, 1, 2, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8, 9, 10, 11, 11, 10)
WEEKDAYS = (0.92, 0.94, 0.97, 1.0, 1.16, 1.18, 0.83)  # weights of the days, Monday first

ONLINE_SHARE = 0.25
STRAYING_SHARE = 0.12  # of purchases: in the card's area, but not at one of its usual terminals
LARGE_PURCHASE_SHARE = 0.0004  # of purchases: honest, and of 2.5 to 6 times the usual amount
TRIP_DAYS = 7
TRIPS = 0.0015  # that begin per card and day
ARRIVAL_SECOND = 15 * 3_600  # of the day: on a day of travel the card is in no shop before
LENT_CARDS = 0.0003  # per card and day: used by a partner abroad within an hour, innocently
TOP_UPS = 0.0025  # per card and day: several tiny online purchases
FESTIVALS = {False: 0.0015, True: 0.006}  # per card and day, on workdays and on weekends: several small purchases


def generate_day(seed: int, day: date, population: Population) -> GeneratedEvents:
    """The valid transactions of one UTC day and the labels of the fraudulent ones; no messages yet."""
    today = Day(world_of(seed, population), day, seed, population.fraud)
    rows = with_partners(today, with_trips(today, honest_purchases(today, population)))
    for scenario in SCENARIOS:
        rows = scenario(today, rows)
    rows["amount"] *= growth(day, population.opening, population.inflation_per_year)
    rows = rows[np.argsort(rows["second"], kind="stable")]
    return _events_and_labels(today, rows)


def honest_purchases(today: Day, population: Population) -> NDArray:
    """The day's purchases by habit, by top-ups and at festivals, as rows of scenarios.PURCHASE."""
    rng, world = today.random("habits"), today.world
    factor = growth(today.date, population.opening, population.growth_per_year) * weekday_weight(today.date, WEEKDAYS)
    card = event_sources(rng, world.rate * factor * (world.weekend if is_weekend(today.date) else 1.0))
    size = len(card)
    online = shifted_share(ONLINE_SHARE, today.date, population.opening, population.online_shift_per_year)
    # A mean of `online` over cards, yet some buy nearly everything online and many hardly anything.
    is_online = rng.random(size) < online * 2 * world.online_affinity[card]
    terminal = world.usual_terminals[card, rng.integers(USUAL_TERMINALS, size=size)]
    terminal = np.where(rng.random(size) < STRAYING_SHARE, terminals_in(rng, world, world.home[card]), terminal)
    terminal = np.where(is_online, online_terminals(rng, world, size), terminal)
    amount = usual_amounts(rng, world, card) * np.where(rng.random(size) < LARGE_PURCHASE_SHARE, rng.uniform(2.5, 6, size), 1.0)
    habitual_purchases = purchases(card, terminal, _purchase_seconds(rng, today, card), amount)
    return np.concatenate((habitual_purchases, _top_ups(today), _festivals(today)))


def with_trips(today: Day, rows: NDArray) -> NDArray:
    """The rows, with cards on a trip buying where they are. On days of travel they buy only online until ARRIVAL_SECOND."""
    world, rng = today.world, today.random("trips")
    card, age = episodes(today.seed, today.date, "trips", TRIPS * len(world.home), TRIP_DAYS + 1, len(world.home))
    destination = np.full(len(world.home), -1)
    step = 1 + (card * 7919 + today.date.toordinal() - age) % (len(METROS) - 1)
    destination[card] = np.where(age < TRIP_DAYS, (world.home[card] + step) % len(METROS), -1)
    is_travelling = np.zeros(len(world.home), bool)
    is_travelling[card] = (age == 0) | (age == TRIP_DAYS)
    is_in_place = world.kind[rows["terminal"]] != ONLINE
    rows_abroad = np.flatnonzero(is_in_place & (destination[rows["card"]] >= 0))
    rows["terminal"][rows_abroad] = terminals_in(rng, world, destination[rows["card"][rows_abroad]])
    rows_in_flight = np.flatnonzero(is_in_place & is_travelling[rows["card"]] & (rows["second"] < ARRIVAL_SECOND))
    rows["terminal"][rows_in_flight] = online_terminals(rng, world, len(rows_in_flight))
    return rows


def with_partners(today: Day, rows: NDArray) -> NDArray:
    """The rows and purchases with cards that are lent: honest ones, yet too far apart for one person to make."""
    rng, world = today.random("partners"), today.world
    return np.concatenate((rows, far_away(rng, world, rows, rng.binomial(len(world.home), LENT_CARDS))))


def _purchase_seconds(rng: np.random.Generator, today: Day, card: NDArray[np.int64]) -> NDArray[np.float64]:
    """A time of purchase for each card, in seconds of the UTC day."""
    usual_seconds = seconds_of_day(rng, WEEKEND_HOURS if is_weekend(today.date) else WORKDAY_HOURS, len(card))
    night_owl_seconds = seconds_of_day(rng, NIGHT_OWL_HOURS, len(card))
    return to_utc(np.where(today.world.is_night_owl[card], night_owl_seconds, usual_seconds), UTC_OFFSETS[today.world.home[card]])


def _top_ups(today: Day) -> NDArray:
    """Three to seven tiny amounts within 10 to 40 minutes at one online merchant: a game, not a thief."""
    rng, world = today.random("top_ups"), today.world
    cards = draw_distinct(rng, len(world.home), rng.binomial(len(world.home), TOP_UPS))
    case, offset = bursts(rng, rng.integers(3, 8, len(cards)), rng.uniform(600, 2_400, len(cards)))
    merchant = online_terminals(rng, world, len(cards))
    start = _purchase_seconds(rng, today, cards) * (1 - 2_400 / DAY_SECONDS)
    return purchases(cards[case], merchant[case], start[case] + offset, rng.uniform(0.9, 6, len(case)))


def _festivals(today: Day) -> NDArray:
    """Four to nine small purchases within one to three hours at usual places: a day out, not a thief."""
    rng, world = today.random("festivals"), today.world
    cards = draw_distinct(rng, len(world.home), rng.binomial(len(world.home), FESTIVALS[is_weekend(today.date)]))
    case, offset = bursts(rng, rng.integers(4, 10, len(cards)), rng.uniform(3_600, 10_800, len(cards)))
    terminal = world.usual_terminals[cards[case], rng.integers(USUAL_TERMINALS, size=len(case))]
    start = _purchase_seconds(rng, today, cards) * (1 - 10_800 / DAY_SECONDS)
    return purchases(cards[case], terminal, start[case] + offset, rng.uniform(2, 15, len(case)))


def _events_and_labels(today: Day, rows: NDArray) -> GeneratedEvents:
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
        EVENT_ID: object_array([f"{prefix}{number:07d}" for number in range(len(rows))]),
        ENTITY: world.card_id[rows["card"]],
        "terminal_id": world.terminal_id[rows["terminal"]],
        "amount": amount,
        "currency": CURRENCIES[metro],
        "channel": channel,
        "latitude": world.latitude[rows["terminal"]],
        "longitude": world.longitude[rows["terminal"]],
        EVENT_TIME: time,
    }
    scenario = np.array(("", *SCENARIO_NAMES), object)[rows["scenario"]]
    case_ids = _case_ids(today.date, scenario, columns)
    arrival_time = time + delays(today.random("delays"), len(rows))
    return GeneratedEvents.from_columns(today.date, columns, scenario, arrival_time, EVENT_COLUMNS, case_ids)


def _case_ids(day: date, scenario: NDArray[np.object_], columns: dict[str, NDArray]) -> NDArray[np.object_]:
    """The id of the anomaly that each row belongs to: a terminal's or card's weeks are one, otherwise a card's day is."""
    case_ids = object_array([""] * len(scenario))
    for row in np.flatnonzero(scenario != ""):
        if scenario[row] == "compromised_terminal":
            case_ids[row] = f"compromised_terminal:{columns['terminal_id'][row]}"
        elif scenario[row] == "leaked_card":
            case_ids[row] = f"leaked_card:{columns[ENTITY][row]}"
        else:
            case_ids[row] = f"{scenario[row]}:{columns[ENTITY][row]}:{day}"
    return case_ids
