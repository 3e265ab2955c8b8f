"""Sending what a generator makes: its messages at a pace, its labels to a topic of their own."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from common.ingestion.paced import Due, prefetched, send_paced
from common.ingestion.producers import Producer
from common.ingestion.topics import topic_names
from common.simulation.generated import Generated
from common.simulation.messages import Messages, encode, plain_columns
from common.vertical import Vertical

Pace = Callable[[Iterable[Messages]], Iterator[tuple[Messages, Due]]]


@dataclass
class Sent:
    """Records sent so far. simulated: the arrival time that the simulation has reached."""

    events: int = 0
    labels: int = 0
    simulated: np.datetime64 | None = None


def send_generated(
    vertical: Vertical | str, chunks: Iterable[Generated], producer: Producer, pace: Pace, *,
    stop: threading.Event | None = None, until: float = math.inf, progress: Callable[[Sent], None] = lambda sent: None,
) -> Sent:
    """Send chunks at a pace (`partial(at_rate, per_second=500)`, `partial(at_speed, speed=60)`); returns once delivered.

    Ends with the chunks, at `until` seconds, or when `stop` is set. A label is sent when the simulation reaches its
    event's time, so that a run cut short has labels only for what it has sent, late events apart. Raises Undelivered.
    """
    topics, sent, pending = topic_names(vertical), Sent(), _PendingLabels()

    def messages() -> Iterator[Messages]:
        for chunk in prefetched(chunks):
            if chunk.messages is not None:
                pending.add(chunk.labels)
                yield chunk.messages

    def send(chunk: Messages, first: int, last: int) -> None:
        producer.send_many(topics.events, chunk.keys[first:last].tolist(), chunk.values[first:last].tolist())
        sent.events += last - first
        sent.simulated = chunk.arrival_time[last - 1]
        keys, values = pending.take(sent.simulated)
        producer.send_many(topics.labels, keys, values)
        sent.labels += len(keys)
        progress(sent)

    send_paced(pace(messages()), send, stop=stop, until=until)
    producer.flush()
    return sent


class _PendingLabels:
    """Labels in order of event time, as JSON, until they are due."""

    def __init__(self) -> None:
        self._times = np.empty(0, "datetime64[ms]")
        self._keys: list[bytes] = []
        self._values: list[bytes] = []

    def add(self, labels: pa.Table) -> None:
        labels = labels.sort_by("event_time")
        self._times = np.concatenate([self._times, labels["event_time"].to_numpy().astype("datetime64[ms]")])
        self._keys += [entity.encode() for entity in labels["entity_id"].to_pylist()]
        self._values += encode(plain_columns(labels)).tolist()

    def take(self, until: np.datetime64) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of those whose event time is not after `until`."""
        due = int(np.searchsorted(self._times, until, "right"))
        taken = self._keys[:due], self._values[:due]
        self._times, self._keys, self._values = self._times[due:], self._keys[due:], self._values[due:]
        return taken
