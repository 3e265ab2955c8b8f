"""Computes, before a chaos run, what it will send: valid events by id, repeated and broken ones by their bytes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
import orjson

from common.simulation.fuzz import Envelope, fuzz_envelope, fuzz_value
from common.simulation.generated_events import GeneratedEvents
from common.vertical import Vertical
from loadtests.simulation_spec import SimulationSpec


@dataclass(frozen=True)
class Fuzz:
    """`count` records, each made of one of the valid `values`; only the contract decides whether they are valid.

    They are drawn again in each iteration, the same each time: together they may be larger than memory.
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
            yield fuzz_value(rng, with_event_id(self.vertical, self.values[number % len(self.values)], f"fuzz-{number}"))

    def records(self) -> Iterator[tuple[bytes | None, Envelope]]:
        """The values, each with its envelope: odd keys, headers and timestamps."""
        rng = np.random.default_rng([self.seed, 1])
        return ((value, fuzz_envelope(rng)) for value in self)


@dataclass
class ExpectedRecords:
    """ids and values of the valid events, in order; rejected: how often each other value is sent, by `digest`.

    fuzz: records that are sent beside them. last_arrival: when the last event arrives, in simulated time.
    """

    fuzz: Fuzz

    ids: list[str] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    labels: int = 0
    last_arrival: np.datetime64 | None = None

    @property
    def count(self) -> int:
        """How many records are sent beside fuzz."""
        return len(self.ids) + self.rejected.total()


def digest(value: bytes | None) -> str:
    return sha256(value or b"").hexdigest()


def expect_records(vertical: Vertical, simulation: SimulationSpec, events: int, fuzz: int) -> ExpectedRecords:
    """The first `events` records that `hybrid generate` sends of this simulation, and `fuzz` records beside them."""
    expected_records = ExpectedRecords(Fuzz(vertical, simulation.seed, [], fuzz))
    label_times: list[np.ndarray] = []
    for chunk in _take_messages(simulation.generate(vertical), events):
        assert chunk.messages is not None
        label_times.append(chunk.labels["event_time"].to_numpy().astype("datetime64[ms]"))
        for value, flaw in zip(chunk.messages.values.tolist(), chunk.messages.flaw.tolist(), strict=True):
            if flaw:
                expected_records.rejected[digest(value)] += 1
            else:
                expected_records.ids.append(orjson.loads(value)[vertical.event_id])
                expected_records.values.append(value)
        if len(chunk.messages):
            expected_records.last_arrival = chunk.messages.arrival_time[-1]
    expected_records.labels = int((np.concatenate(label_times) <= expected_records.last_arrival).sum())
    expected_records.fuzz.values.extend(expected_records.values)
    return expected_records


def _take_messages(chunks: Iterable[GeneratedEvents], count: int) -> Iterator[GeneratedEvents]:
    """The chunks that hold the first `count` messages, the last of them cut."""
    remaining = count
    for chunk in chunks:
        assert chunk.messages is not None
        yield replace(chunk, messages=chunk.messages.take(np.arange(min(remaining, len(chunk.messages)))))
        remaining -= len(chunk.messages)
        if remaining <= 0:
            return


def with_event_id(vertical: Vertical, value: bytes, event_id: str) -> bytes:
    """The event with another id, so that the contract does not take it for a repetition of an expected one."""
    return orjson.dumps(orjson.loads(value) | {vertical.event_id: event_id})
