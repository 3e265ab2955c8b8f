"""Generates the events of a simulated shop, day by day, and apart from them labels: which of them belong to an anomaly.

Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from common.authoring import DirtyFields, EventColumns, GeneratedEvents, delays, growth, object_array
from retail_behavior.events import (
    ADD,
    CHANNELS,
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    EVENT_TYPES,
    LABEL_DELAY,
    PURCHASE,
    REMOVE,
    RESTOCK,
)
from retail_behavior.settings import Population
from retail_behavior.simulation.population import DISCOUNT, World, usual_units, world_of
from retail_behavior.simulation.scenarios import ABANDONED, BOT, CART_VALUE, RUNNING_OUT, SPIKE, low_stock_level
from retail_behavior.simulation.stock import (
    Demand,
    demand_on,
    demand_units_on,
    last_delivery_day,
    opening_stock,
    pair_of,
    sell,
)
from retail_behavior.simulation.visits import KIND_NUMBER, Day, is_promoted

EVENT_COLUMNS = EventColumns(EVENT_ID, ENTITY, EVENT_TIME, label_delay=LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="price", out_of_range=-1.5, required="product_id", time="event_time")
RESTOCK_PRICE_SHARE = 0.6  # of a product's price, that the shop pays for it
GOODS_IN_SECONDS = 300.0  # after midnight, within which deliveries are booked


@dataclass(frozen=True)
class Goods:
    """A day's goods. prices: of each product; stock: units of each pair when the day begins; delivered_units: of them."""

    prices: NDArray[np.float64]
    stock: NDArray[np.int64]
    delivered_units: NDArray[np.int64]


def generate_day(seed: int, day: date, population: Population) -> GeneratedEvents:
    """The valid events of one UTC day and the labels of its anomalies; no messages yet."""
    today = Day(world_of(seed, population), day, seed)
    demand = demand_on(seed, day, population)
    demand_units_on(seed, day, population)  # fills its cache from the rows at hand, for the days that follow
    goods = Goods(_prices(today), *opening_stock(seed, day, population))
    rows, stock_after = _rows_in_stock(today.world, demand.rows, goods.stock)
    scenario, case = _labels(today, rows, stock_after, goods.prices, demand)
    return _events_and_labels(today, rows, demand.channel, goods, scenario, case)


def _rows_in_stock(world: World, rows: NDArray, stock: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int64]]:
    """Rows without the purchases for which nothing was left, and the units left after each purchase (-1 elsewhere)."""
    rows = rows.copy()
    stock_after = np.full(len(rows), -1)
    purchase_rows = np.flatnonzero(rows["kind"] == KIND_NUMBER[PURCHASE])
    rows["quantity"][purchase_rows], stock_after[purchase_rows] = sell(world, rows[purchase_rows], stock)
    has_units = rows["quantity"] > 0
    return rows[has_units], stock_after[has_units]


def _prices(today: Day) -> NDArray[np.float64]:
    """The price of each product on the day, with inflation by month and promotions."""
    population = today.world.population
    inflated_prices = today.world.price * growth(today.date.replace(day=1), population.opening, population.inflation_per_year)
    return np.maximum(np.round(inflated_prices * np.where(is_promoted(today), DISCOUNT, 1.0), 2), 0.01)


