"""Schedules as arithmetic, and that the sending loop keeps to them, with a clock that is moved by hand."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from common.replay.pacing import end_schedule, prefetch, schedule_at_rate, schedule_at_speed, send_paced


@dataclass
class Chunk:
    arrival_time: np.ndarray

    def __len__(self):
        return len(self.arrival_time)


class Clock:
    """Time passes only by waiting, and by `cost` seconds for each send."""

    def __init__(self, cost=0.0):
        self.now, self.cost, self.sends = 1_000.0, cost, []

    def wait(self, seconds):
        self.now += seconds

    def send(self, chunk, first, last):
        self.sends.append((self.now - 1_000, last - first))
        self.now += self.cost


def chunks_of(*seconds):
    start = np.datetime64("2026-01-01T00:00:00", "ms")
    return [Chunk(start + (np.array(part) * 1_000).astype("timedelta64[ms]")) for part in seconds]


def due(schedule):
    return [times.tolist() for _, times in schedule]


def run(schedule, clock, **other):
    return send_paced(schedule, clock.send, clock=lambda: clock.now, wait=clock.wait, **other)


def test_at_a_rate_records_are_due_evenly_whatever_their_own_times():
    assert due(schedule_at_rate(chunks_of([0, 900], [901]), per_second=4)) == [[0, 0.25], [0.5]]


def test_at_a_speed_records_are_due_as_far_apart_as_their_own_times_across_chunks():
    assert due(schedule_at_speed(chunks_of([10, 12], [], [16, 16]), speed=2)) == [[0, 1], [3, 3]]


def test_a_quiet_stretch_is_cut_short_once_and_the_rest_keeps_its_distances():
    assert due(schedule_at_speed(chunks_of([0, 1_000_000, 1_000_002]), speed=1, longest_wait=60)) == [[0, 60, 62]]


def test_at_infinite_speed_everything_is_due_at_once():
    assert due(schedule_at_speed(chunks_of([0, 50], [900]), speed=float("inf"))) == [[0, 0], [0]]


def test_a_time_that_goes_back_makes_nobody_wait():
    assert due(schedule_at_speed(chunks_of([5, 4, 6]), speed=1)) == [[0, 0, 2]]


def test_no_record_is_sent_before_it_is_due_and_none_much_later():
    clock = Clock()
    assert run(schedule_at_rate(chunks_of(range(1_000), range(1_000)), per_second=1_000), clock) == 2_000
    sent = 0
    for when, count in clock.sends:
        first, sent = sent, sent + count
        assert (sent - 1) / 1_000 <= when + 1e-9 and when <= first / 1_000 + 0.0051


def test_slow_sends_are_made_up_for_so_that_the_rate_does_not_drift():
    clock = Clock(cost=0.004)
    run(schedule_at_rate(chunks_of(range(10_000)), per_second=1_000), clock)
    when, _ = clock.sends[-1]
    assert when == pytest.approx(10, abs=0.02)


def test_it_ends_at_the_given_second_with_exactly_the_records_due_by_then():
    clock = Clock()
    schedule = end_schedule(schedule_at_rate(chunks_of(range(60), range(1_000)), per_second=100), 2.5)
    assert run(schedule, clock) == 250


def test_a_schedule_ends_with_the_last_record_that_is_due_before_its_end():
    chunks = chunks_of([0, 1], [2, 3], [4])
    ends = {0: [[]], 1.5: [[0, 1], []], 3: [[0, 1], [2]], 3.5: [[0, 1], [2, 3], []], 99: [[0, 1], [2, 3], [4]]}
    for seconds, parts in ends.items():
        assert due(end_schedule(schedule_at_speed(chunks, speed=1), seconds)) == parts


def test_it_ends_when_it_is_told_to_stop():
    stop, clock = threading.Event(), Clock()
    send = clock.send

    def send_and_stop(*slice_):
        send(*slice_)
        stop.set()

    clock.send = send_and_stop
    assert run(schedule_at_rate(chunks_of(range(100)), per_second=10), clock, stop=stop) == 1


def test_chunks_made_ahead_are_the_same_and_their_error_is_the_caller_s():
    assert list(prefetch(iter([1, 2, 3]))) == [1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        list(prefetch(1 // n for n in (1, 0)))
