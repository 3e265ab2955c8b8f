"""Sending at a pace: when each record is due is computed first, by pure functions; one loop then keeps to it.

Due times count from the start, never from the last send, so that no delay adds up: whoever falls behind catches up.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

TICK = 0.005          # seconds; records due within one tick are sent together
MOST_AT_ONCE = 10_000  # records between two looks at the clock and at `stop` when behind


class Timed(Protocol):
    """Records in order of `arrival_time` (datetime64[ms], in the data's own time)."""

    @property
    def arrival_time(self) -> NDArray[np.datetime64]: ...

    def __len__(self) -> int: ...


Chunk = TypeVar("Chunk", bound=Timed)
Anything = TypeVar("Anything")
Due = NDArray[np.float64]


def at_rate(chunks: Iterable[Chunk], per_second: float) -> Iterator[tuple[Chunk, Due]]:
    """Record n is due n / `per_second` seconds after the start, whatever its own time."""
    before = 0
    for chunk in chunks:
        yield chunk, np.arange(before, before + len(chunk)) / per_second
        before += len(chunk)


def at_speed(chunks: Iterable[Chunk], speed: float, longest_wait: float = 60.0) -> Iterator[tuple[Chunk, Due]]:
    """Records are due as far apart as in their own time, divided by `speed`; the first at 0.

    A quiet stretch is cut to `longest_wait` seconds: one record dated 1970 must not hold the rest back for decades.
    An infinite speed makes everything due at once.
    """
    due, last = 0.0, None
    for chunk in chunks:
        if not len(chunk):
            continue
        times = chunk.arrival_time
        gaps = np.diff(times, prepend=times[:1] if last is None else last) / np.timedelta64(1, "s") / speed
        seconds = due + np.cumsum(np.clip(gaps, 0, longest_wait))
        due, last = float(seconds[-1]), times[-1:]
        yield chunk, seconds


def prefetched(chunks: Iterable[Anything]) -> Iterator[Anything]:
    """`chunks`, the next one made by another thread while the caller sends this one."""
    source = iter(chunks)
    with ThreadPoolExecutor(1, thread_name_prefix="next-chunk") as thread:
        upcoming = thread.submit(next, source, None)
        while (chunk := upcoming.result()) is not None:
            upcoming = thread.submit(next, source, None)
            yield chunk


def send_paced(
    scheduled: Iterable[tuple[Chunk, Due]], send: Callable[[Chunk, int, int], None], *, stop: threading.Event | None = None,
    until: float = math.inf, clock: Callable[[], float] = time.monotonic, wait: Callable[[float], object] | None = None,
) -> int:
    """Call `send(chunk, first, last)` with the records [first, last) that are due; returns how many were sent.

    Ends after the last chunk, once `stop` is set, or with the last record due before `until` seconds.
    The clock starts when the first chunk is there.
    """
    stop = stop or threading.Event()
    wait, start, total = wait or stop.wait, None, 0
    for chunk, due in scheduled:
        start = clock() if start is None else start
        sent, last = 0, int(np.searchsorted(due, until))
        while sent < last and not stop.is_set():
            elapsed = clock() - start
            ready = min(int(np.searchsorted(due, elapsed, "right")), last, sent + MOST_AT_ONCE)
            if ready > sent:
                send(chunk, sent, ready)
                total, sent = total + ready - sent, ready
            else:
                wait(max(TICK, due[sent] - elapsed))
        if sent < len(due):
            break
    return total
