"""The simulated network: repeatable, seasonal, growing, with faults that their labels name and innocent look-alikes."""

import hashlib
import json
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from common.simulation.dirt import FLAWS
from telecom_anomaly import VERTICAL
from telecom_anomaly.detector import SCENARIOS
from telecom_anomaly.events import EVENT_SCHEMA, GRANULARITY_S, MEASUREMENTS
from telecom_anomaly.generator import generate_day
from telecom_anomaly.settings import Population
from telecom_anomaly.simulation.population import CELLS_PER_SITE, PERIODS, world_of
from telecom_anomaly.simulation.scenarios import DRIFT, DRIFT_SHOWS, FAULT_KINDS

START = date(2020, 3, 2)
SMALL = Population(sites=8)
DAYS = 14


@pytest.fixture(scope="module")
def reports():
    """Fourteen days of the default network with `scenario` and `case` ("" where nothing is labelled)."""
    days = [generate_day(7, START + timedelta(days=number), Population()) for number in range(DAYS)]
    events = pd.concat([day.events.to_pandas() for day in days], ignore_index=True)
    labels = pd.concat([day.labels.to_pandas() for day in days]).set_index("event_id")
    assert labels.index.is_unique
    events["scenario"] = events["report_id"].map(labels["scenario"]).fillna("")
    events["case"] = events["report_id"].map(labels["case_id"]).fillna("")
    events["day"] = events["event_time"].dt.date
    return events


@pytest.fixture(scope="module")
def healthy(reports):
    return reports[(reports["scenario"] == "") & ~reports["suspect_flag"] & (reports["RRU_CellUnavailableTime"] == 0)]


def digest(chunks):
    summed = hashlib.sha256()
    for chunk in chunks:
        for key, value in zip(chunk.messages.keys, chunk.messages.values, strict=True):
            summed.update(key + b"\0" + value + b"\n")
    return summed.hexdigest()


def against_others(reports, name, scenario):
    """Median of a measurement in a fault over the same cells' median at the same time of day without one."""
    faulty = reports[reports["scenario"] == scenario]
    time = reports["event_time"].dt.time
    usual = reports[reports["scenario"] == ""].groupby([reports["cell_id"], time])[name].median().rename("usual")
    joined = faulty.assign(time=time).join(usual, on=["cell_id", "time"])
    return (joined[name] / joined["usual"].clip(lower=1e-9)).median()


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others():
    assert digest(VERTICAL.generate(1, START, 3, SMALL)) == digest(VERTICAL.generate(1, START, 3, SMALL))
    assert digest(VERTICAL.generate(1, START, 3, SMALL)) != digest(VERTICAL.generate(2, START, 3, SMALL))


def test_a_day_needs_no_day_before_it():
    alone = generate_day(1, START + timedelta(days=9), SMALL)
    *_, in_turn = (generate_day(1, START + timedelta(days=number), SMALL) for number in range(10))
    assert alone.events.equals(in_turn.events) and alone.labels.equals(in_turn.labels)


def test_dirt_breaks_some_messages_repeats_some_and_changes_no_valid_event():
    clean, dirty = ([*VERTICAL.generate(1, START, 3, SMALL, dirt=dirt)] for dirt in (False, True))
    flaws = {flaw for chunk in dirty for flaw in chunk.messages.flaw}
    assert "duplicate" in flaws and len(flaws & set(FLAWS)) >= 4
    valid = [
        sorted(value for chunk in chunks for value in chunk.messages.values[np.isin(chunk.messages.flaw, [""])])
        for chunks in (clean, dirty)
    ]
    assert valid[0] == valid[1]


def test_messages_say_what_the_columns_say():
    chunk, *_ = VERTICAL.generate(1, START, 1, SMALL, dirt=False)
    assert chunk.events.column_names == EVENT_SCHEMA.names
    expected = {event["report_id"]: event for event in chunk.events.to_pylist()}
    for key, value in zip(chunk.messages.keys, chunk.messages.values, strict=True):
        event = json.loads(value)
        row = expected[event["report_id"]]
        assert key.decode() == event["cell_id"] and event | {"event_time": None} == row | {"event_time": None}


def test_measurements_lie_within_their_contract_and_units_travel_in_the_schema(reports):
    for name, unit, highest in MEASUREMENTS:
        assert reports[name].between(0, highest).all(), name
        assert EVENT_SCHEMA[name].metadata == {"unit": unit, "measurement": name.replace("_", ".", 1)}
    assert (reports["RRC_ConnEstabSucc"] <= reports["RRC_ConnEstabAtt"]).all()
    assert reports["report_id"].is_unique and reports["event_time"].is_monotonic_increasing


