"""Turns signals that end a command into exceptions, so that every `with` on the way out stops what it started."""

import signal
import time
from types import FrameType

REPEAT_SECONDS = 1.0  # within which a second signal counts as the first: a key held down, a process told twice

_last_signal = {"number": 0, "at": -REPEAT_SECONDS}


def end_at_signals() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, SIGTERM SystemExit; two within a second are raised once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def ending_signal() -> int:
    """The number of the signal that asked for the end; 0 if none did."""
    return int(_last_signal["number"])


def _end(number: int, frame: FrameType | None) -> None:
    # A second exception in the midst of the first one's way out would cut short what is being stopped there.
    is_repeated = time.monotonic() - _last_signal["at"] < REPEAT_SECONDS
    _last_signal.update(number=number, at=time.monotonic())
    if is_repeated:
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
