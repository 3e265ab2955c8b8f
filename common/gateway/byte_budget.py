"""Bounds the bytes that all requests under way hold together."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from common.gateway.refusals import BodyRefused


class ByteBudget:
    """At most `max_bytes`, half of them for one client. A request is charged what it will hold, and gives it back in the end."""

    def __init__(self, max_bytes: int) -> None:
        self._free_bytes, self._max_per_client = max_bytes, max_bytes // 2
        self._bytes_by_client: Counter[str] = Counter()
        self._lock = Lock()  # large bodies are read by a thread

    @contextmanager
    def open_share(self, client: str) -> Iterator["BudgetShare"]:
        """The share of one request; what it was charged is free again when the block ends."""
        budget_share = BudgetShare(self, client)
        try:
            yield budget_share
        finally:
            with self._lock:
                self._free_bytes += budget_share.charged_bytes
                self._bytes_by_client[client] -= budget_share.charged_bytes
                if not self._bytes_by_client[client]:
                    del self._bytes_by_client[client]

    def charge(self, size: int, budget_share: "BudgetShare") -> None:
        """Takes `size` bytes for the request of `budget_share`. Raises BodyRefused, and has charged none of them then."""
        if budget_share.charged_bytes + size > self._max_per_client:
            raise BodyRefused(413, f"the request needs over {self._max_per_client:,} bytes of memory: send fewer events in one")
        with self._lock:
            if self._bytes_by_client[budget_share.client] + size > self._max_per_client:
                raise BodyRefused(
                    429,
                    "this client has as many requests under way as there is memory for, nothing of this one "
                    "was taken: send it again",
                )
            if size > self._free_bytes:
                raise BodyRefused(
                    503, "the gateway holds as many requests as it has memory for, nothing of this one was taken: send it again"
                )
            self._free_bytes -= size
            self._bytes_by_client[budget_share.client] += size
            budget_share.charged_bytes += size


class BudgetShare:
    """What one request was charged."""

    def __init__(self, budget: ByteBudget, client: str) -> None:
        self._budget, self.client = budget, client
        self.charged_bytes = 0

    def charge(self, size: int) -> None:
        """Charges `size` bytes more. Raises BodyRefused, and has charged none of them then."""
        self._budget.charge(size, self)
