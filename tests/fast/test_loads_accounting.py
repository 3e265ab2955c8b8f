"""What a load test counts: which process sends what, precision and recall, the tool's own pace, and lag from checkpoints."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import date

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.runtime import population_of
from common.vertical import Scenario
from loadtests.feed import EntitySlice, Feed
from loadtests.objectives import LoadFigures, check_objectives
from loadtests.options import OptionError, make_plan
from loadtests.planned_rate import Pace
from loadtests.query_lag import (
    EXACT_LAG_SECONDS,
    AtMost,
    LagTracker,
    QueryPosition,
    compute_lag,
    format_lag,
    greatest_lag,
    read_position,
    read_positions,
)
from loadtests.resume_day import WAIT_SECONDS, read_next_day
from loadtests.scores import Scores
from loadtests.system_page import HEIGHT, render_page

DAY = date(2020, 2, 15)
SCENARIOS = [Scenario("burst", ("velocity",), None), Scenario("copy", ("travel", "region"), None)]


@pytest.fixture(scope="module")
def telecom():
    return find_vertical("telecom_anomaly")


def chunks(vertical):
    return vertical.generate(1, DAY, 2, population_of(vertical, **vertical.small), True)


@pytest.fixture(scope="module")
def first_day(telecom):
    """The first day, as the generator makes it."""
    return next(chunks(telecom))


def take_all(vertical, owner, turns, at_a_time):
    feed = Feed(chunks(vertical), owner)
    feed.wait_until_ready()
    takes = [feed.take(at_a_time) for _ in range(turns // at_a_time)]
    return [record for records, _ in takes for record in records], [label for _, labels in takes for label in labels]


def test_processes_together_send_the_simulation_once_and_each_entity_comes_from_one(telecom, first_day):
    count = len(first_day.messages) - len(first_day.messages) % 3
    shares = [take_all(telecom, EntitySlice(index, 3), count // 3, at_a_time=1) for index in range(3)]
    sent = Counter(record.value for records, _ in shares for record in records)
    assert sent == Counter(first_day.messages.values[:count].tolist())
    keys = [{record.key for record in records} for records, _ in shares]
    assert all(keys) and not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]


def test_labels_are_sent_once_and_not_before_the_simulation_has_come_to_their_event(telecom, first_day):
    feed, arrival_times, sent = Feed(chunks(telecom), EntitySlice(0, 1)), iter(first_day.messages.arrival_time), Counter()
    for _ in range(len(first_day.messages)):
        _, labels = feed.take(1)
        now = next(arrival_times)
        for label in labels:
            row = orjson.loads(label.value)
            sent[row["event_id"]] += 1
            assert np.datetime64(row["event_time"].removesuffix("Z")) <= now or sum(sent.values()) > len(first_day.labels) - 3
    assert sent == Counter(first_day.labels["event_id"].to_pylist())


def test_broken_events_are_marked_and_repeated_ones_are_not(telecom, first_day):
    records, _ = take_all(telecom, EntitySlice(0, 1), len(first_day.messages), at_a_time=7)
    flaws = Counter(first_day.messages.flaw[: len(records)].tolist())
    assert sum(record.is_flawed for record in records) == flaws.total() - flaws[""] - flaws["duplicate"] > 0


def test_a_case_is_found_by_a_rule_meant_for_it_whichever_comes_first():
    scores = Scores(SCENARIOS)
    scores.add_label("e1", "burst", "c1")
    scores.add_label("e2", "burst", "c1")
    scores.add_alert("a1", "travel", '["e1","e9"]')  # right, yet not meant for bursts
    assert (scores.recall, scores.precision) == (0.0, 1.0)
    scores.add_alert("a2", "velocity", '["e2"]')
    assert scores.recall == 1.0
    scores.add_alert("a3", "region", "e3")  # before its label
    assert scores.precision == pytest.approx(2 / 3)
    scores.add_label("e3", "copy", "c2")
    assert (scores.recall, scores.precision) == (1.0, 1.0)
    assert scores.detected_cases == {"burst": 1, "copy": 1}


def test_updates_of_an_alert_count_once_and_any_of_them_may_make_it_right():
    scores = Scores(SCENARIOS)
    for event in ('["e1"]', '["e1","e2"]', '["e1","e2","e3"]'):
        scores.add_alert("a1", "velocity", event)
    assert (scores.alerts.total(), scores.precision) == (1, 0.0)
    scores.add_label("e3", "burst", "c1")
    scores.add_label("e1", "burst", "c1")
    assert (scores.alerts.total(), scores.right_alerts.total(), scores.cases.total(), scores.recall) == (1, 1, 1, 1.0)


def test_without_labels_or_alerts_nothing_is_claimed():
    scores = Scores(SCENARIOS)
    assert scores.recall is None and scores.precision is None


def test_memory_is_bounded_and_what_is_dropped_keeps_its_count():
    scores = Scores(SCENARIOS, capacity=10)
    for number in range(1_000):
        scores.add_label(f"e{number}", "burst", f"c{number}")
        scores.add_alert(f"a{number}", "velocity", f'["e{number}","x{number}"]')
    assert scores.cases.total() == scores.detected_cases.total() == scores.right_alerts.total() == 1_000
    entries = (scores._case_by_event, scores._is_detected, scores._is_right, scores._unlabelled_events)
    assert all(len(recent) <= 10 for recent in entries)


@pytest.mark.parametrize(
    ("event_id", "scenario", "case_id"),
    [([], "burst", "c"), ("e", {}, "c"), ("e", "burst", ["c"]), (None, "burst", "c"), ("e", None, "c"), ("e", "burst", 1)],
)
def test_an_odd_label_is_not_counted(event_id, scenario, case_id):
    scores = Scores(SCENARIOS)
    with pytest.raises(TypeError):
        scores.add_label(event_id, scenario, case_id)
    assert not scores.cases and not scores._is_detected


@pytest.mark.parametrize(
    ("alert_id", "rule", "event"),
    [([], "velocity", "e"), ("a", {}, "e"), ("a", "velocity", None), ("a", "velocity", "[1"), ("a", "velocity", '["e", []]')],
)
def test_an_odd_alert_is_not_counted(alert_id, rule, event):
    scores = Scores(SCENARIOS)
    with pytest.raises((TypeError, ValueError)):
        scores.add_alert(alert_id, rule, event)
    assert not scores.alerts and not scores._is_right and not scores._unlabelled_events


MEASURING = """
from collections import deque
from types import SimpleNamespace
from loadtests.alert_reader import Alert, Label
from loadtests.scores import Scores
from loadtests.system_monitor import SystemMonitor

