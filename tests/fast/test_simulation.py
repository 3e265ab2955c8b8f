"""Seasons, arrivals, drift, anomalies in time, points in space: each alone."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.simulation.anomalies import bursts, case_count, draw_distinct, episodes
from common.simulation.arrivals import LATE_MAX_MS, delays, event_sources
from common.simulation.drift import growth, shifted_share
from common.simulation.randomness import random_for
from common.simulation.seasonality import DAY_SECONDS, seconds_of_day, to_utc, weekday_weight
from common.simulation.space import distance_km, scatter

MONDAY = date(2026, 3, 2)


def rng():
    return np.random.default_rng(5)


def test_each_purpose_and_each_day_has_random_numbers_of_its_own():
    drawn = {
        random_for(seed, day, purpose).random()
        for seed in (0, 1)
        for day in (MONDAY, MONDAY + timedelta(days=1))
        for purpose in ("a", "b")
    }
    assert len(drawn) == 8
    assert random_for(1, MONDAY, "a").random() == random_for(1, MONDAY, "a").random()


def test_hours_follow_their_weights():
    weights = np.array([0] * 6 + [1] * 12 + [3] * 6, float)
    hours = np.bincount((seconds_of_day(rng(), weights, 60_000) // 3600).astype(int), minlength=24)
    expected = 60_000 * weights / weights.sum()
    assert hours[:6].sum() == 0
    assert (abs(hours - expected) <= 5 * np.sqrt(expected)).all()


def test_local_time_becomes_utc_within_the_same_day():
    assert to_utc(np.array([3_600.0, 82_800.0]), np.array([2.0, -2.0])).tolist() == [82_800.0, 3_600.0]


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.01, 100), min_size=24, max_size=24))
def test_seconds_stay_within_the_day(seed, weights):
    seconds = seconds_of_day(np.random.default_rng(seed), weights, 100)
    assert ((seconds >= 0) & (seconds < DAY_SECONDS)).all()


def test_the_weights_of_a_week_average_to_one():
    week = (1, 1, 1, 1, 2, 3, 0.5)
    weights = [weekday_weight(MONDAY + timedelta(days=number), week) for number in range(7)]
    assert np.mean(weights) == pytest.approx(1)
    assert np.argmax(weights) == 5


def test_growth_compounds_and_a_share_stays_a_share():
    opening = date(2026, 1, 1)
    assert growth(opening, opening, 0.2) == 1
    assert growth(opening + timedelta(days=1461), opening, 0.2) == pytest.approx(1.2**4)
    assert shifted_share(0.5, opening + timedelta(days=1461), opening, 0.05) == pytest.approx(0.7)
    assert shifted_share(0.5, date(2126, 1, 1), opening, 0.05) == 0.99


def test_counts_follow_the_rates():
    source = event_sources(rng(), np.array([0.0, 1_000.0, 4_000.0]))
    assert np.bincount(source, minlength=3) == pytest.approx([0, 1_000, 4_000], abs=320)


def test_one_in_twenty_is_minutes_late_and_one_in_a_thousand_hours():
    size = 200_000
    late = delays(rng(), size).astype(int)
    assert (late >= 0).all()
    assert_share(late > 60_000, 0.05)
    assert_share(late > LATE_MAX_MS, 0.001)
    assert late.max() <= 2 * 86_400_000


def assert_share(mask, share):
    """Within five binomial standard deviations."""
    assert abs(mask.sum() - len(mask) * share) <= 5 * np.sqrt(len(mask) * share * (1 - share))


@given(st.integers(0, 1000), st.floats(0, 20), st.integers(1, 60))
def test_cases_never_stray_from_their_rate(seed, per_day, days):
    started = [case_count(seed, MONDAY + timedelta(days=number), "case", per_day) for number in range(days)]
    assert min(started) >= 0
    assert abs(sum(started) - per_day * days) < 1 + 1e-6


def test_an_episode_lasts_its_days_and_no_longer():
    days = [MONDAY + timedelta(days=number) for number in range(20)]
    by_day = [dict(np.transpose(episodes(3, day, "leak", 0.5, 4, 10_000)).tolist()) for day in days]
    for today, tomorrow in pairwise(by_day):
        for member, age in today.items():
            assert tomorrow.get(member) == (age + 1 if age < 3 else None)
    assert all(len(active) == 2 for active in by_day)


def test_without_cases_nobody_is_in_an_episode():
    member, age = episodes(3, MONDAY, "leak", 0.0, 14, 100)
    assert len(member) == len(age) == 0


def test_distinct_members_are_distinct_and_never_more_than_there_are():
    assert sorted(draw_distinct(rng(), 5, 9)) == [0, 1, 2, 3, 4]
    assert len(set(draw_distinct(rng(), 1_000, 100))) == 100


def test_a_burst_starts_at_zero_and_ends_in_time():
    case, offset = bursts(rng(), np.array([3, 1, 6]), np.array([10.0, 20.0, 30.0]))
    assert np.bincount(case).tolist() == [3, 1, 6]
    assert [offset[case == number].min() for number in range(3)] == [0, 0, 0]
    assert all(offset[case == number].max() < 10 * (number + 1) for number in range(3))


def test_distances_match_a_known_one_and_survive_the_date_line():
    assert distance_km(51.507, -0.128, 40.713, -74.006) == pytest.approx(5_570, abs=5)
    assert distance_km(0.0, 179.9, 0.0, -179.9) == pytest.approx(22.2, abs=0.1)


def test_scattered_points_lie_around_their_centre():
    centre = np.full(5_000, 51.5), np.full(5_000, -0.1)
    away = distance_km(*scatter(rng(), *centre, spread_km=9.0), *centre)
    assert np.sqrt((away**2).mean() / 2) == pytest.approx(9.0, rel=0.05)
