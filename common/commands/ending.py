"""Signals that end the command: as exceptions, so that every `with` on the way out stops what it started."""

import signal
import time
from types import FrameType

AT_ONCE = 1.0  # seconds within which a signal that comes again is the same one: a key held down, a process told twice

_last = {"number": 0, "at": -AT_ONCE}


def end_at_signals() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, SIGTERM SystemExit; said twice at once they are raised once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)


def asked() -> int:
    """The number of the signal that asked for the end; 0 if none did."""
    return int(_last["number"])


def _ended(number: int, frame: FrameType | None) -> None:
    # A second exception in the midst of the first one's way out would cut short what is being stopped there.
    again = time.monotonic() - _last["at"] < AT_ONCE
    _last.update(number=number, at=time.monotonic())
    if again:
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
