"""Idempotency keys: a request that is sent again, because its answer was lost, gets that answer and sends nothing."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

DAY = 24 * 3600.0
LONGEST_KEY = 255


@dataclass
class Remembered:
    """A request that came with a key, and what it was answered; None while it is under way."""

    fingerprint: bytes
    at: float
    answer: tuple[int, bytes] | None = None


class Reused(Exception):
    """The key came before with another body."""


class UnderWay(Exception):
    """The request with this key has no answer yet."""


class Answers:
    """What was answered under which key, for `seconds`; the oldest are forgotten earlier when there are too many bytes."""

    def __init__(
        self, seconds: float = DAY, max_bytes: int = 64 * 1024 * 1024, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._most, self._clock = seconds, max_bytes, clock
        self._bytes = 0
        self._known: OrderedDict[Hashable, Remembered] = OrderedDict()

    def begin(self, key: Hashable, body: bytes) -> tuple[int, bytes] | None:
        """The earlier answer to this key and body; None the first time. Raises Reused or UnderWay."""
        self._forget()
        fingerprint = hashlib.sha256(body).digest()
        known = self._known.get(key)
        if known is None:
            self._known[key] = Remembered(fingerprint, self._clock())
            self._bytes += _size(self._known[key])
            return None
        if known.fingerprint != fingerprint:
            raise Reused
        if known.answer is None:
            raise UnderWay
        return known.answer

    def end(self, key: Hashable, answer: tuple[int, bytes] | None) -> None:
        """Keep the answer for those who ask again; None: the request came to nothing, and may be tried again as if new."""
        known = self._known.pop(key, None)
        if known is None:
            return
        self._bytes -= _size(known)
        if answer is not None:
            self._known[key] = Remembered(known.fingerprint, self._clock(), answer)
            self._bytes += _size(self._known[key])

    def _forget(self) -> None:
        while self._known:
            key, oldest = next(iter(self._known.items()))
            if self._bytes <= self._most and self._clock() - oldest.at < self._seconds:
                return
            del self._known[key]
            self._bytes -= _size(oldest)


def _size(remembered: Remembered) -> int:
    return 500 + (len(remembered.answer[1]) if remembered.answer else 0)
