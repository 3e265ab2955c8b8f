"""Simulated card transactions: the same seed makes the same bytes, and every fraud is what its name says."""

import hashlib
import json
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.simulation.dirt import FLAWS
from common.simulation.space import distance_km
from finance_fraud import VERTICAL
from finance_fraud.events import CHANNELS, EVENT_SCHEMA
from finance_fraud.generator import generate_day, honest_purchases, with_trips
from finance_fraud.settings import Population
from finance_fraud.simulation.population import ONLINE, world_of
from finance_fraud.simulation.scenarios import SCENARIO_NAMES, Day

START = date(2026, 2, 2)  # a Monday
DAYS = 21
SMALL = Population(cards=300, terminals=120)
BUSY = Population(cards=1_500, transactions_per_card=10)  # trips without a purchase at either end prove nothing


@pytest.fixture(scope="module")
def transactions():
    """Three weeks at the default size, with the scenario of each ("" if honest) and the minutes since the first midnight."""
    days = [generate_day(7, START + timedelta(days=number), Population()) for number in range(DAYS)]
    events = pd.concat([day.events.to_pandas() for day in days], ignore_index=True)
    labels = pd.concat([day.labels.to_pandas() for day in days])
    events["scenario"] = events["transaction_id"].map(labels.set_index("event_id")["scenario"]).fillna("")
    events["minute"] = (events["event_time"] - pd.Timestamp(START, tz="UTC")).dt.total_seconds() / 60
    events["day"] = events["event_time"].dt.date
    return events


@pytest.fixture(scope="module")
def in_shops(transactions):
    """Card-present transactions with the speed (km/h) and distance (km) from the card's one before."""
    rows = transactions[transactions["latitude"].notna()].sort_values(["card_id", "event_time"])
    before = rows.groupby("card_id")[["latitude", "longitude", "minute"]].shift()
    km = distance_km(rows["latitude"], rows["longitude"], before["latitude"], before["longitude"])
    return rows.assign(km=km, km_per_hour=km / ((rows["minute"] - before["minute"]) / 60).clip(lower=1 / 60))


def successive(rows, world):
    """Purchases with distance (km) and speed (km/h) from the card's one before."""
    rows = rows.sort_values(["card", "hour"])
    rows = rows.assign(latitude=world.latitude[rows["terminal"]], longitude=world.longitude[rows["terminal"]])
    before = rows.groupby("card")[["latitude", "longitude", "hour"]].shift()
    km = distance_km(rows["latitude"], rows["longitude"], before["latitude"], before["longitude"])
    return rows.assign(km=km, km_per_hour=km / (rows["hour"] - before["hour"]))


def digest(chunks):
    summed = hashlib.sha256()
    for chunk in chunks:
        for key, value in zip(chunk.messages.keys, chunk.messages.values, strict=True):
            summed.update(key + b"\0" + value + b"\n")
    return summed.hexdigest()


def all_messages(chunks):
    return sorted(value for chunk in chunks for value in chunk.messages.values)


def transactions_of(transactions, scenario):
    return transactions[transactions["scenario"] == scenario]


def best_recall(amounts, is_fraud, precision):
    """Highest recall of "amount above t" over all t at which the precision is reached."""
    frauds_above = is_fraud[np.argsort(-amounts, kind="stable")].cumsum()
    return (frauds_above / is_fraud.sum())[frauds_above / np.arange(1, len(frauds_above) + 1) >= precision].max(initial=0)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others():
    assert digest(VERTICAL.generate(1, START, 3, SMALL)) == digest(VERTICAL.generate(1, START, 3, SMALL))
    assert digest(VERTICAL.generate(1, START, 3, SMALL)) != digest(VERTICAL.generate(2, START, 3, SMALL))


def test_chunking_changes_no_message():
    halves = [*VERTICAL.generate(1, START, 2, SMALL), *VERTICAL.generate(1, START + timedelta(days=2), 2, SMALL)]
    assert all_messages(VERTICAL.generate(1, START, 4, SMALL)) == all_messages(halves)


def test_a_day_needs_no_day_before_it():
    alone = generate_day(1, START + timedelta(days=57), SMALL)
    *_, in_turn = (generate_day(1, START + timedelta(days=number), SMALL) for number in range(58))
    assert alone.events.equals(in_turn.events)
    assert alone.labels.equals(in_turn.labels)


def test_dirt_changes_nothing_about_the_valid_events():
    for clean, dirty in zip(
        VERTICAL.generate(1, START, 2, SMALL, dirt=False), VERTICAL.generate(1, START, 2, SMALL), strict=True
    ):
        assert clean.events.equals(dirty.events)
        assert clean.messages.values.tolist() == dirty.messages.values[dirty.messages.flaw == ""].tolist()


