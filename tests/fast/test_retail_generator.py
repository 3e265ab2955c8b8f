"""The simulated shop: the same seed makes the same bytes, stock really runs out, and every anomaly is what its name says."""

import hashlib
import json
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.simulation.dirt import FLAWS
from retail_behavior import VERTICAL
from retail_behavior.events import CHANNELS, EVENT_SCHEMA, EVENT_TYPES
from retail_behavior.generator import generate_day
from retail_behavior.settings import Population
from retail_behavior.simulation.population import world_of
from retail_behavior.simulation.scenarios import CART_VALUE, SCENARIO_NAMES
from retail_behavior.simulation.stock import opening_stock
from retail_behavior.simulation.visits import Day, is_promoted

START = date(2020, 2, 3)  # a Monday
DAYS = 28
SMALL = Population(visitors=800, products=40, stores=2)


@pytest.fixture(scope="module")
def days():
    return [generate_day(7, START + timedelta(days=number), Population()) for number in range(DAYS)]


@pytest.fixture(scope="module")
def events(days):
    """Four weeks at the default size, with the scenario and case of each event ("" if ordinary)."""
    rows = pa.concat_tables([day.events for day in days]).to_pandas()
    labels = pa.concat_tables([day.labels for day in days]).to_pandas().set_index("event_id")
    return rows.assign(**{name: rows["event_id"].map(labels[name]).fillna("") for name in ("scenario", "case_id")})


def digest(chunks):
    summed = hashlib.sha256()
    for chunk in chunks:
        for key, value in zip(chunk.messages.keys, chunk.messages.values, strict=True):
            summed.update(key + b"\0" + value + b"\n")
    return summed.hexdigest()


def events_of(events, scenario):
    return events[events["scenario"] == scenario]


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others():
    assert digest(VERTICAL.generate(1, START, 3, SMALL)) == digest(VERTICAL.generate(1, START, 3, SMALL))
    assert digest(VERTICAL.generate(1, START, 3, SMALL)) != digest(VERTICAL.generate(2, START, 3, SMALL))


def test_a_day_needs_no_day_before_it(days):
    alone = generate_day(7, START + timedelta(days=DAYS - 1), Population())
    assert alone.events.equals(days[-1].events)
    assert alone.labels.equals(days[-1].labels)


def test_dirt_breaks_some_messages_and_repeats_some():
    flaws = {flaw for chunk in VERTICAL.generate(1, START, 5, SMALL) for flaw in chunk.messages.flaw}
    assert "duplicate" in flaws and len(flaws & set(FLAWS)) >= 4


def test_messages_say_what_the_columns_say():
    chunk, *_ = VERTICAL.generate(1, START, 1, SMALL, dirt=False)
    expected = {event["event_id"]: event for event in chunk.events.to_pylist()}
    for key, value in zip(chunk.messages.keys, chunk.messages.values, strict=True):
        event = json.loads(value)
        row = expected[event["event_id"]]
        assert key.decode() == event["visitor_id"]
        assert event | {"event_time": None} == row | {"event_time": None}


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    day=st.dates(date(2020, 1, 1), date(2035, 1, 1)),
    visitors=st.integers(100, 600),
    products=st.integers(20, 60),
    stores=st.integers(1, 4),
    anomalies=st.floats(0, 5),
)
def test_any_population_makes_valid_days(seed, day, visitors, products, stores, anomalies):
    population = Population(visitors=visitors, products=products, stores=stores, anomalies=anomalies)
    events = generate_day(seed, day, population).events
    assert events.column_names == EVENT_SCHEMA.names
    rows = events.to_pandas()
    assert rows["event_id"].is_unique
    assert rows["event_time"].is_monotonic_increasing and (rows["event_time"].dt.date == day).all()
    assert set(rows["event_type"]) <= set(EVENT_TYPES) and set(rows["channel"].dropna()) <= set(CHANNELS)
    assert (rows["quantity"] >= 1).all() and (rows["price"] > 0).all()
    assert (rows["stock_on_hand"].notna() == (rows["event_type"] == "restock")).all()


def test_sessions_are_a_funnel(events):
    counts = events["event_type"].value_counts()
    assert counts["view"] > 3 * counts["add_to_cart"] > 3 * counts["purchase"] > 3 * counts["remove_from_cart"]
    added = events[events["event_type"] == "add_to_cart"].set_index(["session_id", "product_id"])
    bought = events[events["event_type"] == "purchase"].set_index(["session_id", "product_id"])
    assert bought.index.isin(added.index).all()


def test_no_session_is_of_two_visitors_and_no_visitor_has_two_a_day(events):
    sessions = events.dropna(subset="session_id").groupby("session_id")["visitor_id"]
    assert (sessions.nunique() == 1).all()
    a_day = events.dropna(subset="session_id").groupby(["visitor_id", events["event_time"].dt.date])["session_id"].nunique()
    assert a_day.max() == 1


def test_stock_is_what_came_less_what_went_and_never_below_nothing(events):
    moves = events[events["event_type"].isin(["purchase", "restock"])]
    lowest = []
    for _, item in moves.groupby(["store_id", "product_id"]):
        position = None
        for kind, quantity, counted in item[["event_type", "quantity", "stock_on_hand"]].itertuples(index=False):
            if kind == "restock":
                assert position is None or position + quantity == counted
                position = counted
            elif position is not None:
                position -= quantity
                lowest.append(position)
    assert min(lowest) == 0  # it really runs out, and nobody buys what is not there


