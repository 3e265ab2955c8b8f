"""The screen of a run where there is no terminal."""

import io
from types import SimpleNamespace

from rich.console import Console

from common.monitoring.screen import Screen, State
from common.monitoring.watch import Seen, percentiles
from common.vertical import find_vertical


def test_without_a_terminal_what_was_said_is_printed_once_and_nothing_is_left_out(monkeypatch):
    monkeypatch.setattr("common.monitoring.screen.PLAIN_EVERY", 0.0)
    watch = SimpleNamespace(seen=Seen(), latency=lambda since: percentiles([]))
    state, shown = State(find_vertical("finance_fraud"), ["a rule: real-time"], 60, watch), io.StringIO()
    with Screen(Console(file=shown, width=200), [state]) as screen:
        state.say("the first")
        state.say("the second")
        screen.refresh()
        screen.refresh()
        state.say("the last")
    printed = shown.getvalue()
    assert [printed.count(said) for said in ("the first", "the second", "the last")] == [1, 1, 1], printed
    assert printed.count("0 events") == 3, printed
