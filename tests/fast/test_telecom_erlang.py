"""Erlang's formulas against the standard tables, printed to three decimals, and against what must hold of any of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telecom_anomaly.planning.erlang import channels_for, channels_for_waiting, erlang_b, erlang_c, offered_load

BLOCKINGS = (0.001, 0.005, 0.01, 0.02, 0.05)
TABLE = {
    5: (0.762, 1.132, 1.361, 1.657, 2.218),
    7: (1.579, 2.157, 2.501, 2.935, 3.738),
    10: (3.092, 3.961, 4.461, 5.084, 6.216),
    20: (9.411, 11.092, 12.031, 13.182, 15.249),
    30: (16.684, 19.034, 20.337, 21.932, 24.802),
    50: (32.512, 35.982, 37.901, 40.255, 44.533),
    100: (75.242, 80.910, 84.064, 87.972, 95.240),
}
ROWS = [(channels, blocking, load) for channels, loads in TABLE.items() for blocking, load in zip(BLOCKINGS, loads, strict=True)]


@pytest.mark.parametrize(("channels", "blocking", "load"), ROWS)
def test_offered_load_is_what_the_tables_print(channels, blocking, load):
    assert offered_load(channels, blocking) == pytest.approx(load, abs=0.0005001)


@pytest.mark.parametrize(("channels", "blocking", "load"), ROWS)
def test_dimensioning_takes_no_channel_more_or_less_than_the_tables(channels, blocking, load):
    assert channels_for(load - 0.001, blocking) == channels
    assert channels_for(load + 0.001, blocking) == channels + 1


def test_the_classical_examples():
    assert erlang_b(10, 16) == pytest.approx(0.022, abs=0.0005)
    assert erlang_c(7, 10) == pytest.approx(0.2217, abs=0.00005)
    assert erlang_c(8, 12) == pytest.approx(0.1398, abs=0.00005)
    assert erlang_c(90, 100) == pytest.approx(0.2169, abs=0.00005)


def test_waiting_needs_more_channels_than_losing():
    assert channels_for_waiting(7, 0.2217) == 11
    assert channels_for_waiting(7, 0.2218) == 10
    assert channels_for(7, 0.2217) < 10


def test_no_load_needs_no_channel_and_an_overload_always_waits():
    assert (channels_for(0, 0.01), erlang_b(0, 0), erlang_b(0, 3)) == (0, 1.0, 0.0)
    assert (erlang_c(3, 3), erlang_c(4, 3)) == (1.0, 1.0)


@given(st.floats(0.01, 500), st.integers(1, 400))
def test_a_channel_more_never_loses_more_and_waiting_is_likelier_than_losing(load, channels):
    assert 0 <= erlang_b(load, channels) <= erlang_b(load, channels - 1) <= 1
    assert erlang_b(load, channels) <= erlang_c(load, channels) <= 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda: erlang_b(-1, 3),
        lambda: erlang_c(1, -1),
        lambda: erlang_b(float("nan"), 2),
        lambda: channels_for(float("inf"), 0.01),
        lambda: channels_for(1, 0),
        lambda: channels_for(1, 1),
        lambda: offered_load(0, 0.1),
    ],
)
def test_what_makes_no_sense_is_refused(ask):
    with pytest.raises(ValueError):
        ask()