def test_dirt_breaks_some_messages_and_repeats_some():
    flaws = {flaw for chunk in VERTICAL.generate(1, START, 5, SMALL) for flaw in chunk.messages.flaw}
    assert "duplicate" in flaws and len(flaws & set(FLAWS)) >= 4


def test_messages_say_what_the_columns_say():
    chunk, *_ = VERTICAL.generate(1, START, 1, SMALL, dirt=False)
    expected = {event["transaction_id"]: event for event in chunk.events.to_pylist()}
    for key, value in zip(chunk.messages.keys, chunk.messages.values, strict=True):
        event = json.loads(value)
        row = expected[event["transaction_id"]]
        assert key.decode() == event["card_id"]
        assert event | {"event_time": None} == row | {"event_time": None}
        assert event["event_time"] == row["event_time"].isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_columns_are_those_of_the_schema_in_its_order():
    assert generate_day(1, START, SMALL).events.column_names == EVENT_SCHEMA.names


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    day=st.dates(date(2020, 1, 1), date(2040, 1, 1)),
    cards=st.integers(20, 200),
    rate=st.floats(0.001, 5),
    fraud=st.floats(0, 10),
)
def test_any_population_makes_valid_days(seed, day, cards, rate, fraud):
    chunk = generate_day(seed, day, Population(cards=cards, terminals=100, transactions_per_card=rate, fraud=fraud))
    events = chunk.events.to_pandas()
    assert events["transaction_id"].is_unique
    assert (events["event_time"].dt.date == day).all()
    assert events["amount"].between(0.5, 1_000_000).all()
    assert set(events["channel"]) <= set(CHANNELS)
    assert (events["latitude"].isna() == (events["channel"] == "online")).all()
    assert (chunk.arrival_time >= chunk.events["event_time"].to_numpy()).all()
    assert len(chunk.arrival_time) == len(events)


def test_without_fraud_there_is_no_label():
    assert generate_day(1, START, Population(cards=2_000, fraud=0)).labels.num_rows == 0


def test_identifiers_are_unique_and_sort_by_time(transactions):
    assert transactions["transaction_id"].is_unique
    assert transactions["transaction_id"].is_monotonic_increasing
    assert transactions["event_time"].is_monotonic_increasing


def test_each_label_names_an_event_of_its_day_and_is_known_a_week_later():
    chunk = generate_day(7, START, Population())
    events = chunk.events.to_pandas().rename(columns={"transaction_id": "event_id"})
    labels = chunk.labels.to_pandas().merge(events, on="event_id", suffixes=("", "_event"))
    assert len(labels) == chunk.labels.num_rows > 0
    assert (labels["entity_id"] == labels["card_id"]).all()
    assert (labels["event_time"] == labels["event_time_event"]).all()
    assert (labels["known_time"] - labels["event_time"] == pd.Timedelta(days=7)).all()


def test_about_one_in_a_hundred_is_fraud_and_each_scenario_has_five_cases_a_day(transactions):
    assert 0.008 < (transactions["scenario"] != "").mean() < 0.016
    frauds = transactions[transactions["scenario"] != ""]
    case = frauds["card_id"].where(frauds["scenario"] != "compromised_terminal", frauds["terminal_id"])
    cases = case.groupby([frauds["scenario"], frauds["day"]]).nunique().unstack(fill_value=0)
    assert set(cases.index) == set(SCENARIO_NAMES)
    assert cases.min().min() >= 4
    assert cases.mean(axis=1).min() >= 5


def test_the_night_is_quiet_and_the_weekend_is_different(transactions):
    london = transactions[(transactions["currency"] == "GBP") & (transactions["scenario"] == "")]
    hours = london["event_time"].dt.hour.value_counts().sort_index()
    assert hours.loc[2:4].mean() < 0.25 * hours.loc[17:19].mean()
    by_weekday = transactions.groupby(transactions["event_time"].dt.weekday).size()
    assert by_weekday.idxmin() == 6
    assert by_weekday.loc[4:5].min() > 1.05 * by_weekday.loc[0:2].max()


def test_a_year_brings_growth_inflation_and_more_online_purchases():
    world = Population(fraud=0, opening=date(2026, 1, 1))
    first, later = (generate_day(7, day, world).events.to_pandas() for day in (date(2026, 1, 7), date(2029, 1, 10)))
    assert len(later) / len(first) == pytest.approx(1.15**3, rel=0.06)
    assert later["amount"].median() / first["amount"].median() == pytest.approx(1.03**3, rel=0.08)
    assert ((later["channel"] == "online").mean() - (first["channel"] == "online").mean()) == pytest.approx(0.15, abs=0.03)


def test_no_amount_threshold_tells_fraud(transactions):
    amounts, scenario = transactions["amount"].to_numpy(), transactions["scenario"].to_numpy()
    assert best_recall(amounts, scenario != "", 0.8) < 0.1
    assert best_recall(-amounts, scenario != "", 0.8) < 0.2
    for name in SCENARIO_NAMES:
        assert best_recall(amounts, scenario == name, 0.8) < 0.5, name


