"""How many bytes all requests under way may hold together."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from common.gateway.refusals import Unreadable


class Budget:
    """At most `most` bytes, half of them of one client. A request takes what it will hold, and gives it back in the end."""

    def __init__(self, most: int) -> None:
        self._left, self._most_of_client = most, most // 2
        self._of_clients: Counter[str] = Counter()
        self._lock = Lock()  # large bodies are read by a thread

    @contextmanager
    def share(self, client: str) -> Iterator["Share"]:
        share = Share(self, client)
        try:
            yield share
        finally:
            with self._lock:
                self._left += share.taken
                self._of_clients[client] -= share.taken
                if not self._of_clients[client]:
                    del self._of_clients[client]

    def take(self, size: int, share: "Share") -> None:
        if share.taken + size > self._most_of_client:
            raise Unreadable(413, f"the request needs over {self._most_of_client:,} bytes of memory: send fewer events in one")
        with self._lock:
            if self._of_clients[share.client] + size > self._most_of_client:
                raise Unreadable(429, "this client has as many requests under way as there is memory for, nothing of this one "
                                 "was taken: send it again")
            if size > self._left:
                raise Unreadable(503, "the gateway holds as many requests as it has memory for, nothing of this one was taken: "
                                 "send it again")
            self._left -= size
            self._of_clients[share.client] += size
            share.taken += size


class Share:
    """What one request has taken."""

    def __init__(self, budget: Budget, client: str) -> None:
        self._budget, self.client = budget, client
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises Unreadable, and has taken nothing more then."""
        self._budget.take(size, self)
