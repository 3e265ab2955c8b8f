"""What a chaos run sends, known before it is sent: the valid events by id, the repeated and broken ones by their bytes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256

import numpy as np
import orjson

from common.simulation.fuzz import Envelope, envelope, fuzzed
from common.simulation.generated import Generated
from common.vertical import Vertical


@dataclass(frozen=True)
class Fuzz:
    """`count` records of which only the contract knows whether they are valid, each made of one of the valid `values`.

    Drawn anew at each walk, and the same each time: together they may be larger than memory.
    """

    vertical: Vertical
    seed: int
    values: list[bytes]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[bytes | None]:
        rng = np.random.default_rng(self.seed)
        for number in range(self.count):
            yield fuzzed(rng, renamed(self.vertical, self.values[number % len(self.values)], f"fuzz-{number}"))

    def records(self) -> Iterator[tuple[bytes | None, Envelope]]:
        """The values, and what each is sent in: odd keys, headers and timestamps."""
        rng = np.random.default_rng([self.seed, 1])
        return ((value, envelope(rng)) for value in self)


@dataclass
class Known:
    """ids and values of the valid events, in order; rejected: how often each other value is sent, by `digest`.

    fuzz: records that are sent beside them. simulated: when the last event arrives.
    """

    fuzz: Fuzz

    ids: list[str] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    labels: int = 0
    simulated: np.datetime64 | None = None

    @property
    def records(self) -> int:
        """How many are sent beside fuzz."""
        return len(self.ids) + self.rejected.total()


def digest(value: bytes | None) -> str:
    return sha256(value or b"").hexdigest()


def known(vertical: Vertical, seed: int, start: date, days: int, population: object, events: int, fuzz: int) -> Known:
    """The first `events` records that `generate` sends with these arguments, and `fuzz` records beside them."""
    found = Known(Fuzz(vertical, seed, [], fuzz))
    labelled: list[np.ndarray] = []
    for chunk in _first(vertical.generate(seed, start, days, population), events):
        assert chunk.messages is not None
        labelled.append(chunk.labels["event_time"].to_numpy().astype("datetime64[ms]"))
        for value, flaw in zip(chunk.messages.values.tolist(), chunk.messages.flaw.tolist(), strict=True):
            if flaw:
                found.rejected[digest(value)] += 1
                found.duplicates += flaw == "duplicate"
            else:
                found.ids.append(orjson.loads(value)[vertical.event_id])
                found.values.append(value)
        if len(chunk.messages):
            found.simulated = chunk.messages.arrival_time[-1]
    found.labels = int((np.concatenate(labelled) <= found.simulated).sum())
    found.fuzz.values.extend(found.values)
    return found


def _first(chunks: Iterable[Generated], events: int) -> Iterator[Generated]:
    left = events
    for chunk in chunks:
        assert chunk.messages is not None
        yield replace(chunk, messages=chunk.messages.take(np.arange(min(left, len(chunk.messages)))))
        left -= len(chunk.messages)
        if left <= 0:
            return


def renamed(vertical: Vertical, value: bytes, name: str) -> bytes:
    """As an event of its own, so that one that is valid all the same is no repetition of a known one."""
    return orjson.dumps(orjson.loads(value) | {vertical.event_id: name})