def test_an_item_that_ran_out_is_sold_no_more_until_it_is_restocked():
    population, sold_out_count = Population(visitors=2_000, products=40, anomalies=5), 0
    for number in range(40):
        day = START + timedelta(days=number)
        stock, _ = opening_stock(3, day, population)
        sold_out_pairs = np.flatnonzero(stock == 0)
        world = world_of(3, population)
        names = {
            (world.store_id[pair // population.products], world.product_id[pair % population.products]) for pair in sold_out_pairs
        }
        rows = generate_day(3, day, population).events.to_pandas()
        sold = rows[rows["event_type"] == "purchase"]
        assert not names & set(zip(sold["store_id"], sold["product_id"], strict=True))
        sold_out_count += len(sold_out_pairs)
    assert sold_out_count > 10


def test_complements_are_looked_at_together(events):
    world = world_of(7, Population())
    views = events[(events["event_type"] == "view") & (events["scenario"] != "bot")]
    number = views["product_id"].str[1:].astype(int).to_numpy()
    by_session = views.assign(number=number).sort_values(["session_id", "event_time"])
    number, session = by_session["number"].to_numpy(), by_session["session_id"].to_numpy()
    follows = session[1:] == session[:-1]
    after, before = number[1:][follows], world.complement[number[:-1][follows]]
    by_chance = (np.random.default_rng(0).permutation(before) == after).mean()
    assert (before == after).mean() > 0.2 > 10 * by_chance


def test_promoted_products_cost_less_and_sell_more(events):
    world, rows = world_of(7, Population()), []
    for number in range(DAYS):
        day = START + timedelta(days=number)
        on_sale = set(world.product_id[is_promoted(Day(world, day, 7))])
        of_day = events[(events["event_time"].dt.date == day) & (events["event_type"] == "view") & (events["scenario"] != "bot")]
        rows.append(of_day.assign(promoted=of_day["product_id"].isin(on_sale)))
    views = pd.concat(rows)
    per_product_day = views.groupby(["promoted", "product_id", views["event_time"].dt.date]).size().groupby(level=0).mean()
    assert 1.3 < per_product_day[True] / per_product_day[False] < 2.6
    usual = views.groupby(["product_id", "promoted"])["price"].median().unstack().dropna()
    assert (usual[True] / usual[False]).median() == pytest.approx(0.75, abs=0.01)


def test_labels_come_in_cases_of_every_scenario(events):
    assert set(events["scenario"]) == {"", *SCENARIO_NAMES}
    cases = events[events["scenario"] != ""].groupby("case_id")["scenario"]
    assert (cases.nunique() == 1).all()


def test_a_bot_views_dozens_of_products_at_an_even_pace_and_buys_nothing(events):
    bots = events_of(events, "bot")
    assert (bots["event_type"] == "view").all()
    sizes = bots.groupby("case_id").size()
    assert sizes.between(30, 120).all()
    gaps = bots.groupby("case_id")["event_time"].diff().dt.total_seconds().dropna()
    by_case = gaps.groupby(bots["case_id"])
    assert (by_case.std() / by_case.mean()).max() < 0.1
    # Its look-alike is as fast, and human.
    views = events[(events["event_type"] == "view") & (events["scenario"] == "")]
    pace = views.groupby("session_id")["event_time"].agg(["size", "min", "max"])
    pace["seconds"] = (pace["max"] - pace["min"]).dt.total_seconds() / (pace["size"] - 1).clip(lower=1)
    assert ((pace["size"] >= 30) & (pace["seconds"] < 10)).sum() > DAYS


def test_an_abandoned_cart_is_worth_it_and_its_label_is_the_last_event(events):
    last = events_of(events, "cart_abandoned")
    sessions = events[events["session_id"].isin(last["session_id"])]
    assert not (sessions["event_type"] == "purchase").any()
    sign = sessions["event_type"].map({"add_to_cart": 1, "remove_from_cart": -1, "view": 0})
    worth = (sessions["quantity"] * sessions["price"] * sign).groupby(sessions["session_id"]).sum()
    assert worth.min() >= CART_VALUE - 1e-6
    ends = sessions.groupby("session_id")["event_time"].max()
    assert (ends.reindex(last["session_id"]).to_numpy() == last["event_time"].to_numpy()).all()


def test_some_carts_pause_longer_than_a_session_and_are_bought_after_all(events):
    shopping = events.dropna(subset="session_id").sort_values(["session_id", "event_time"])
    pause = shopping.groupby("session_id")["event_time"].diff().dt.total_seconds()
    bought_after = shopping[shopping["event_type"] == "purchase"].index
    assert (pause[bought_after] > 1_800).sum() > 0
    assert (pause[bought_after].between(480, 1_800)).sum() > DAYS


def test_a_demand_spike_is_many_ordinary_orders_of_one_product_within_hours(events):
    spikes = events_of(events, "demand_spike")
    assert (spikes["event_type"] == "purchase").all() and (spikes["quantity"] <= 2).all()
    cases = spikes.groupby("case_id")
    assert (cases["product_id"].nunique() == 1).all()
    assert cases.size().median() > 14
    assert (cases["event_time"].max() - cases["event_time"].min()).max() < pd.Timedelta(hours=5.2)


def test_what_is_running_out_sold_below_a_bad_days_demand(events):
    low = events_of(events, "stock_running_out")
    assert (low["event_type"] == "purchase").all()
    assert low["case_id"].nunique() > 10
    # At a case's end stock is near nothing, mostly.
    assert low.groupby("case_id").size().median() >= 3