def _labels(
    today: Day, rows: NDArray, stock_after: NDArray[np.int64], prices: NDArray[np.float64], demand: Demand
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The scenario and the case of each row, "" for ordinary ones. A visitor or a product has one case a day at most."""
    world, day = today.world, today.date
    scenario, case = np.full(len(rows), "", object), np.full(len(rows), "", object)

    def mark_rows(is_hit: NDArray[np.bool_], name: str, subjects: list[str]) -> None:
        scenario[is_hit] = name
        case[is_hit] = object_array([f"{name}:{subject}" for subject in subjects])

    pair = pair_of(world, rows)
    is_low = (stock_after >= 0) & (stock_after < low_stock_level(usual_units(world, day))[pair])
    is_abandoned = _is_abandoned_end(rows, prices)
    is_in_spike = (rows["session"] >= demand.spikes_from) & (rows["session"] < demand.bots_from)
    is_spike = (rows["kind"] == KIND_NUMBER[PURCHASE]) & is_in_spike
    is_bot = rows["session"] >= demand.bots_from
    mark_rows(
        is_low, RUNNING_OUT, [f"{_pair_name(world, item)}:{last_delivery_day(item, day)}" for item in pair[is_low].tolist()]
    )
    mark_rows(is_abandoned, ABANDONED, [f"{world.visitor_id[visitor]}:{day}" for visitor in rows["visitor"][is_abandoned]])
    mark_rows(is_spike, SPIKE, [f"{world.product_id[product]}:{day}" for product in rows["product"][is_spike]])
    mark_rows(is_bot, BOT, [f"{world.visitor_id[visitor]}:{day}" for visitor in rows["visitor"][is_bot]])
    return scenario, case


def _is_abandoned_end(rows: NDArray, prices: NDArray[np.float64]) -> NDArray[np.bool_]:
    """For each row, whether it is the last of a session that leaves goods worth CART_VALUE or more and bought nothing."""
    sessions = int(rows["session"].max(initial=-1)) + 1
    line_value = rows["quantity"] * prices[rows["product"]]
    cart_change = np.where(
        rows["kind"] == KIND_NUMBER[ADD], line_value, np.where(rows["kind"] == KIND_NUMBER[REMOVE], -line_value, 0.0)
    )
    cart = np.bincount(rows["session"], cart_change, sessions)
    has_bought = np.bincount(rows["session"], rows["kind"] == KIND_NUMBER[PURCHASE], sessions) > 0
    last = np.full(sessions, -1)
    last[rows["session"]] = np.arange(len(rows))  # rows are in order of time: the last one stays
    is_end = np.zeros(len(rows), bool)
    is_end[last[(cart >= CART_VALUE) & ~has_bought]] = True
    return is_end


def _pair_name(world: World, pair: int) -> str:
    store, product = divmod(pair, len(world.product_id))
    return f"{world.store_id[store]}/{world.product_id[product]}"


def _events_and_labels(
    today: Day,
    rows: NDArray,
    channel: NDArray[np.int64],
    goods: Goods,
    scenario: NDArray[np.object_],
    case: NDArray[np.object_],
) -> GeneratedEvents:
    """Deliveries and then `rows`, in order of time, as events, and the labels of those with a scenario."""
    world, rng, products = today.world, today.random("description"), len(goods.prices)
    restocks = np.flatnonzero(goods.delivered_units)  # the pairs
    count = len(restocks) + len(rows)
    second = np.concatenate((np.sort(rng.random(len(restocks))) * GOODS_IN_SECONDS, rows["second"]))
    store = np.concatenate((restocks // products, world.home_store[rows["visitor"]]))
    product = np.concatenate((restocks % products, rows["product"]))
    price_share = np.concatenate((np.full(len(restocks), RESTOCK_PRICE_SHARE), np.ones(len(rows))))
    price = np.round(price_share * goods.prices[product], 2)
    time = np.datetime64(today.date, "ms") + (second * 1_000).astype("timedelta64[ms]")
    session_id = _numbered_ids(f"s{today.date:%Y%m%d}", rows["session"].tolist(), 6)
    kind = np.concatenate((np.full(len(restocks), KIND_NUMBER[RESTOCK]), rows["kind"]))
    columns = {
        EVENT_ID: _numbered_ids(f"e{today.date:%Y%m%d}", range(count), 7),
        ENTITY: np.concatenate((world.store_id[store[: len(restocks)]], world.visitor_id[rows["visitor"]])),
        "session_id": np.concatenate((_nulls(len(restocks)), session_id)),
        "event_type": np.array(EVENT_TYPES, object)[kind],
        "product_id": world.product_id[product],
        "store_id": world.store_id[store],
        "quantity": np.concatenate((goods.delivered_units[restocks], rows["quantity"])),
        "price": np.maximum(price, 0.01),
        "channel": np.concatenate((_nulls(len(restocks)), np.array(CHANNELS, object)[channel[rows["session"]]])),
        "stock_on_hand": np.concatenate((goods.stock[restocks].astype(float), np.full(len(rows), np.nan))),
        EVENT_TIME: time,
    }
    no_scenario = np.full(len(restocks), "", object)
    # Goods-in is booked at the door: a delivery arrives as it happens.
    delay = np.where(np.arange(count) < len(restocks), np.timedelta64(100, "ms"), delays(today.random("delays"), count))
    scenarios, cases = np.concatenate((no_scenario, scenario)), np.concatenate((no_scenario, case))
    return GeneratedEvents.from_columns(today.date, columns, scenarios, time + delay, EVENT_COLUMNS, cases)


def _numbered_ids(prefix: str, numbers: Iterable[int], digits: int) -> NDArray[np.object_]:
    return object_array([f"{prefix}{number:0{digits}d}" for number in numbers])


def _nulls(count: int) -> NDArray[np.object_]:
    return np.full(count, None, object)
