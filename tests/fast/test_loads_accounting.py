"""What a load test counts: which process sends what, precision and recall, the tool's own pace, and lag from checkpoints."""

import json
import os
import re
from collections import Counter
from datetime import date

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.installed import find_vertical
from common.runtime import population_of
from common.vertical import Scenario
from loadtests.feed import Feed, Slice
from loadtests.options import OptionError, plan_of
from loadtests.planned_rate import Pace
from loadtests.query_lag import KNOWN_SECONDS, AtMost, Lags, Taken, furthest, lag, taken, told
from loadtests.scores import Scores
from loadtests.system_page import HEIGHT, page

DAY = date(2020, 2, 15)
SCENARIOS = [Scenario("burst", ("velocity",), None), Scenario("copy", ("travel", "region"), None)]


@pytest.fixture(scope="module")
def telecom():
    return find_vertical("telecom_anomaly")


def chunks(vertical):
    return vertical.generate(1, DAY, 2, population_of(vertical, **vertical.small), True)


@pytest.fixture(scope="module")
def whole(telecom):
    """The first day, as the generator makes it."""
    return next(chunks(telecom))


def all_of(vertical, own, turns, at_a_time):
    feed = Feed(chunks(vertical), own)
    feed.ready()
    taken = [feed.take(at_a_time) for _ in range(turns // at_a_time)]
    return [record for records, _ in taken for record in records], [label for _, labels in taken for label in labels]


def test_processes_together_send_the_simulation_once_and_each_entity_comes_from_one(telecom, whole):
    count = len(whole.messages) - len(whole.messages) % 3
    shares = [all_of(telecom, Slice(index, 3), count // 3, at_a_time=1) for index in range(3)]
    sent = Counter(record.value for records, _ in shares for record in records)
    assert sent == Counter(whole.messages.values[:count].tolist())
    keys = [{record.key for record in records} for records, _ in shares]
    assert all(keys) and not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]


def test_labels_are_told_once_and_not_before_the_simulation_has_come_to_their_event(telecom, whole):
    feed, arrived, told = Feed(chunks(telecom), Slice(0, 1)), iter(whole.messages.arrival_time), Counter()
    for _ in range(len(whole.messages)):
        _, labels = feed.take(1)
        now = next(arrived)
        for label in labels:
            found = orjson.loads(label.value)
            told[found["event_id"]] += 1
            assert np.datetime64(found["event_time"].removesuffix("Z")) <= now or sum(told.values()) > len(whole.labels) - 3
    assert told == Counter(whole.labels["event_id"].to_pylist())


def test_broken_events_are_marked_and_repeated_ones_are_not(telecom, whole):
    records, _ = all_of(telecom, Slice(0, 1), len(whole.messages), at_a_time=7)
    flaws = Counter(whole.messages.flaw[: len(records)].tolist())
    assert sum(record.flawed for record in records) == flaws.total() - flaws[""] - flaws["duplicate"] > 0


def test_a_case_is_found_by_a_rule_meant_for_it_whichever_comes_first():
    scores = Scores(SCENARIOS)
    scores.label("e1", "burst", "c1")
    scores.label("e2", "burst", "c1")
    scores.alert("a1", "travel", '["e1","e9"]')   # right, yet not meant for bursts
    assert (scores.recall, scores.precision) == (0.0, 1.0)
    scores.alert("a2", "velocity", '["e2"]')
    assert scores.recall == 1.0
    scores.alert("a3", "region", "e3")            # before its label
    assert scores.precision == pytest.approx(2 / 3)
    scores.label("e3", "copy", "c2")
    assert (scores.recall, scores.precision) == (1.0, 1.0)
    assert scores.found == {"burst": 1, "copy": 1}


def test_updates_of_an_alert_count_once_and_any_of_them_may_make_it_right():
    scores = Scores(SCENARIOS)
    for event in ('["e1"]', '["e1","e2"]', '["e1","e2","e3"]'):
        scores.alert("a1", "velocity", event)
    assert (scores.alerts.total(), scores.precision) == (1, 0.0)
    scores.label("e3", "burst", "c1")
    scores.label("e1", "burst", "c1")
    assert (scores.alerts.total(), scores.right.total(), scores.cases.total(), scores.recall) == (1, 1, 1, 1.0)


def test_without_labels_or_alerts_nothing_is_claimed():
    scores = Scores(SCENARIOS)
    assert scores.recall is None and scores.precision is None


def test_memory_is_bounded_and_what_is_forgotten_keeps_its_count():
    scores = Scores(SCENARIOS, remembered=10)
    for number in range(1_000):
        scores.label(f"e{number}", "burst", f"c{number}")
        scores.alert(f"a{number}", "velocity", f'["e{number}","x{number}"]')
    assert scores.cases.total() == scores.found.total() == scores.right.total() == 1_000
    assert all(len(kept) <= 10 for kept in (scores._labelled, scores._cases, scores._alerts, scores._named))


def test_the_pace_is_what_was_sent_of_what_was_planned_in_whole_seconds():
    pace = Pace()
    for second, rate in ((100, 500), (101, 500), (104, 1_000), (105, 1_000), (106, 0)):
        pace.plan(rate, now=second + 0.3)
    sent = {101: 20, 102: 900, 103: 450, 104: 900, 105: 950, 106: 300}
    assert pace.share(sent) == pytest.approx((450 + 900 + 950) / (500 + 1_000 + 1_000))
    assert pace.share(sent, since=105) == pytest.approx(0.95)
    assert pace.share({}) == 0.0
    assert Pace().share({}) is None


def checkpoint(folder, batches, at):
    for name in ("offsets", "commits"):
        (folder / name).mkdir(parents=True)
    for batch, offsets in batches.items():
        (folder / "offsets" / str(batch)).write_text("v1\n{}\n" + "\n".join(json.dumps({"x.events": each}) for each in offsets))
        (folder / "commits" / str(batch)).write_text("v1\n{}")
        os.utime(folder / "commits" / str(batch), (at, at))
    return folder


def test_a_query_has_taken_what_its_last_committed_batch_ended_with(tmp_path):
    folder = checkpoint(tmp_path, {9: [{"0": 5, "1": 5}], 10: [{"0": 70, "1": 20}]}, at=1_000)
    (folder / "offsets" / "11").write_text('v1\n{}\n{"x.events":{"0":99,"1":99}}')  # planned, not ended
    found = taken(folder, "x.events")
    assert (found.offsets, found.at) == ({0: 70, 1: 20}, 1_000)
    assert taken(tmp_path / "none", "x.events") is None
    assert taken(folder, "other") is None


def test_of_two_sources_the_slower_counts(tmp_path):
    assert taken(checkpoint(tmp_path, {0: [{"0": 70}, {"0": 60}]}, at=1), "x.events").offsets == {0: 60}


def test_what_runs_in_micro_batches_has_taken_what_its_batches_ended_with(tmp_path):
    query = taken(checkpoint(tmp_path, {0: [{"0": 900}]}, at=1_010), "x.events")
    for now in (1_011, 5_000):
        behind = lag({0: 1_000, 1: 50}, query, looked=now - 1, is_real_time=False)
        assert (behind, isinstance(behind, AtMost)) == (150, False)


def test_the_lag_of_a_real_time_query_is_known_when_a_batch_has_just_ended_and_not_in_between(tmp_path):
    query = taken(checkpoint(tmp_path, {0: [{"0": 900}]}, at=1_010), "x.events")
    ended_now = lag({0: 1_000}, query, looked=1_009.2, is_real_time=True)
    assert (ended_now, isinstance(ended_now, AtMost)) == (100, False)
    later = lag({0: 24_203}, query, looked=1_011, is_real_time=True)
    assert (later, isinstance(later, AtMost)) == (23_303, True)
    assert not isinstance(lag({0: 900}, query, looked=1_500, is_real_time=True), AtMost), "nothing has come since"


def test_before_its_first_batch_has_ended_a_real_time_query_may_lack_all_there_is(tmp_path):
    (tmp_path / "metadata").touch()
    query = taken(tmp_path, "x.events")
    behind = lag({0: 5_000}, query, looked=query.at - 1, is_real_time=True)
    assert (behind, isinstance(behind, AtMost)) == (5_000, True)
    assert isinstance(lag({0: 5_000}, None, looked=0, is_real_time=False), AtMost)


@given(ends=st.integers(0, 10_000), taken_by_commit=st.integers(0, 10_000), more=st.integers(0, 10_000), fresh=st.booleans())
def test_a_lag_that_is_told_as_known_is_what_a_query_lacks_and_another_is_no_less(ends, taken_by_commit, more, fresh):
    """more: what a real-time query has taken since its last batch ended, of what there is."""
    taken_by_commit = min(ends, taken_by_commit)
    position = taken_by_commit if fresh else min(ends, taken_by_commit + more)
    found = lag({0: ends}, Taken({0: taken_by_commit}, 1_010.0), looked=1_009.0 if fresh else 1_011.0, is_real_time=True)
    assert found >= ends - position
    assert isinstance(found, AtMost) or found == ends - position


def test_what_was_known_of_a_real_time_query_counts_for_a_minute_and_idleness_before_the_load_does_not():
    lags, offsets = Lags(began=1_000), {0: 900}
    idle = {"q": (Taken(offsets, 500.0), True)}
    lags.look(1_001, {0: 900}, idle)
    assert lags.newest(1_001) == {"q": 0}
    lags.look(1_010, {0: 12_992}, idle)
    assert isinstance(lags.newest(1_010)["q"], AtMost), "it may not even run"
    assert lags.newest(1_010 + KNOWN_SECONDS + 1) == {}, "nobody looked for so long"
    lags.look(1_011, {0: 13_000}, {"q": (Taken({0: 12_950}, 1_010.5), True)})
    for second in range(1_012, 1_100):
        lags.look(second, {0: 13_000 + second}, {"q": (Taken({0: 12_950}, 1_010.5), True)})
        [newest] = lags.newest(second).values()
        assert (newest, isinstance(newest, AtMost)) == ((50, False) if second <= 1_071 else (50 + second, True))


def test_the_query_that_is_furthest_behind_may_be_one_of_which_that_is_not_known():
    assert furthest([]) is None
    assert isinstance(furthest([5, AtMost(9), 7]), AtMost)
    assert not isinstance(furthest([12, AtMost(9)]), AtMost)
    assert isinstance(furthest([9, AtMost(9)]), AtMost)
    assert (told(AtMost(24_203)), told(24_203)) == ("unknown, at most 24,203", "24,203")


def test_the_page_draws_each_figure_as_far_as_it_is_known():
    drawn = page([{"time": 1.0, "LAG a<b": 50.0}, {"time": 2.0, "LAG a<b": 200.0, "SEEN alerts": 3.0}])
    assert drawn.count("<polyline") == 2
    assert 'points="0.0,90.0 560.0,0.0"' in drawn
    assert "LAG a&lt;b: 200 now, 200 at most" in drawn and "a<b" not in drawn
    assert "Nothing is watched yet" in page([])


@given(st.lists(st.floats(0, 1e7) | st.just(0.0), min_size=1, max_size=30))
def test_the_page_never_says_more_at_most_than_there_ever_was_nor_less_than_now(values):
    drawn = page([{"time": float(second), "LAG q": value} for second, value in enumerate(values)])
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
    plan = plan_of(Options())
    assert (plan.low, plan.seconds, plan.per_user, plan.warm_up, plan.watch) == (100, 120, 100, 0, True)
    for name, value, option in (("duration", "soon", "--duration"), ("first_day", "1st", "--first-day"), ("rate", 0.0, "--rate")):
        wrong = Options()
        setattr(wrong, name, value)
        with pytest.raises(OptionError, match=option):
            plan_of(wrong)
