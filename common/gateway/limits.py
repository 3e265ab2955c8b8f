"""How much a client may do: a bucket that fills at a rate, and from which each event or page takes one; places for streams."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST_CLIENTS = 10_000
PATIENCE_SECONDS = 0.25  # by which a 401 or 429 is held back: who asks on and on costs little then


class NoPlace(Exception):
    """`status`: 429 when this client has as many as it may, 503 when all together have."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)


class Places:
    """How many streams, or pages, may be open at once, of one client and of all."""

    def __init__(self, of_client: int, of_all: int, things: str = "streams") -> None:
        self._of_client, self._of_all, self._things = of_client, max(1, of_all), things
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, client: str) -> Iterator[None]:
        """One place, until the end; raises NoPlace."""
        if self._taken[client] >= self._of_client:
            raise NoPlace(429, f"this client has {self._of_client} {self._things} open, which is as many as it may")
        if self._taken.total() >= self._of_all:
            raise NoPlace(503, f"{self._of_all} {self._things} are open, which is as many as there may be")
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


class Rates:
    """One bucket for each client, of one second's worth; 0 a second means no limit. The longest idle are forgotten."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, and when it was so

    def wait(self, client: str) -> int:
        """Whole seconds until the client may send again; 0: now."""
        level = self._level(client)
        return 0 if level > 0 else max(1, math.ceil(-level / self._per_second))

    def take(self, client: str, events: int) -> None:
        """Count what was sent. A request larger than the bucket is taken, and paid for by waiting afterwards."""
        if self._per_second:
            self._buckets[client] = self._level(client) - events, self._clock()
            self._buckets.move_to_end(client)
            if len(self._buckets) > MOST_CLIENTS:
                self._buckets.popitem(last=False)

    def empty(self, client: str) -> None:
        """Count a second's worth."""
        self.take(client, math.ceil(self._per_second))

    def _level(self, client: str) -> float:
        if not self._per_second or client not in self._buckets:
            return self._per_second or 1.0
        level, at = self._buckets[client]
        return min(self._per_second, level + (self._clock() - at) * self._per_second)
