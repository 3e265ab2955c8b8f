"""A clock that is set back ends a stream; one that is set ahead, or drifts, does not."""

import pytest

from common.clock import ClockSetBack, ClockWatch


class Clocks:
    """A clock of day and a steady one, moved by hand."""

    day, steady = 1_700_000_000.0, 50.0

    def watch(self):
        return ClockWatch(lambda: self.day, lambda: self.steady)

    def pass_seconds(self, seconds, set_by=0.0):
        self.steady += seconds
        self.day += seconds + set_by


def test_a_clock_that_was_set_back_is_told_with_how_far_and_what_to_do():
    clocks = Clocks()
    watch = clocks.watch()
    clocks.pass_seconds(60)
    watch.check()
    clocks.pass_seconds(1, set_by=-3600)
    with pytest.raises(ClockSetBack, match=r"set back by 1:00:00.*start this again"):
        watch.check()


def test_what_was_set_ahead_is_noticed_when_it_goes_back():
    clocks = Clocks()
    watch = clocks.watch()
    clocks.pass_seconds(1, set_by=7200)
    watch.check()
    clocks.pass_seconds(1, set_by=-7200)
    with pytest.raises(ClockSetBack, match="2:00:00"):
        watch.check()


def test_a_clock_that_is_slewed_is_left_alone():
    clocks = Clocks()
    watch = clocks.watch()
    for _ in range(1_000):
        clocks.pass_seconds(1, set_by=-0.01)
        watch.check()
