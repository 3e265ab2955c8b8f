"""Feeds a load test with the vertical's own simulation, of which each process sends the entities that it owns.

Event ids are unique within one simulation only: two seeds make the same ids. So all processes walk through the same
simulation, and an entity's events come from one process, in order. A turn is as many events of the simulation as there are
processes; the process that takes a turn sends those of them that it owns. Processes that take turns equally often so stay at
the same simulated time, however unequal their shares are, and no query sees the events of one of them as late.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from gevent import get_hub
from gevent.lock import RLock

from common.simulation.generated_events import GeneratedEvents
from common.simulation.messages import label_messages


class EntitySlice(NamedTuple):
    """The entities of process `number`, counted from 0, of `processes`."""

    number: int
    processes: int

    def owns(self, entity: bytes) -> bool:
        return self.processes == 1 or crc32(entity) % self.processes == self.number


class FeedRecord(NamedTuple):
    """A record to be sent. is_flawed: the generator broke it on purpose (a duplicate is not flawed)."""

    key: bytes
    value: bytes
    is_flawed: bool = False


@dataclass(frozen=True)
class ProcessShare:
    """The records and labels of a chunk that one process sends, each with its position in the whole chunk of `length` records."""

    length: int
    record_positions: list[int]
    records: list[FeedRecord]
    label_positions: list[int]
    labels: list[FeedRecord]


def select_share(chunk: GeneratedEvents, owner: EntitySlice) -> ProcessShare:
    """The owner's part of a chunk. A label's position is that of the first message that arrives at or after its event's time."""
    messages = chunk.messages
    assert messages is not None
    is_flawed = (messages.flaw != "") & (messages.flaw != "duplicate")
    rows = zip(messages.keys.tolist(), messages.values.tolist(), is_flawed.tolist(), strict=True)
    records = [(position, FeedRecord(*row)) for position, row in enumerate(rows) if owner.owns(row[0])]
    all_labels = label_messages(chunk.labels)
    due_positions = np.minimum(np.searchsorted(messages.arrival_time, all_labels.arrival_time), len(messages) - 1)
    label_rows = zip(due_positions.tolist(), all_labels.keys.tolist(), all_labels.values.tolist(), strict=True)
    labels = [(position, FeedRecord(key, value)) for position, key, value in label_rows if owner.owns(key)]
    return ProcessShare(
        len(messages), [position for position, _ in records], [record for _, record in records],
        [position for position, _ in labels], [record for _, record in labels],
    )  # fmt: skip


class Feed:
    """Records and labels in order; a thread of the operating system makes the next chunk while this one is sent.

    One feed serves all users of a process. At most two chunks are in memory.
    """

    def __init__(self, chunks: Iterator[GeneratedEvents], owner: EntitySlice) -> None:
        self.owner = owner
        self._chunks, self._lock = chunks, RLock()
        self._share, self._position, self._record, self._label = ProcessShare(0, [], [], [], []), 0, 0, 0
        self._start_next_chunk()

    def wait_until_ready(self) -> None:
        """Returns once the first chunk is made, which may take seconds."""
        with self._lock:
            self._count_remaining()

    def take(self, turns: int) -> tuple[list[FeedRecord], list[FeedRecord]]:
        """The records of the next `turns` turns, and the labels that are due by then; either may be empty."""
        records: list[FeedRecord] = []
        labels: list[FeedRecord] = []
        with self._lock:
            remaining = turns * self.owner.processes
            while remaining:
                step = min(remaining, self._count_remaining())
                self._position, remaining = self._position + step, remaining - step
                share = self._share
                self._record = _move_before(self._position, share.record_positions, share.records, self._record, records)
                self._label = _move_before(self._position, share.label_positions, share.labels, self._label, labels)
        return records, labels

    def _count_remaining(self) -> int:
        """Records of the present chunk that are still to be sent, by whichever process; waits for another chunk when it is 0."""
        while self._position == self._share.length:
            self._share, self._position, self._record, self._label = self._next.get(), 0, 0, 0
            self._start_next_chunk()
        return self._share.length - self._position

    def _start_next_chunk(self) -> None:
        # gevent has made threading's threads greenlets; in one of those a day's simulation would hold up every user.
        self._next = get_hub().threadpool.spawn(self._make_share)

    def _make_share(self) -> ProcessShare:
        for chunk in self._chunks:
            if chunk.messages is not None and len(chunk.messages):
                return select_share(chunk, self.owner)
        raise RuntimeError("the simulation has come to its last day")


def _move_before(end: int, positions: list[int], items: list[FeedRecord], index: int, target: list[FeedRecord]) -> int:
    """Moves the items from `index` on whose position is before `end`; returns the index of the first that stays."""
    while index < len(positions) and positions[index] < end:
        target.append(items[index])
        index += 1
    return index
