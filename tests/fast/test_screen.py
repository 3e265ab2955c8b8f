"""The screen of a run: its figures, and what it prints where there is no terminal."""

import io
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from common.installed import find_vertical, vertical_names
from common.monitoring.alert_watch import MAX_NEWEST, AlertTally, Percentiles, percentiles
from common.monitoring.cooldown import Cooldown
from common.monitoring.screen import RATE_SECONDS, RunState, Screen, draw_states

VERTICAL = find_vertical("finance_fraud")


def test_without_a_terminal_what_was_said_is_printed_once_and_nothing_is_left_out(monkeypatch):
    monkeypatch.setattr("common.monitoring.screen.PRINT_SECONDS", 0.0)
    watch = SimpleNamespace(tally=AlertTally(), latency=lambda since: percentiles([]))
    state, shown = RunState(VERTICAL, ["a rule: real-time"], 60, watch), io.StringIO()
    with Screen(Console(file=shown, width=200), [state]) as screen:
        state.say("the first")
        state.say("the second")
        screen.refresh()
        screen.refresh()
        state.say("the last")
    printed = shown.getvalue()
    assert [printed.count(said) for said in ("the first", "the second", "the last")] == [1, 1, 1], printed
    assert printed.count("0 events") == 3, printed


looks = st.lists(st.tuples(st.floats(0.05, 120), st.integers(0, 10_000)), min_size=1, max_size=60)


@given(looks)
def test_a_rate_is_what_came_over_the_time_in_which_it_came_however_far_two_looks_are_apart(gaps):
    state, now, total, seen = RunState(VERTICAL, [], 60, None), 1_000.0, 0, [(1_000.0, 0)]
    state.record_total(0, measured_at=now)
    for gap, came in gaps:
        now, total = now + gap, total + came
        state.record_total(total, measured_at=now)
        seen.append((now, total))
    covering = [pair for pair in seen if pair[0] <= now - RATE_SECONDS] or seen[:1]
    since, before = covering[-1]
    assert state.rate == pytest.approx((total - before) / (now - since))
    if gaps[-1][1]:
        assert state.rate > 0, "something came between the last two looks"


@given(st.lists(st.floats(0.05, 60), min_size=1, max_size=60), st.integers(1, 100_000))
def test_a_steady_stream_has_its_own_rate_whenever_one_looks(gaps, per_second):
    state, now = RunState(VERTICAL, [], 60, None), 0.0
    state.record_total(0, measured_at=now)
    for gap in gaps:
        now += gap
        state.record_total(round(now * per_second), measured_at=now)
    assert state.rate == pytest.approx(per_second, rel=0.05, abs=25)


def test_before_the_second_look_there_is_no_rate():
    state = RunState(VERTICAL, [], 60, None)
    assert state.rate == 0.0
    state.record_total(500, measured_at=1.0)
    assert state.rate == 0.0


def drawn(width, names):
    states = []
    for name in names:
        vertical = find_vertical(name)
        latency = Percentiles(823.1, 9_000.2, 12_345.6, 5)
        watch = SimpleNamespace(tally=AlertTally(), cooldown=Cooldown(0.0), latency=lambda since, latency=latency: latency)
        state = RunState(vertical, [f"{rule.name}: real-time, query q" for rule in vertical.rules], 60, watch)
        for number, rule in enumerate(vertical.rules[-3:]):
            watch.tally.newest.append({
                "event_time": "2020-02-15T01:02:03.000Z", "severity": "critical", "rule": rule.name, "ingest_time": str(number),
                "entity_id": f"[red]{number}", "reasons": "longer than any line of a terminal " * 9,
            })  # fmt: skip
        state.say("batch: baselines in force")
        states.append(state)
    shown = io.StringIO()
    Console(file=shown, width=width).print(draw_states(states))
    return shown.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("names", [["finance_fraud"], ["telecom_anomaly"], vertical_names()], ids=len)
def test_a_screen_tells_names_and_times_whole_on_a_narrow_terminal(names, width):
    shown = drawn(width, names)
    assert all(name in shown for name in names)
    alerts = [line for line in shown.splitlines() if "critical" in line]
    assert len(alerts) == min(MAX_NEWEST, 3 * len(names))
    rules = {rule.name for name in names for rule in find_vertical(name).rules}
    for line in alerts:
        _, time, _, rule, entity, *_ = line.split()
        assert (time, entity[:5]) == ("2020-02-15T01:02:03", "[red]") and rule in rules
    assert len(shown.splitlines()) <= 24 + 2 * (len(names) == 1), shown


def test_of_several_verticals_a_note_says_whose_it_is():
    shown = drawn(120, vertical_names())
    for name in vertical_names():
        assert f"{name}: batch: baselines in force" in shown
    assert "finance_fraud: batch" not in drawn(120, ["finance_fraud"])
