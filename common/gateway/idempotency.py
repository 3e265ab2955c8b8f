"""Idempotency keys: a request that is sent again because its answer was lost gets that answer, and sends nothing."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

DAY_SECONDS = 24 * 3600.0
MAX_KEY_CHARACTERS = 255
ENTRY_OVERHEAD_BYTES = 500  # that a key takes beside its answer, about


@dataclass
class StoredAnswer:
    """The answer to a request that came with a key; fingerprint: SHA-256 of the request's body."""

    fingerprint: bytes
    stored_at: float
    answer: tuple[int, bytes]


class KeyReused(Exception):
    """The key came before with another body."""


class RequestInProgress(Exception):
    """The request with this key has no answer yet."""


class ClientAnswers:
    """The answers of one client, the oldest first."""

    def __init__(self) -> None:
        self.by_key: OrderedDict[Hashable, StoredAnswer] = OrderedDict()
        self.size = 0

    def add(self, key: Hashable, entry: StoredAnswer) -> None:
        self.by_key[key] = entry
        self.size += _size(entry)

    def forget_oldest(self) -> None:
        _, oldest = self.by_key.popitem(last=False)
        self.size -= _size(oldest)


class AnswerCache:
    """Keeps for `seconds` what was answered under which key. A key whose request is in progress is never forgotten.

    bytes_per_client: a client whose answers take more loses its oldest; max_bytes: when all together take more, the client
    that holds most loses its oldest.
    """

    def __init__(
        self,
        seconds: float = DAY_SECONDS,
        bytes_per_client: int = 8 * 1024 * 1024,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._bytes_per_client, self._max_bytes, self._clock = seconds, bytes_per_client, max_bytes, clock
        self._in_progress: dict[Hashable, bytes] = {}  # with the bodies' fingerprints
        self._by_client: dict[str, ClientAnswers] = {}

    def begin(self, client: str, key: Hashable, body: bytes) -> tuple[int, bytes] | None:
        """The earlier answer to this client's key and body; None the first time. Raises KeyReused or RequestInProgress."""
        self._forget_old(client)
        fingerprint = hashlib.sha256(body).digest()
        if earlier := self._in_progress.get((client, key)):
            raise RequestInProgress if earlier == fingerprint else KeyReused
        entry = self._by_client[client].by_key.get(key) if client in self._by_client else None
        if entry is None:
            self._in_progress[client, key] = fingerprint
            return None
        if entry.fingerprint != fingerprint:
            raise KeyReused
        return entry.answer

    def end(self, client: str, key: Hashable, answer: tuple[int, bytes] | None) -> None:
        """Keeps the answer for the same request sent again; None: it came to nothing, and may be tried again as if new."""
        fingerprint = self._in_progress.pop((client, key))
        if answer is None:
            return
        answers = self._by_client.setdefault(client, ClientAnswers())
        answers.add(key, StoredAnswer(fingerprint, self._clock(), answer))
        while answers.size > self._bytes_per_client:
            answers.forget_oldest()
        while sum(entries.size for entries in self._by_client.values()) > self._max_bytes:
            max(self._by_client.values(), key=lambda entries: entries.size).forget_oldest()

    def _forget_old(self, client: str) -> None:
        answers = self._by_client.get(client)
        while answers and answers.by_key and self._clock() - next(iter(answers.by_key.values())).stored_at >= self._seconds:
            answers.forget_oldest()
        if answers and not answers.by_key:
            del self._by_client[client]


def _size(entry: StoredAnswer) -> int:
    return ENTRY_OVERHEAD_BYTES + len(entry.answer[1])
