"""Buckets and idempotency keys by a clock that the test sets."""

import pytest

from common.gateway.idempotency import Answers, Reused, UnderWay
from common.gateway.limits import Rates


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_is_emptied_by_events_and_filled_by_time():
    clock = Clock()
    rates = Rates(10, clock)
    rates.take("a", 10)
    assert rates.wait("a") == 1 and rates.wait("b") == 0
    clock.now = 0.5
    assert rates.wait("a") == 0
    rates.take("a", 105)  # a request larger than the bucket is paid for afterwards
    assert rates.wait("a") == 10
    clock.now = 10.6
    assert rates.wait("a") == 0
    clock.now = 1000
    rates.take("a", 10)
    assert rates.wait("a") == 1, "a bucket holds one second's worth, however long it was left alone"


def test_no_rate_is_no_limit():
    rates = Rates(0, Clock())
    rates.take("a", 10**9)
    assert rates.wait("a") == 0


def test_a_key_is_known_with_its_body_until_its_time_is_over():
    clock = Clock()
    answers = Answers(seconds=100, clock=clock)
    assert answers.begin("k", b"body") is None
    with pytest.raises(UnderWay):
        answers.begin("k", b"body")
    answers.end("k", (202, b"told"))
    assert answers.begin("k", b"body") == (202, b"told")
    with pytest.raises(Reused):
        answers.begin("k", b"other")
    clock.now = 101
    assert answers.begin("k", b"other") is None


def test_what_came_to_nothing_is_new_again():
    answers = Answers()
    assert answers.begin("k", b"body") is None
    answers.end("k", None)
    assert answers.begin("k", b"other") is None


def test_memory_is_bounded_and_the_oldest_are_forgotten():
    answers = Answers(max_bytes=20_000)
    for number in range(1_000):
        assert answers.begin(number, b"body") is None
        answers.end(number, (202, b"x" * 500))
    assert answers.begin(999, b"body") == (202, b"x" * 500)
    assert answers.begin(0, b"body") is None
    assert len(answers._known) < 30
