"""What happens in a simulated shop, day by day, and apart from it which of it is an anomaly.

Every day depends on (seed, day, population) alone, so days can be made in any order and on any machine.
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from common.simulation.arrivals import delays
from common.simulation.dirt import DirtyFields
from common.simulation.drift import growth
from common.simulation.generated import Generated, Identity, as_sent
from common.simulation.messages import as_objects
from retail_behavior.events import ADD, CHANNELS, ENTITY, EVENT_ID, EVENT_TIME, PURCHASE, REMOVE, RESTOCK, TYPES
from retail_behavior.settings import Population
from retail_behavior.simulation.population import DISCOUNT, World, usual_units, world_of
from retail_behavior.simulation.scenarios import ABANDONED, BOT, CART_VALUE, RUNNING_OUT, SPIKE, runs_low_at
from retail_behavior.simulation.stock import Demand, demanded, last_due, opening_stock, pair_of, sold, units_demanded
from retail_behavior.simulation.visits import KIND, Day, promoted

LABEL_DELAY = timedelta(days=1)
IDENTITY = Identity(EVENT_ID, ENTITY, EVENT_TIME, label_delay=LABEL_DELAY)
DIRTY_FIELDS = DirtyFields(number="price", out_of_range=-1.5, required="product_id", time="event_time")
COST = 0.6                  # of the price, what a restock pays
GOODS_IN_SECONDS = 300.0    # after midnight


def generate(seed: int, start: date, days: int, population: Population, dirt: bool = True) -> Iterator[Generated]:
    """Chunks of each day from `start`, with the messages that arrive until their end; a last one holds the stragglers."""
    made = (generate_day(seed, start + timedelta(days=number), population) for number in range(days))
    return as_sent(seed, made, IDENTITY, DIRTY_FIELDS if dirt else None)


def generate_day(seed: int, day: date, population: Population) -> Generated:
    """The valid events of one UTC day and the labels of its anomalies; no messages yet."""
    today = Day(world_of(seed, population), day, seed)
    demand = demanded(seed, day, population)
    units_demanded(seed, day, population)  # from the rows at hand, for the days that follow
    stock, delivered = opening_stock(seed, day, population)
    rows, left = _what_could_be_sold(today.world, demand.rows, stock)
    prices = _prices(today)
    scenario, case = _labels(today, rows, left, prices, demand)
    return _described(today, rows, demand.channel, prices, (stock, delivered), scenario, case)


def _what_could_be_sold(world: World, rows: NDArray, stock: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int64]]:
    """Rows without the purchases for which nothing was left, and the units left after each purchase (-1 elsewhere)."""
    rows = rows.copy()
    left = np.full(len(rows), -1)
    buys = np.flatnonzero(rows["kind"] == KIND[PURCHASE])
    rows["quantity"][buys], left[buys] = sold(world, rows[buys], stock)
    kept = rows["quantity"] > 0
    return rows[kept], left[kept]


def _prices(today: Day) -> NDArray[np.float64]:
    """Of each product on the day: inflation by month, and promotions."""
    population = today.world.population
    inflated = today.world.price * growth(today.date.replace(day=1), population.opening, population.inflation_per_year)
    return np.maximum(np.round(inflated * np.where(promoted(today), DISCOUNT, 1.0), 2), 0.01)


def _labels(
    today: Day, rows: NDArray, left: NDArray[np.int64], prices: NDArray[np.float64], demand: Demand
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The scenario and the case of each row, "" of ordinary ones. A visitor or a product has one case a day at most."""
    world, day = today.world, today.date
    scenario, case = np.full(len(rows), "", object), np.full(len(rows), "", object)

    def mark(hit: NDArray[np.bool_], name: str, subjects: list[str]) -> None:
        scenario[hit] = name
        case[hit] = as_objects([f"{name}:{subject}" for subject in subjects])

    pair = pair_of(world, rows)
    is_low = (left >= 0) & (left < runs_low_at(usual_units(world, day))[pair])
    abandoned = _ends_abandoned(rows, prices)
    is_spike = (rows["kind"] == KIND[PURCHASE]) & (rows["session"] >= demand.spikes_from) & (rows["session"] < demand.bots_from)
    is_bot = rows["session"] >= demand.bots_from
    mark(is_low, RUNNING_OUT, [f"{_pair_name(world, one)}:{last_due(one, day)}" for one in pair[is_low].tolist()])
    mark(abandoned, ABANDONED, [f"{world.visitor_id[one]}:{day}" for one in rows["visitor"][abandoned]])
    mark(is_spike, SPIKE, [f"{world.product_id[one]}:{day}" for one in rows["product"][is_spike]])
    mark(is_bot, BOT, [f"{world.visitor_id[one]}:{day}" for one in rows["visitor"][is_bot]])
    return scenario, case