records = [Label([], "s", "c"), Label("e1", "s", "c1"), Alert("a", "r", "[", 2.0, 1.0), Alert("a", "r", "e1", 2.0, 1.0)]
row = SimpleNamespace(log=lambda *_: None)
monitor = SystemMonitor.__new__(SystemMonitor)
monitor._reader = SimpleNamespace(unreadable_records=0, take=lambda: records)
monitor._environment = SimpleNamespace(stats=SimpleNamespace(get=lambda *_: row))
monitor.scores, monitor.started_at, monitor._latencies = Scores([]), 0.0, deque()
monitor._count_alerts()
print(monitor.unreadable_records, monitor.scores.cases.total(), monitor.scores.precision, len(monitor._latencies))
"""


def test_odd_records_end_no_measuring():
    """In a process of its own: locust puts gevent in the place of sockets and threads."""
    measured = subprocess.run([sys.executable, "-c", MEASURING], capture_output=True, text=True, check=False)
    assert measured.stdout == "2 1 1.0 1\n", measured.stderr


def test_what_is_no_label_at_the_end_of_the_topic_is_passed_over(mock_kafka):
    vertical = find_vertical("finance_fraud")
    topic = topic_names(vertical).labels
    with Producer(mock_kafka) as producer:
        for day in range(1, 30):
            producer.send(topic, b"k", b'{"event_time": "2020-02-%02dT10:00:00.000Z"}' % day)
        for value in (None, b"", b"{", b"[]", b"1", b'{"event_time": 5}', b'{"event_time": "soon"}', b"{}"):
            producer.send(topic, b"k", value)
    started_at = time.monotonic()
    assert read_next_day(mock_kafka, vertical) == date(2020, 3, 3)
    assert time.monotonic() - started_at < WAIT_SECONDS / 2


def test_without_a_label_there_is_no_next_day(mock_kafka):
    vertical = find_vertical("finance_fraud")
    with Producer(mock_kafka) as producer:
        producer.send(topic_names(vertical).labels, b"k", None)
    assert read_next_day(mock_kafka, vertical) is None


def test_the_pace_is_what_was_sent_of_what_was_planned_in_whole_seconds():
    pace = Pace()
    for second, rate in ((100, 500), (101, 500), (104, 1_000), (105, 1_000), (106, 0)):
        pace.plan(rate, now=second + 0.3)
    sent = {101: 20, 102: 900, 103: 450, 104: 900, 105: 950, 106: 300}
    assert pace.sent_share(sent) == pytest.approx((450 + 900 + 950) / (500 + 1_000 + 1_000))
    assert pace.sent_share(sent, since=105) == pytest.approx(0.95)
    assert pace.sent_share({}) == 0.0
    assert Pace().sent_share({}) is None


def checkpoint(folder, batches, at):
    for name in ("offsets", "commits"):
        (folder / name).mkdir(parents=True)
    for batch, offsets in batches.items():
        sources = "\n".join(json.dumps({"x.events": source}) for source in offsets)
        (folder / "offsets" / str(batch)).write_text(f"v1\n{{}}\n{sources}")
        (folder / "commits" / str(batch)).write_text("v1\n{}")
        os.utime(folder / "commits" / str(batch), (at, at))
    return folder


def test_a_query_has_taken_what_its_last_committed_batch_ended_with(tmp_path):
    folder = checkpoint(tmp_path, {9: [{"0": 5, "1": 5}], 10: [{"0": 70, "1": 20}]}, at=1_000)
    (folder / "offsets" / "11").write_text('v1\n{}\n{"x.events":{"0":99,"1":99}}')  # planned, not ended
    position = read_position(folder, "x.events")
    assert (position.offsets, position.time) == ({0: 70, 1: 20}, 1_000)
    assert read_position(tmp_path / "none", "x.events") is None
    assert read_position(folder, "other") is None


def test_a_query_that_never_ran_is_the_one_that_is_furthest_behind(tmp_path):
    real_time, lags = {"archive-events": False, "detect": True}, LagTracker(started_at=0)
    assert read_positions(tmp_path, "x.events", real_time) == {}
    checkpoint(tmp_path / "archive-events", {0: [{"0": 24_190}]}, at=9.5)
    lags.update(10, {0: 24_203}, read_positions(tmp_path, "x.events", real_time))
    figures = LoadFigures(lag_records=greatest_lag(lags.newest_lags(11).values()))
    assert isinstance(figures.lag_records, AtMost) and figures.lag_records == 24_203
    [result] = check_objectives(LoadFigures(lag_records=20_000), figures)
    assert not result.is_met and "unknown" in result.text


def test_of_two_sources_the_slower_counts(tmp_path):
    assert read_position(checkpoint(tmp_path, {0: [{"0": 70}, {"0": 60}]}, at=1), "x.events").offsets == {0: 60}


def test_what_runs_in_micro_batches_has_taken_what_its_batches_ended_with(tmp_path):
    position = read_position(checkpoint(tmp_path, {0: [{"0": 900}]}, at=1_010), "x.events")
    for now in (1_011, 5_000):
        behind = compute_lag({0: 1_000, 1: 50}, position, last_update=now - 1, is_real_time=False)
        assert (behind, isinstance(behind, AtMost)) == (150, False)


def test_the_lag_of_a_real_time_query_is_known_when_a_batch_has_just_ended_and_not_in_between(tmp_path):
    position = read_position(checkpoint(tmp_path, {0: [{"0": 900}]}, at=1_010), "x.events")
    ended_now = compute_lag({0: 1_000}, position, last_update=1_009.2, is_real_time=True)
    assert (ended_now, isinstance(ended_now, AtMost)) == (100, False)
    later = compute_lag({0: 24_203}, position, last_update=1_011, is_real_time=True)
    assert (later, isinstance(later, AtMost)) == (23_303, True)
    assert not isinstance(compute_lag({0: 900}, position, last_update=1_500, is_real_time=True), AtMost), "nothing has come since"


def test_before_its_first_batch_has_ended_a_real_time_query_may_lack_all_there_is(tmp_path):
    (tmp_path / "metadata").touch()
    position = read_position(tmp_path, "x.events")
    behind = compute_lag({0: 5_000}, position, last_update=position.time - 1, is_real_time=True)
    assert (behind, isinstance(behind, AtMost)) == (5_000, True)
    assert isinstance(compute_lag({0: 5_000}, None, last_update=0, is_real_time=False), AtMost)


@given(ends=st.integers(0, 10_000), taken_by_commit=st.integers(0, 10_000), more=st.integers(0, 10_000), fresh=st.booleans())
def test_a_lag_that_is_told_as_known_is_what_a_query_lacks_and_another_is_no_less(ends, taken_by_commit, more, fresh):
    """more: what a real-time query has taken since its last batch ended, of what there is."""
    taken_by_commit = min(ends, taken_by_commit)
    position = taken_by_commit if fresh else min(ends, taken_by_commit + more)
    committed = QueryPosition({0: taken_by_commit}, 1_010.0)
    behind = compute_lag({0: ends}, committed, last_update=1_009.0 if fresh else 1_011.0, is_real_time=True)
    assert behind >= ends - position
    assert isinstance(behind, AtMost) or behind == ends - position


def test_what_was_known_of_a_real_time_query_counts_for_a_minute_and_idleness_before_the_load_does_not():
    lags, offsets = LagTracker(started_at=1_000), {0: 900}
    idle = {"q": (QueryPosition(offsets, 500.0), True)}
    lags.update(1_001, {0: 900}, idle)
    assert lags.newest_lags(1_001) == {"q": 0}
    lags.update(1_010, {0: 12_992}, idle)
    assert isinstance(lags.newest_lags(1_010)["q"], AtMost), "it may not even run"
    assert lags.newest_lags(1_010 + EXACT_LAG_SECONDS + 1) == {}, "nobody looked for so long"
    lags.update(1_011, {0: 13_000}, {"q": (QueryPosition({0: 12_950}, 1_010.5), True)})
    for second in range(1_012, 1_100):
        lags.update(second, {0: 13_000 + second}, {"q": (QueryPosition({0: 12_950}, 1_010.5), True)})
        [newest] = lags.newest_lags(second).values()
        assert (newest, isinstance(newest, AtMost)) == ((50, False) if second <= 1_071 else (50 + second, True))


def test_the_query_that_is_furthest_behind_may_be_one_of_which_that_is_not_known():
    assert greatest_lag([]) is None
    assert isinstance(greatest_lag([5, AtMost(9), 7]), AtMost)
    assert not isinstance(greatest_lag([12, AtMost(9)]), AtMost)
    assert isinstance(greatest_lag([9, AtMost(9)]), AtMost)
    assert (format_lag(AtMost(24_203)), format_lag(24_203)) == ("unknown, at most 24,203", "24,203")


def test_the_page_draws_each_figure_as_far_as_it_is_known():
    drawn = render_page([{"time": 1.0, "LAG a<b": 50.0}, {"time": 2.0, "LAG a<b": 200.0, "SEEN alerts": 3.0}])
    assert drawn.count("<polyline") == 2
    assert 'points="0.0,90.0 560.0,0.0"' in drawn
    assert "LAG a&lt;b: 200 now, 200 at most" in drawn and "a<b" not in drawn
    assert "Nothing is watched yet" in render_page([])


@given(st.lists(st.floats(0, 1e7) | st.just(0.0), min_size=1, max_size=30))
def test_the_page_never_says_more_at_most_than_there_ever_was_nor_less_than_now(values):
    drawn = render_page([{"time": float(second), "LAG q": value} for second, value in enumerate(values)])
    now, most = re.search(r"LAG q: ([\d,]+) now, ([\d,]+) at most", drawn).groups()
    assert (now, most) == (f"{values[-1]:,.0f}", f"{max(values):,.0f}")
    assert "nan" not in drawn and "inf" not in drawn
    heights = [float(point.split(",")[1]) for point in re.search('points="([^"]+)"', drawn)[1].split()]
    assert all(0 <= height <= HEIGHT for height in heights)


class Options:
    vertical, via, shape, rate, low_rate, duration, step = "finance_fraud", "kafka", "ramp", 1_000.0, 0.0, "2m", "30s"
    per_user, batch, seed, first_day, warm_up, settle = 500.0, 1, 1, "", "0s", "10s"
    no_watch, objectives, data, bootstrap_servers = False, "o.toml", "", ""


def test_options_make_a_plan_and_a_wrong_one_is_named():
    plan = make_plan(Options())
    assert (plan.low_rate, plan.duration_seconds, plan.per_user, plan.warm_up_seconds, plan.watch) == (100, 120, 100, 0, True)
    for name, value, option in (("duration", "soon", "--duration"), ("first_day", "1st", "--first-day"), ("rate", 0.0, "--rate")):
        wrong = Options()
        setattr(wrong, name, value)
        with pytest.raises(OptionError, match=option):
            make_plan(wrong)