def test_the_network_has_hours_weekends_and_growth(healthy):
    by_hour = healthy.groupby(healthy["event_time"].dt.hour)["RRU_PrbTotDl"].mean()
    assert by_hour.loc[2:4].max() < 0.35 * by_hour.loc[17:19].min()
    world = world_of(7, Population())
    offices = healthy[healthy["cell_id"].isin(world.cell_id[world.kind == 1])]
    weekend = offices["event_time"].dt.weekday >= 5
    assert offices[weekend]["RRC_ConnMean"].mean() < 0.5 * offices[~weekend]["RRC_ConnMean"].mean()
    calm = Population(fault=0)
    first, later = (
        generate_day(7, day, calm).events.to_pandas()["RRC_ConnMean"].sum() for day in (date(2020, 1, 8), date(2021, 1, 6))
    )
    assert 1.2 < later / first < 1.6


def test_load_makes_a_cell_slow_and_late(healthy):
    full, empty = healthy[healthy["RRU_PrbTotDl"] > 60], healthy[healthy["RRU_PrbTotDl"] < 10]
    cells = sorted(set(full["cell_id"]) & set(empty["cell_id"]))
    slower = full.groupby("cell_id")["DRB_UEThpDl"].median() / empty.groupby("cell_id")["DRB_UEThpDl"].median()
    later = full.groupby("cell_id")["DRB_RlcSduDelayDl"].median() / empty.groupby("cell_id")["DRB_RlcSduDelayDl"].median()
    assert len(cells) > 5 and slower[cells].max() < 0.75 and later[cells].min() > 1.5


def test_every_fault_happens_and_no_scenario_is_unknown(reports):
    names = {DRIFT, *(kind.name for kind in FAULT_KINDS)}
    assert {scenario.name for scenario in SCENARIOS} == names == set(reports["scenario"]) - {""}
    cases = reports[reports["case"] != ""].groupby("scenario")["case"].nunique()
    assert cases.drop("slow_drift").min() >= DAYS  # one and a half a day
    assert 3 <= cases["slow_drift"] < 20
    assert 0.01 < (reports["scenario"] != "").mean() < 0.12


def test_without_faults_there_is_no_label():
    assert generate_day(1, START, Population(fault=0)).labels.num_rows == 0


@pytest.mark.parametrize(
    ("scenario", "name", "low", "high"),
    [
        ("sleeping_cell", "RRC_ConnEstabAtt", 0, 0.2),
        ("site_backhaul", "DRB_RlcSduDelayDl", 2.2, 5.5),
        ("site_backhaul", "RRC_ConnEstabAtt", 0.8, 1.25),
        ("interference", "DRB_PacketLossRateUl", 3.5, 9.5),
        ("interference", "RRU_PrbTotDl", 0.8, 1.25),
        ("congestion", "RRC_ConnMean", 1.4, 2.8),
        ("slow_drift", "DRB_UEThpDl", 0.5, 0.9),
    ],
)
def test_a_fault_changes_what_its_name_says(reports, scenario, name, low, high):
    assert low < against_others(reports, name, scenario) < high


def test_a_backhaul_fault_takes_all_cells_of_its_site(reports):
    cases = reports[reports["scenario"] == "site_backhaul"].groupby("case")
    assert (cases["site_id"].nunique() == 1).all()
    assert (cases["cell_id"].nunique() == CELLS_PER_SITE).mean() > 0.9


def test_a_silent_cell_sends_nothing_after_its_last_labelled_report(reports):
    silent = reports[reports["scenario"] == "silent_cell"]
    shortest = next(kind.duration[0] for kind in FAULT_KINDS if kind.name == "silent_cell")
    for row in silent.itertuples():
        after = reports[(reports["cell_id"] == row.cell_id) & (reports["event_time"] > row.event_time)]["event_time"]
        gap = ((after.min() - row.event_time).total_seconds() / GRANULARITY_S) - 1 if len(after) else PERIODS
        assert gap >= shortest


def test_a_drift_is_labelled_only_once_it_shows(reports):
    drifting = reports[reports["scenario"] == "slow_drift"]
    first = pd.to_datetime(drifting["case"].str.rsplit(":", n=1).str[1])
    age = (pd.to_datetime(drifting["day"]) - first).dt.days
    assert age.min() >= np.log(1 / (1 - DRIFT_SHOWS)) / 0.02 - 1 and age.max() < 28


def test_planned_work_is_suspect_and_never_labelled_as_its_own_fault(reports):
    planned = reports[reports["suspect_flag"]]
    assert len(planned) > 20 and planned["RRU_CellUnavailableTime"].min() > 0
    assert planned["scenario"].isin(["", "slow_drift"]).mean() > 0.9


def test_innocent_reports_look_like_faults(healthy, reports):
    innocent = reports[reports["scenario"] == ""]
    assert (innocent["RRU_CellUnavailableTime"] > 0).sum() > 20
    refused = reports["RRC_ConnEstabAtt"] - reports["RRC_ConnEstabSucc"]
    many = refused[reports["scenario"] == "congestion"].quantile(0.25)
    assert (refused[reports["scenario"] == ""] > many).sum() > 20
    asleep = reports[reports["scenario"] == "sleeping_cell"]
    assert (innocent["RRC_ConnEstabAtt"] < asleep["RRC_ConnEstabAtt"].median()).sum() > 100
