"""How many events a client may send: a bucket that fills at a rate, and from which each event takes one."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 10_000


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

    def _level(self, client: str) -> float:
        if not self._per_second or client not in self._buckets:
            return self._per_second or 1.0
        level, at = self._buckets[client]
        return min(self._per_second, level + (self._clock() - at) * self._per_second)
