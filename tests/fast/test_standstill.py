"""When a query stands still: the topic grows, and nothing of what it does changes."""

import pytest

from common.streaming.stalled_queries import PATIENCE_SECONDS, RECOVERED_SECONDS, STARTING_SECONDS, Activity, Standstill

QUIET = Activity((7, "noon"), (3, 100))


def times(still, until, life, ends, every=5, start=0):
    """When it is found standing still first, by the second: life(t) and ends(t) are what is seen; None if never.

    until: seconds after `start`, which is when t is 0.
    """
    return next((now for now in range(0, until, every) if still.update(start + now, ends(now), life(now))), None)


def growing(now):
    return {0: now, 1: 5}


def test_a_query_that_takes_nothing_while_its_topic_grows_is_found_within_a_minute():
    assert times(Standstill({0: 5, 1: 5}), 1_000, lambda now: QUIET, growing) <= 60


def test_a_topic_that_does_not_grow_waits_for_nobody():
    assert times(Standstill({0: 5, 1: 5}), 10_000, lambda now: QUIET, lambda now: {0: 5, 1: 5}) is None


def test_one_record_is_enough_and_a_new_partition_is_growth():
    for grown in ({0: 6}, {0: 5, 1: 1}):
        found = times(Standstill({0: 5}), 10_000, lambda now: QUIET, lambda now, grown=grown: {0: 5} if now < 1_000 else grown)
        assert 1_000 + PATIENCE_SECONDS <= found <= 1_000 + PATIENCE_SECONDS + 5


@pytest.mark.parametrize(
    "life",
    [
        lambda now: Activity((now // 30, ""), ()),  # micro-batches that end
        lambda now: Activity((7, "noon"), (3, now // 30)),  # a long one that reads
        lambda now: Activity(None, (now // 30, 0)),  # the first one
    ],
)
def test_a_query_that_works_does_not_stand_still(life):
    assert times(Standstill({0: 5, 1: 5}), 10_000, life, growing) is None


@pytest.mark.parametrize("life", [Activity(None, ()), Activity(None, (0, 0)), Activity((7, "noon"), ())])
def test_one_that_starts_or_plans_its_next_batch_gets_more_time(life):
    assert STARTING_SECONDS <= times(Standstill({0: 5, 1: 5}), 10_000, lambda now: life, growing) <= STARTING_SECONDS + 10


def test_one_whose_tasks_wait_for_slots_from_its_very_start_is_found_within_a_minute_of_their_submission():
    def waits(now, planned):
        return Activity(None, ()) if now < planned else Activity(None, (0, 0), waiting_tasks=2)

    for planned in (0, 30, 100):
        found = times(Standstill({0: 5, 1: 5}), 1_000, lambda now, planned=planned: waits(now, planned), growing)
        assert planned + PATIENCE_SECONDS <= found <= planned + 60


@pytest.mark.parametrize("interval", [30, 3_600])
def test_a_real_time_query_that_reads_some_partitions_while_tasks_of_others_wait_for_slots_stands_still(interval):
    found = times(
        Standstill({0: 5, 1: 5}, interval),
        10_000,
        lambda now: Activity((7, "noon"), (now,), running_tasks=1, waiting_tasks=1),
        growing,
    )
    assert found <= 60


def test_tasks_of_a_micro_batch_may_take_turns():
    working = lambda now: Activity((7, "noon"), (now // 30,), running_tasks=1, waiting_tasks=7)  # noqa: E731
    assert times(Standstill({0: 5, 1: 5}), 10_000, working, growing) is None


def test_a_real_time_query_whose_tasks_get_their_slots_late_but_end_batches_works():
    waits = lambda now: Activity((now // 30, ""), (now,), running_tasks=1, waiting_tasks=1)  # noqa: E731
    assert times(Standstill({0: 5, 1: 5}, 30), 10_000, waits, growing) is None


@pytest.mark.parametrize("stall", [50, 75, 150])
def test_stalls_of_a_busy_machine_do_not_start_it_again_and_again(stall):
    """As long as it is at work between them for a moment only, or for less than minutes."""
    for pause in (10, 100):
        still, found = Standstill({0: 5, 1: 5}), []
        for now in range(0, 36_000, 5):
            quiet = now % (stall + pause) < stall
            if still.update(now, growing(now), QUIET if quiet else Activity((now, ""), (1,))):
                found.append(now)
                still.count_standstill()
        assert len(found) <= 3, found


def test_a_real_time_query_that_reads_but_ends_no_batch_stands_still_too():
    found = times(Standstill({0: 5, 1: 5}, 30), 10_000, lambda now: Activity((7, "noon"), (now,)), growing)
    assert 2 * 30 + STARTING_SECONDS < found < 2 * 30 + STARTING_SECONDS + PATIENCE_SECONDS + 20
    assert times(Standstill({0: 5, 1: 5}, 30), 10_000, lambda now: Activity((now // 30, ""), (now,)), growing) is None


def test_each_time_in_a_row_it_gets_twice_the_time_until_it_works_again():
    still, found, now = Standstill({0: 5, 1: 5}), [], 0
    for _ in range(3):
        began = now
        while not still.update(now, growing(now), QUIET):
            now += 1
        found.append(now - began)
        assert still.count_standstill() == len(found)
    assert found[1] >= 1.9 * found[0] and found[2] >= 1.9 * found[1]
    still.update(now, growing(now), QUIET)
    still.update(now, growing(now), Activity((8, "noon"), (1, 1)))
    assert still.times == 3, "a sign of life"
    at_work = lambda at: Activity((9 + at, ""), (1, 1))  # noqa: E731
    assert times(still, int(RECOVERED_SECONDS) + 20, at_work, lambda at: growing(at + now), start=now) is None
    assert still.times == 0, "minutes of life"


def test_one_that_was_started_again_and_still_takes_nothing_is_found_though_nothing_more_comes():
    still = Standstill({0: 5})
    assert times(still, 1_000, lambda now: QUIET, lambda now: {0: 6 if now else 5}) is not None
    still.count_standstill()
    begun = Activity(None, (0, 0))  # as it is after a start
    assert times(still, 10_000, lambda now: begun, lambda now: {0: 6}) == pytest.approx(2 * STARTING_SECONDS, abs=10)


def test_what_nobody_can_read_is_no_reason():
    still = Standstill({0: 0, 1: 5})
    assert times(still, 1_000, lambda now: QUIET, growing)
    still.expect_after({0: 10_000, 1: 5})
    assert times(still, 1_000, lambda now: QUIET, growing) is None


def test_a_real_time_query_of_whose_tasks_some_wait_from_its_very_start_is_found_within_a_minute():
    in_part = Activity(None, (0, 0), running_tasks=1, waiting_tasks=1)
    assert times(Standstill({0: 5, 1: 5}, 30), 1_000, lambda now: in_part, growing) <= 60
