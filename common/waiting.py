"""Waits beside something that runs, until it is stopped, and paces what is to be done only now and then."""

import math
import threading
import time
from collections.abc import Callable, Iterator

from common.clock import ClockWatch


def until_stopped(seconds: float | None, stop: threading.Event | None = None) -> Iterator[float]:
    """Yields the seconds so far, about once a second, until Ctrl-C, `stop`, or `seconds` have passed."""
    stop, start = stop or threading.Event(), time.monotonic()
    while seconds is None or time.monotonic() - start < seconds:
        yield time.monotonic() - start
        if stop.wait(1.0):
            return


def while_streaming(seconds: float | None, stop: threading.Event | None = None) -> Iterator[float]:
    """`until_stopped` beside a stream; raises ClockSetBack when the machine's clock was set back."""
    watch = ClockWatch()
    for elapsed in until_stopped(seconds, stop):
        watch.check()
        yield elapsed


def due_every(seconds: float) -> Callable[[], bool]:
    """A function that says whether it is time again: True at the first call, and then once `seconds` after the last True."""
    last_due_at = -math.inf

    def is_due() -> bool:
        nonlocal last_due_at
        if (now := time.monotonic()) - last_due_at < seconds:
            return False
        last_due_at = now
        return True

    return is_due
