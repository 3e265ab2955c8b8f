"""Limits what a client may do: a token bucket for the rate of its requests, and a number of streams or pages open at once."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_BUCKETS = 10_000  # clients whose rate is remembered
REFUSAL_DELAY_SECONDS = 0.25  # before a 401 or 429 is answered, so that a client that repeats its request at once costs little


class LimitReached(Exception):
    """A limit on what is open at once is reached. status: 429 where it is the client's own, 503 where it is that of all."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)


class ConcurrencyLimiter:
    """Bounds how many streams, or pages, are open at once, of one client and of all. noun: what they are, for messages."""

    def __init__(self, per_client: int, in_all: int, noun: str = "streams") -> None:
        self._per_client, self._in_all, self._noun = per_client, max(1, in_all), noun
        self._open_by_client: Counter[str] = Counter()

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """Counts one until the block ends; raises LimitReached."""
        if self._open_by_client[client] >= self._per_client:
            raise LimitReached(429, f"this client has {self._per_client} {self._noun} open, which is as many as it may")
        if self._open_by_client.total() >= self._in_all:
            raise LimitReached(503, f"{self._in_all} {self._noun} are open, which is as many as there may be")
        self._open_by_client[client] += 1
        try:
            yield
        finally:
            self._open_by_client[client] -= 1
            if not self._open_by_client[client]:
                del self._open_by_client[client]


class RateLimiter:
    """A bucket of one second's worth for each client; 0 a second means no limit.

    Beyond MAX_BUCKETS the bucket is forgotten that was charged longest ago.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, and when it was measured

    def wait_seconds(self, client: str) -> int:
        """Whole seconds until the client may send again; 0: now."""
        level = self._level(client)
        return 0 if level > 0 else max(1, math.ceil(-level / self._per_second))

    def charge(self, client: str, events: int) -> None:
        """Counts events. A request larger than the bucket is let through; the client then waits until the bucket has filled."""
        if self._per_second:
            self._buckets[client] = self._level(client) - events, self._clock()
            self._buckets.move_to_end(client)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)

    def charge_one_second(self, client: str) -> None:
        """Charges one second's worth, whatever was sent: for a body too large to count."""
        self.charge(client, math.ceil(self._per_second))

    def _level(self, client: str) -> float:
        if not self._per_second or client not in self._buckets:
            return self._per_second or 1.0
        level, measured_at = self._buckets[client]
        return min(self._per_second, level + (self._clock() - measured_at) * self._per_second)
