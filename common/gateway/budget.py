"""How many bytes all requests under way may hold together."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.gateway.refusals import Unreadable


class Budget:
    """At most `most` bytes. A request takes what it is about to hold, and gives all of it back in the end."""

    def __init__(self, most: int) -> None:
        self._most, self._left = most, most

    @contextmanager
    def share(self) -> Iterator["Share"]:
        share = Share(self)
        try:
            yield share
        finally:
            self._left += share.taken

    def take(self, size: int, share: "Share") -> None:
        if share.taken + size > self._most:
            raise Unreadable(413, f"the request needs more than {self._most:,} bytes of memory: send fewer events in one")
        if size > self._left:
            raise Unreadable(503, "the gateway holds as many requests as it has memory for, nothing of this one was taken: "
                             "send it again")
        self._left -= size
        share.taken += size


class Share:
    """What one request has taken."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises Unreadable, and has taken nothing more then."""
        self._budget.take(size, self)