def test_large_amounts_are_large_for_their_card_yet_some_honest_ones_are_too(transactions):
    usual = transactions[transactions["scenario"] == ""].groupby("card_id")["amount"].mean()
    ratio = transactions["amount"] / transactions["card_id"].map(usual)
    assert (ratio[transactions["scenario"] == "large_amount"] > 3).mean() > 0.9
    world = world_of(7, Population())
    steady = transactions["card_id"].isin(world.card_id[world.sigma < 0.3]) & (transactions["scenario"] == "")
    assert (ratio[steady] > 3).mean() > 0.0002  # habit alone hardly ever gets there


def test_a_compromised_terminal_stays_so_for_weeks_and_never_longer_than_four(transactions):
    frauds = transactions_of(transactions, "compromised_terminal")
    days = frauds.groupby("terminal_id")["day"].agg(lambda day: (max(day) - min(day)).days + 1)
    assert days.max() <= 28
    assert (days >= 14).sum() >= 3
    everyday = transactions[transactions["terminal_id"].isin(days.index[days >= 18])]
    assert (everyday["scenario"] == "compromised_terminal").mean() > 0.5


def test_a_leaked_card_has_larger_amounts_on_a_third_of_its_transactions_for_two_weeks(transactions):
    frauds = transactions_of(transactions, "leaked_card")
    assert frauds.groupby("card_id")["day"].agg(lambda day: (max(day) - min(day)).days + 1).max() <= 14
    honest = transactions[transactions["scenario"] == ""].groupby("card_id")["amount"].mean()
    assert 2.5 < (frauds["amount"] / frauds["card_id"].map(honest)).median() < 6
    spans = frauds.groupby("card_id")["day"].agg(["min", "max"])
    theirs = transactions.join(spans, on="card_id")
    within = theirs[theirs["day"].between(theirs["min"], theirs["max"]) & theirs["scenario"].isin(["", "leaked_card"])]
    assert 0.3 < (within["scenario"] == "leaked_card").mean() < 0.55  # above a third: spans begin and end with a fraud


def test_card_testing_is_six_to_twenty_tiny_amounts_within_minutes(transactions):
    frauds = transactions_of(transactions, "card_testing")
    bursts = frauds.groupby(["card_id", "day"])
    assert bursts.size().between(6, 20).all()
    assert (bursts["minute"].max() - bursts["minute"].min()).max() <= 8
    assert frauds["amount"].max() < 5
    assert 0.7 < (frauds["channel"] == "online").mean() < 1


def test_velocity_is_six_or_more_ordinary_amounts_within_twenty_minutes(transactions):
    frauds = transactions_of(transactions, "velocity")
    bursts = frauds.groupby(["card_id", "day"])
    assert bursts.size().between(6, 12).all()
    assert (bursts["minute"].max() - bursts["minute"].min()).max() <= 20
    assert frauds["amount"].median() == pytest.approx(transactions_of(transactions, "")["amount"].median(), rel=0.25)


def test_impossible_travel_is_faster_than_any_airliner(in_shops):
    frauds = transactions_of(in_shops, "impossible_travel")
    assert (frauds["km"] > 2_900).mean() > 0.97  # now and then a purchase of the same card abroad lies between
    assert (frauds["km_per_hour"] > 900).mean() > 0.97


def test_trips_are_made_at_a_plausible_speed():
    world = world_of(7, BUSY)
    rows = []
    for number in range(DAYS):
        today = Day(world, START + timedelta(days=number), 7, fraud=0)
        purchases = pd.DataFrame(with_trips(today, honest_purchases(today, BUSY)))
        rows.append(purchases[world.kind[purchases["terminal"]] != ONLINE].assign(hour=number * 24 + purchases["second"] / 3600))
    moves = successive(pd.concat(rows), world)
    far = moves[moves["km"] > 200]
    assert len(far) > 50
    assert far["km_per_hour"].max() < 900


def test_few_honest_cards_seem_to_fly_impossibly_fast(in_shops):
    untouched = in_shops[in_shops.groupby("card_id")["scenario"].transform("max") == ""]
    lent = (untouched["km"] > 200) & (untouched["km_per_hour"] > 900)
    assert 0.8 * DAYS < lent.sum() < 2 * 2.5 * DAYS  # there and back, for about 1.5 a day


def test_innocent_bursts_look_like_the_frauds(transactions):
    honest = transactions[transactions["scenario"] == ""].sort_values(["card_id", "minute"])
    tiny = honest[honest["amount"] < 5]
    five_in_twenty_minutes = tiny.groupby("card_id")["minute"].diff(4) <= 20
    assert DAYS < five_in_twenty_minutes.sum() < 15 * DAYS
