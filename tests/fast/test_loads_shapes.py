"""Shapes of load as functions of time, how many users they are, and the search for the limit."""

import pytest

from loadtests.shapes import SHAPES, LimitSearch, users_for

LOW, HIGH, LENGTH = 100.0, 1_000.0, 240.0


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_stays_between_its_rates_and_reaches_the_highest(name):
    rates = [SHAPES[name](second / 10, LOW, HIGH, LENGTH) for second in range(2_400)]
    assert min(rates) >= LOW
    assert max(rates) == pytest.approx(HIGH, rel=0.01)
    assert max(rates) <= HIGH


def test_a_ramp_rises_in_a_straight_line():
    assert [SHAPES["ramp"](second, LOW, HIGH, LENGTH) for second in (0, 120, 240, 300)] == [100, 550, 1_000, 1_000]


def test_a_spike_comes_at_once_and_goes_at_once():
    assert [SHAPES["spike"](second, LOW, HIGH, LENGTH) for second in (95.9, 96, 143.9, 144)] == [100, 1_000, 1_000, 100]


def test_a_day_is_quiet_at_four_and_busiest_at_seven_in_the_evening():
    by_hour = [SHAPES["day"](hour * 10, LOW, HIGH, LENGTH) for hour in range(24)]
    assert by_hour.index(min(by_hour)) == 4
    assert by_hour.index(max(by_hour)) == 19
    assert SHAPES["day"](45, LOW, HIGH, LENGTH) == pytest.approx((by_hour[4] + by_hour[5]) / 2)


@pytest.mark.parametrize(
    ("rate", "per_user", "processes", "users"),
    [(500, 100, 1, 5), (501, 100, 1, 6), (500, 100, 2, 6), (0, 100, 3, 3), (0.3, 0.1, 1, 3)],
)
def test_users_make_at_least_the_rate_and_are_the_same_number_in_each_process(rate, per_user, processes, users):
    assert users_for(rate, per_user, processes) == users


def test_the_search_tells_the_last_rate_that_held_and_what_ended_it():
    search, rates = LimitSearch(100, 1_000, factor=2), []
    while search.finish_step([] if search.rate <= 450 else ["lag_records: 7, at most 5 asked"]):
        rates.append(search.rate)
    assert rates == [200, 400, 800]
    assert search.sustained_rate == 400
    assert search.summary() == "the last rate that held: 400 events/s; at 800 events/s: lag_records: 7, at most 5 asked"


def test_a_search_that_meets_no_limit_ends_at_the_highest_rate_and_says_so():
    search = LimitSearch(400, 1_000, factor=2)
    assert [search.finish_step([]), search.finish_step([]), search.finish_step([])] == [True, True, False]
    assert search.sustained_rate == 1_000
    assert "raise --rate" in search.summary()


def test_a_search_whose_first_rate_does_not_hold_has_none():
    search = LimitSearch(100, 1_000)
    assert not search.finish_step(["pace: 0.5, at least 0.95 asked"])
    assert search.sustained_rate is None
    assert search.summary().startswith("no rate held; at 100 events/s")
