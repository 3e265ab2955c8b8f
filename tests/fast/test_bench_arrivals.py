"""How a backlog is timed: the first arrival of each expected alert, and how long missing ones are waited for."""

import math
import time
from types import SimpleNamespace

import pytest

from loadtests.bench.alert_arrivals import CatchUp, Patience, catch_up_of, time_arrivals

PATIENCE = Patience(before_first=5.0, while_missing=0.3, after_last=0.0)


class ScriptedConsumer:
    """Gives one batch of values at each poll, then nothing."""

    def __init__(self, *batches):
        self.batches, self.rest = list(batches), []

    def poll(self, timeout):
        batch = self.batches.pop(0) if self.batches else []
        messages = [SimpleNamespace(value=lambda value=value: value, error=lambda: None) for value in batch]
        self.rest = messages[1:]
        if not messages:
            time.sleep(0.01)
        return messages[0] if messages else None

    def consume(self, at_most, timeout):
        messages, self.rest = self.rest, []
        return messages


def read_id(value):
    return value.decode() if value.startswith(b"a") else None


def test_each_alert_is_timed_once_and_all_of_its_records_are_counted():
    consumer = ScriptedConsumer([b"a1", b"?", b"a1"], [], [b"a2", b"a1"])
    arrivals, records = time_arrivals(consumer, read_id, {"a1", "a2"}, PATIENCE, time.monotonic())
    assert list(arrivals) == ["a1", "a2"] and 0 <= arrivals["a1"] < arrivals["a2"] < 1
    assert records == 4


def test_a_missing_alert_is_waited_for_after_the_last_new_one():
    started_at = time.monotonic()
    arrivals, _ = time_arrivals(ScriptedConsumer([b"a1"]), read_id, {"a1", "a2"}, PATIENCE, started_at)
    assert set(arrivals) == {"a1"} and 0.3 <= time.monotonic() - started_at < 3


def test_what_the_check_raises_ends_the_wait():
    def check():
        raise RuntimeError("the engine ended")

    with pytest.raises(RuntimeError, match="the engine ended"):
        time_arrivals(ScriptedConsumer([b"a1"]), read_id, {"a1"}, PATIENCE, time.monotonic(), check)


def test_the_speed_counts_to_the_last_expected_alert():
    expected = {f"a{number}" for number in range(20)}
    arrivals = {f"a{number}": float(number) for number in range(20)} | {"unexpected": 99.0}
    assert catch_up_of(100, arrivals, expected) == CatchUp(100, 19.0, steady=100 * 0.8 / (19 - 4))
    assert catch_up_of(100, arrivals, expected | {"missing"}).steady is None
    assert math.isnan(catch_up_of(100, {}, expected).seconds)