def _ends_abandoned(rows: NDArray, prices: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows are the last of a session that leaves goods worth CART_VALUE or more in the cart and bought nothing."""
    sessions = int(rows["session"].max(initial=-1)) + 1
    worth = rows["quantity"] * prices[rows["product"]]
    change = np.where(rows["kind"] == KIND[ADD], worth, np.where(rows["kind"] == KIND[REMOVE], -worth, 0.0))
    cart = np.bincount(rows["session"], change, sessions)
    buys = np.bincount(rows["session"], rows["kind"] == KIND[PURCHASE], sessions) > 0
    last = np.full(sessions, -1)
    last[rows["session"]] = np.arange(len(rows))  # rows are in order of time: the last one stays
    hit = np.zeros(len(rows), bool)
    hit[last[(cart >= CART_VALUE) & ~buys]] = True
    return hit


def _pair_name(world: World, pair: int) -> str:
    store, product = divmod(pair, len(world.product_id))
    return f"{world.store_id[store]}/{world.product_id[product]}"


def _described(
    today: Day, rows: NDArray, channel: NDArray[np.int64], prices: NDArray[np.float64],
    goods: tuple[NDArray[np.int64], NDArray[np.int64]], scenario: NDArray[np.object_], case: NDArray[np.object_],
) -> Generated:
    """Deliveries and then `rows`, in order of time, as events, with their labels. goods: opening stock and deliveries."""
    world, rng = today.world, today.random("description")
    stock, delivered = goods
    came = np.flatnonzero(delivered)
    count = len(came) + len(rows)
    second = np.concatenate((np.sort(rng.random(len(came))) * GOODS_IN_SECONDS, rows["second"]))
    store = np.concatenate((came // len(prices), world.home_store[rows["visitor"]]))
    product = np.concatenate((came % len(prices), rows["product"]))
    price = np.round(np.concatenate((np.full(len(came), COST), np.ones(len(rows)))) * prices[product], 2)
    time = np.datetime64(today.date, "ms") + (second * 1_000).astype("timedelta64[ms]")
    columns = {
        EVENT_ID: _numbered(f"e{today.date:%Y%m%d}", range(count), 7),
        ENTITY: np.concatenate((world.store_id[store[: len(came)]], world.visitor_id[rows["visitor"]])),
        "session_id": np.concatenate((_nothing(len(came)), _numbered(f"s{today.date:%Y%m%d}", rows["session"].tolist(), 6))),
        "event_type": np.array(TYPES, object)[np.concatenate((np.full(len(came), KIND[RESTOCK]), rows["kind"]))],
        "product_id": world.product_id[product],
        "store_id": world.store_id[store],
        "quantity": np.concatenate((delivered[came], rows["quantity"])),
        "price": np.maximum(price, 0.01),
        "channel": np.concatenate((_nothing(len(came)), np.array(CHANNELS, object)[channel[rows["session"]]])),
        "stock_on_hand": np.concatenate((stock[came].astype(float), np.full(len(rows), np.nan))),
        EVENT_TIME: time,
    }
    ordinary = np.full(len(came), "", object)
    # Goods-in is booked at the door: a delivery arrives as it happens.
    delay = np.where(np.arange(count) < len(came), np.timedelta64(100, "ms"), delays(today.random("delays"), count))
    return Generated.of(
        today.date, columns, np.concatenate((ordinary, scenario)), time + delay, IDENTITY, np.concatenate((ordinary, case)))


def _numbered(prefix: str, numbers: Iterable[int], digits: int) -> NDArray[np.object_]:
    return as_objects([f"{prefix}{number:0{digits}d}" for number in numbers])


def _nothing(count: int) -> NDArray[np.object_]:
    return np.full(count, None, object)
