"""The screen of a run: its figures, and what it prints where there is no terminal."""

import io
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from common.monitoring.screen import RATE_WINDOW, Screen, State
from common.monitoring.watch import Seen, percentiles
from common.vertical import find_vertical

VERTICAL = find_vertical("finance_fraud")


def test_without_a_terminal_what_was_said_is_printed_once_and_nothing_is_left_out(monkeypatch):
    monkeypatch.setattr("common.monitoring.screen.PLAIN_EVERY", 0.0)
    watch = SimpleNamespace(seen=Seen(), latency=lambda since: percentiles([]))
    state, shown = State(VERTICAL, ["a rule: real-time"], 60, watch), io.StringIO()
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
    state, now, total, seen = State(VERTICAL, [], 60, None), 1_000.0, 0, [(1_000.0, 0)]
    state.came(0, at=now)
    for gap, came in gaps:
        now, total = now + gap, total + came
        state.came(total, at=now)
        seen.append((now, total))
    covering = [pair for pair in seen if pair[0] <= now - RATE_WINDOW] or seen[:1]
    since, before = covering[-1]
    assert state.rate == pytest.approx((total - before) / (now - since))
    if gaps[-1][1]:
        assert state.rate > 0, "something came between the last two looks"


@given(st.lists(st.floats(0.05, 60), min_size=1, max_size=60), st.integers(1, 100_000))
def test_a_steady_stream_has_its_own_rate_whenever_one_looks(gaps, per_second):
    state, now = State(VERTICAL, [], 60, None), 0.0
    state.came(0, at=now)
    for gap in gaps:
        now += gap
        state.came(round(now * per_second), at=now)
    assert state.rate == pytest.approx(per_second, rel=0.05, abs=25)


def test_before_the_second_look_there_is_no_rate():
    state = State(VERTICAL, [], 60, None)
    assert state.rate == 0.0
    state.came(500, at=1.0)
    assert state.rate == 0.0
