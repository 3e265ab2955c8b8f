"""Idempotency keys: a request that is sent again, because its answer was lost, gets that answer and sends nothing."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

DAY = 24 * 3600.0
LONGEST_KEY = 255
BESIDE_ANSWER = 500  # bytes that a key takes beside its answer, about


@dataclass
class Remembered:
    """A request that came with a key, and what it was answered."""

    fingerprint: bytes
    at: float
    answer: tuple[int, bytes]


class Reused(Exception):
    """The key came before with another body."""


class UnderWay(Exception):
    """The request with this key has no answer yet."""


class Kept:
    """The answers of one client, the oldest first."""

    def __init__(self) -> None:
        self.by_key: OrderedDict[Hashable, Remembered] = OrderedDict()
        self.size = 0

    def put(self, key: Hashable, remembered: Remembered) -> None:
        self.by_key[key] = remembered
        self.size += _size(remembered)

    def forget_oldest(self) -> None:
        _, oldest = self.by_key.popitem(last=False)
        self.size -= _size(oldest)


class Answers:
    """What was answered under which key, for `seconds`. A key whose request is under way is never forgotten.

    of_client: bytes of answers that are kept of one client, whose oldest are forgotten beyond; max_bytes: of all, beyond which
    the oldest go of the client that has most.
    """

    def __init__(
        self, seconds: float = DAY, of_client: int = 8 * 1024 * 1024, max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._of_client, self._most, self._clock = seconds, of_client, max_bytes, clock
        self._under_way: dict[Hashable, bytes] = {}  # with the bodies' fingerprints
        self._kept: dict[str, Kept] = {}

    def begin(self, client: str, key: Hashable, body: bytes) -> tuple[int, bytes] | None:
        """The earlier answer to this client's key and body; None the first time. Raises Reused or UnderWay."""
        self._forget_old(client)
        fingerprint = hashlib.sha256(body).digest()
        if earlier := self._under_way.get((client, key)):
            raise UnderWay if earlier == fingerprint else Reused
        kept = self._kept[client].by_key.get(key) if client in self._kept else None
        if kept is None:
            self._under_way[client, key] = fingerprint
            return None
        if kept.fingerprint != fingerprint:
            raise Reused
        return kept.answer

    def end(self, client: str, key: Hashable, answer: tuple[int, bytes] | None) -> None:
        """Keep the answer for those who ask again; None: the request came to nothing, and may be tried again as if new."""
        fingerprint = self._under_way.pop((client, key))
        if answer is None:
            return
        kept = self._kept.setdefault(client, Kept())
        kept.put(key, Remembered(fingerprint, self._clock(), answer))
        while kept.size > self._of_client:
            kept.forget_oldest()
        while sum(each.size for each in self._kept.values()) > self._most:
            max(self._kept.values(), key=lambda each: each.size).forget_oldest()

    def _forget_old(self, client: str) -> None:
        kept = self._kept.get(client)
        while kept and kept.by_key and self._clock() - next(iter(kept.by_key.values())).at >= self._seconds:
            kept.forget_oldest()
        if kept and not kept.by_key:
            del self._kept[client]


def _size(remembered: Remembered) -> int:
    return BESIDE_ANSWER + len(remembered.answer[1])
