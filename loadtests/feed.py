"""What a load test sends: the vertical's own simulation, of which each process takes the entities that are its own.

Event ids are unique within one simulation only: two seeds make the same ids. So all processes walk through the same
one, and an entity's events come from one process, in order. A turn is as many events of the simulation as there are
processes; whoever takes a turn sends those that are its own. So processes that take turns equally often stay at the same
simulated time, however unequal their shares are, and no query sees one of them as late.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from gevent import get_hub
from gevent.lock import RLock

from common.simulation.generated import Generated
from common.simulation.messages import label_messages


class Slice(NamedTuple):
    """Process `number`, counted from 0, of `of`."""

    number: int
    of: int

    def owns(self, entity: bytes) -> bool:
        return self.of == 1 or crc32(entity) % self.of == self.number


class Sent(NamedTuple):
    """A record; flawed: whether the generator broke it on purpose (a duplicate is not)."""

    key: bytes
    value: bytes
    flawed: bool = False


@dataclass(frozen=True)
class Share:
    """A chunk's own records and labels, each with its place in the whole chunk, of `length` records."""

    length: int
    places: list[int]
    records: list[Sent]
    label_places: list[int]
    labels: list[Sent]


def share_of(chunk: Generated, own: Slice) -> Share:
    """What is a slice's own. A label's place is that of the first message that arrives at or after its event's time."""
    messages = chunk.messages
    assert messages is not None
    flawed = (messages.flaw != "") & (messages.flaw != "duplicate")
    rows = zip(messages.keys.tolist(), messages.values.tolist(), flawed.tolist(), strict=True)
    mine = [(place, Sent(*row)) for place, row in enumerate(rows) if own.owns(row[0])]
    labels = label_messages(chunk.labels)
    due = np.minimum(np.searchsorted(messages.arrival_time, labels.arrival_time), len(messages) - 1)
    told = zip(due.tolist(), labels.keys.tolist(), labels.values.tolist(), strict=True)
    known = [(place, Sent(key, value)) for place, key, value in told if own.owns(key)]
    return Share(
        len(messages), [place for place, _ in mine], [record for _, record in mine],
        [place for place, _ in known], [record for _, record in known],
    )  # fmt: skip


class Feed:
    """Records and labels in order; the next chunk is made by a thread of the system's while this one is sent.

    One feed serves all users of a process. At most two chunks are in memory.
    """

    def __init__(self, chunks: Iterator[Generated], own: Slice) -> None:
        self.own = own
        self._chunks, self._lock = chunks, RLock()
        self._share, self._place, self._record, self._label = Share(0, [], [], [], []), 0, 0, 0
        self._ask_for_next()

    def ready(self) -> None:
        """Returns once the first chunk is there, which may take seconds."""
        with self._lock:
            self._at_hand()

    def take(self, turns: int) -> tuple[list[Sent], list[Sent]]:
        """The records of the next `turns` turns, and the labels that are due by then; either may be empty."""
        records: list[Sent] = []
        labels: list[Sent] = []
        with self._lock:
            left = turns * self.own.of
            while left:
                step = min(left, self._at_hand())
                self._place, left = self._place + step, left - step
                self._record = _until(self._place, self._share.places, self._share.records, self._record, records)
                self._label = _until(self._place, self._share.label_places, self._share.labels, self._label, labels)
        return records, labels

    def _at_hand(self) -> int:
        """Places left in the present chunk; waits for another when there is none."""
        while self._place == self._share.length:
            self._share, self._place, self._record, self._label = self._next.get(), 0, 0, 0
            self._ask_for_next()
        return self._share.length - self._place

    def _ask_for_next(self) -> None:
        # gevent has made threading's threads greenlets; in one of those a day's simulation would hold up every user.
        self._next = get_hub().threadpool.spawn(self._make)

    def _make(self) -> Share:
        for chunk in self._chunks:
            if chunk.messages is not None and len(chunk.messages):
                return share_of(chunk, self.own)
        raise RuntimeError("the simulation has come to its last day")


def _until(end: int, places: list[int], items: list[Sent], index: int, into: list[Sent]) -> int:
    """Moves the items whose place is before `end`; returns the index of the first that stays."""
    while index < len(places) and places[index] < end:
        into.append(items[index])
        index += 1
    return index
