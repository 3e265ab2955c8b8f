"""Waiting beside something that runs: until it is stopped, and doing a thing only now and then."""

import math
import threading
import time
from collections.abc import Callable, Iterator

from common.clock import ClockWatch


def until_stopped(seconds: float | None, stop: threading.Event | None = None) -> Iterator[float]:
    """Yields about once a second until Ctrl-C, `stop`, or `seconds` have passed; gives the seconds so far."""
    stop, start = stop or threading.Event(), time.monotonic()
    while seconds is None or time.monotonic() - start < seconds:
        yield time.monotonic() - start
        if stop.wait(1.0):
            return


def while_streaming(seconds: float | None, stop: threading.Event | None = None) -> Iterator[float]:
    """`until_stopped` beside a stream; raises ClockSetBack when the machine's clock was."""
    watch = ClockWatch()
    for passed in until_stopped(seconds, stop):
        watch.check()
        yield passed


def every(seconds: float) -> Callable[[], bool]:
    """A question that is answered with True at most once in `seconds`, and at once when that is overdue."""
    last = -math.inf

    def is_due() -> bool:
        nonlocal last
        if (now := time.monotonic()) - last < seconds:
            return False
        last = now
        return True

    return is_due
