"""Sends records at a pace: pure functions compute when each record is due, and one loop sends them then.

Due times count from the start, never from the last send, so that delays do not add up: a sender that falls behind catches up.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

TICK_SECONDS = 0.005  # records due within one tick are sent together
MAX_RECORDS_AT_ONCE = 10_000  # when behind, between two checks of the clock and of `stop`


class TimedRecords(Protocol):
    """Records in order of `arrival_time` (datetime64[ms], in the data's own time)."""

    @property
    def arrival_time(self) -> NDArray[np.datetime64]: ...

    def __len__(self) -> int: ...


Chunk = TypeVar("Chunk", bound=TimedRecords)
Item = TypeVar("Item")
DueSeconds = NDArray[np.float64]  # of a chunk's records, or of the first of them: the others are not sent
# Says when records are due, such as partial(schedule_at_rate, per_second=500).
Pace = Callable[[Iterable[Chunk]], Iterator[tuple[Chunk, DueSeconds]]]


def schedule_at_rate(chunks: Iterable[Chunk], per_second: float) -> Iterator[tuple[Chunk, DueSeconds]]:
    """Record n is due n / `per_second` seconds after the start, whatever its own time."""
    count = 0
    for chunk in chunks:
        yield chunk, np.arange(count, count + len(chunk)) / per_second
        count += len(chunk)


def schedule_at_speed(chunks: Iterable[Chunk], speed: float, longest_wait: float = 60.0) -> Iterator[tuple[Chunk, DueSeconds]]:
    """Records are due as far apart as in their own time, divided by `speed`; the first at 0.

    A quiet stretch is cut to `longest_wait` seconds: one record dated 1970 must not hold the rest back for decades.
    With an infinite speed all records are due at once.
    """
    last_due, last_time = 0.0, None
    for chunk in chunks:
        if not len(chunk):
            continue
        times = chunk.arrival_time
        gaps = np.diff(times, prepend=times[:1] if last_time is None else last_time) / np.timedelta64(1, "s") / speed
        due_seconds = last_due + np.cumsum(np.clip(gaps, 0, longest_wait))
        last_due, last_time = float(due_seconds[-1]), times[-1:]
        yield chunk, due_seconds


def end_schedule(schedule: Iterable[tuple[Chunk, DueSeconds]], seconds: float) -> Iterator[tuple[Chunk, DueSeconds]]:
    """The schedule up to the last record that is due before `seconds` after the start."""
    for chunk, due_seconds in schedule:
        count = int(np.searchsorted(due_seconds, seconds))
        yield chunk, due_seconds[:count]
        if count < len(due_seconds):
            return


def prefetch(chunks: Iterable[Item]) -> Iterator[Item]:
    """`chunks`; another thread makes the next one while the caller sends this one."""
    source = iter(chunks)
    with ThreadPoolExecutor(1, thread_name_prefix="next-chunk") as thread:
        upcoming = thread.submit(next, source, None)
        while (chunk := upcoming.result()) is not None:
            upcoming = thread.submit(next, source, None)
            yield chunk


def send_paced(
    schedule: Iterable[tuple[Chunk, DueSeconds]],
    send: Callable[[Chunk, int, int], None],
    *,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] | None = None,
) -> int:
    """Call `send(chunk, first, last)` with the records [first, last) that are due; returns how many were sent.

    Ends after the last chunk, or once `stop` is set. The clock starts with the first chunk.
    """
    stop = stop or threading.Event()
    wait, start, total = wait or stop.wait, None, 0
    for chunk, due_seconds in schedule:
        start = clock() if start is None else start
        sent_count = 0
        while sent_count < len(due_seconds) and not stop.is_set():
            elapsed = clock() - start
            ready_count = min(int(np.searchsorted(due_seconds, elapsed, "right")), sent_count + MAX_RECORDS_AT_ONCE)
            if ready_count > sent_count:
                send(chunk, sent_count, ready_count)
                total, sent_count = total + ready_count - sent_count, ready_count
            else:
                wait(max(TICK_SECONDS, due_seconds[sent_count] - elapsed))
        if sent_count < len(due_seconds):
            break
    return total
