"""Buckets and idempotency keys by a clock that the test sets."""

from contextlib import ExitStack

import pytest

from common.gateway.byte_budget import ByteBudget
from common.gateway.connections import Connections
from common.gateway.idempotency import AnswerCache, KeyReused, RequestInProgress
from common.gateway.limits import ConcurrencyLimiter, LimitReached, RateLimiter
from common.gateway.refusals import BodyRefused
from common.gateway.request_bodies import split_array


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_is_emptied_by_events_and_filled_by_time():
    clock = Clock()
    rates = RateLimiter(10, clock)
    rates.charge("a", 10)
    assert rates.wait_seconds("a") == 1 and rates.wait_seconds("b") == 0
    clock.now = 0.5
    assert rates.wait_seconds("a") == 0
    rates.charge("a", 105)  # a request larger than the bucket is paid for afterwards
    assert rates.wait_seconds("a") == 10
    clock.now = 10.6
    assert rates.wait_seconds("a") == 0
    clock.now = 1000
    rates.charge("a", 10)
    assert rates.wait_seconds("a") == 1, "a bucket holds one second's worth, however long it was left alone"


def test_no_rate_is_no_limit():
    rates = RateLimiter(0, Clock())
    rates.charge("a", 10**9)
    assert rates.wait_seconds("a") == 0


def test_a_key_is_known_with_its_body_until_its_time_is_over():
    clock = Clock()
    answers = AnswerCache(seconds=100, clock=clock)
    assert answers.begin("ann", "k", b"body") is None
    with pytest.raises(RequestInProgress):
        answers.begin("ann", "k", b"body")
    with pytest.raises(KeyReused):
        answers.begin("ann", "k", b"other")
    answers.end("ann", "k", (202, b"told"))
    assert answers.begin("ann", "k", b"body") == (202, b"told")
    with pytest.raises(KeyReused):
        answers.begin("ann", "k", b"other")
    assert answers.begin("bob", "k", b"other") is None, "another client's keys are its own"
    clock.now = 101
    assert answers.begin("ann", "k", b"other") is None


def test_what_came_to_nothing_is_new_again():
    answers = AnswerCache()
    assert answers.begin("ann", "k", b"body") is None
    answers.end("ann", "k", None)
    assert answers.begin("ann", "k", b"other") is None


def answer(answers, client, key, size=500):
    assert answers.begin(client, key, b"body") is None
    answers.end(client, key, (202, b"x" * size))


def is_known(answers, client, key):
    try:
        is_stored = answers.begin(client, key, b"body") is not None
    except RequestInProgress:
        return True
    if not is_stored:
        answers.end(client, key, None)
    return is_stored


def test_a_client_s_oldest_answers_are_forgotten_for_its_own():
    answers = AnswerCache(bytes_per_client=20_000)
    answer(answers, "ann", "first")
    for number in range(1_000):
        answer(answers, "bob", number)
    assert [is_known(answers, "bob", number) for number in (0, 900, 985, 999)] == [False, False, True, True]
    assert is_known(answers, "ann", "first")


def test_together_they_are_bounded_and_who_has_most_forgets_first():
    answers = AnswerCache(bytes_per_client=20_000, max_bytes=50_000)
    answer(answers, "small", "k")
    for client in "abcd":
        for number in range(15):
            answer(answers, client, number)
    assert is_known(answers, "small", "k")
    kept = sum(is_known(answers, client, number) for client in "abcd" for number in range(15))
    assert 40 <= kept <= 50
    assert all(is_known(answers, client, 14) for client in "abcd")


def test_a_key_under_way_is_never_forgotten():
    clock = Clock()
    answers = AnswerCache(seconds=100, bytes_per_client=20_000, max_bytes=40_000, clock=clock)
    assert answers.begin("ann", "slow", b"body") is None
    for client in ("ann", "mallory"):
        answer(answers, client, "large", 10_000_000)
        for number in range(100):
            answer(answers, client, number, 1_000)
    clock.now = 1_000
    with pytest.raises(RequestInProgress):
        answers.begin("ann", "slow", b"body")
    answers.end("ann", "slow", (202, b"told"))
    assert answers.begin("ann", "slow", b"body") == (202, b"told")


def test_places_are_so_many_of_a_client_and_of_all_and_come_back():
    places = ConcurrencyLimiter(2, 3)
    with ExitStack() as stack:
        for client in ("a", "a", "b"):
            stack.enter_context(places.slot(client))
        for client, status in (("a", 429), ("b", 503), ("c", 503)):
            with pytest.raises(LimitReached) as refused:
                stack.enter_context(places.slot(client))
            assert refused.value.status == status
    with places.slot("a"), places.slot("a"), places.slot("c"):
        pass


def test_a_budget_is_of_all_together_and_half_of_it_of_one_client_and_comes_back():
    budget = ByteBudget(100)

    def refused(share, size):
        with pytest.raises(BodyRefused) as problem:
            share.charge(size)
        return problem.value.status

    with (
        budget.open_share("ann") as first,
        budget.open_share("ann") as second,
        budget.open_share("bob") as third,
        budget.open_share("eve") as fourth,
    ):
        first.charge(30)
        assert (refused(first, 21), refused(second, 21)) == (413, 429)
        second.charge(20)
        third.charge(50)
        assert refused(fourth, 1) == 503
    with budget.open_share("bob") as alone:
        alone.charge(50)
    assert not budget._bytes_by_client


class Wire:
    def abort(self):
        """It is cut off."""


def test_a_connection_that_is_gone_gets_no_place_any_more():
    """As when a stream asks once more whether it may go on, and whoever listened has left."""
    connections = Connections(4)
    for _ in range(20):
        wire = Wire()
        connections.add(wire, "10.0.0.1")
        connections.admit(wire, "ann")
        connections.remove(wire)
        connections.admit(wire, "ann")
    wire = Wire()
    connections.add(wire, "10.0.0.1")
    connections.admit(wire, "ann")
    assert [*connections._admitted] == [wire]


@pytest.mark.parametrize(
    ("body", "elements_of_it"),
    [
        (b'[{"a": 1}, {"a": 1e400}, {"a": 2}]', [b'{"a": 1}', b'{"a": 1e400}', b'{"a": 2}']),
        (b'[ {"a": "\\ud800"} ,{"a": 2}]', [b'{"a": "\\ud800"}', b'{"a": 2}']),
        (b"[" + b"9" * 400 + b', {"a": 2}] ', [b"9" * 400, b'{"a": 2}']),
        (b'[{"a": 1e400},]', None),
        (b'[{"a": 1e400} {"a": 1}]', None),
        (b'[{"a": 1e400}] x', None),
        (b'[{"a": 1e400}', None),
        (b"[{", None),
        (b'["\xff"]', None),
        (b'["' + b"9" * 5_000, None),
        (b"[" + b"9" * 5_000 + b"]", None),
    ],
)
def test_an_element_that_cannot_be_read_is_one_of_its_array(body, elements_of_it):
    with ByteBudget(10**9).open_share("ann") as share:
        assert split_array(body, share) == (elements_of_it or [body])
