"""Traffic theory of A. K. Erlang: how many channels a load needs. All loads are in Erlang (mean number of busy channels).

Erlang B: a call that finds every channel busy is lost. Erlang C: it waits. Formulas after ITU-D, Teletraffic Engineering
Handbook (2005), chapters 7 and 12; the recursion keeps every number between 0 and 1, so nothing overflows.
"""

from collections.abc import Callable
from math import ceil


def erlang_b(load: float, channels: int) -> float:
    """Probability that an arriving call is lost. Raises ValueError on a negative load or number of channels."""
    _check_load(load, channels)
    blocking = 1.0
    for channel in range(1, channels + 1):
        blocking = load * blocking / (channel + load * blocking)
    return blocking


def erlang_c(load: float, channels: int) -> float:
    """Probability that an arriving call has to wait; 1 where the load is as much as the channels can carry."""
    _check_load(load, channels)
    if load >= channels:
        return 1.0
    blocking = erlang_b(load, channels)
    return channels * blocking / (channels - load * (1 - blocking))


def offered_load(channels: int, blocking: float) -> float:
    """The load at which `channels` lose a share `blocking` of calls: what Erlang's tables print."""
    _check_share(blocking)
    if channels < 1:
        raise ValueError(f"channels must be at least 1, not {channels}")
    # Calls carried are at most `channels`, so no load above this keeps the blocking.
    low, high = 0.0, channels / (1 - blocking)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if erlang_b(middle, channels) < blocking else (low, middle)
    return (low + high) / 2


def channels_for(load: float, blocking: float) -> int:
    """Fewest channels that lose at most a share `blocking` of calls."""
    return _fewest_channels(load, blocking, erlang_b)


def channels_for_waiting(load: float, waiting: float) -> int:
    """Fewest channels with which at most a share `waiting` of calls has to wait for a free one."""
    return _fewest_channels(load, waiting, erlang_c)


def _fewest_channels(load: float, share: float, probability: Callable[[float, int], float]) -> int:
    _check_load(load, 0)
    _check_share(share)
    if load == 0:
        return 0
    channels = max(1, ceil(load * (1 - share)))
    while probability(load, channels) > share:
        channels += 1
    return channels


def _check_load(load: float, channels: int) -> None:
    if not 0 <= load < float("inf") or channels < 0:
        raise ValueError(f"load and channels must be finite and not negative: {load}, {channels}")


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"a share of calls lies between 0 and 1, both excluded: {share}")
