"""Sending what a generator makes: its messages at a pace, its labels to a topic of their own."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.replay.pacing import Due, prefetched, send_paced
from common.simulation.generated_events import LABELS, GeneratedEvents
from common.simulation.messages import Messages, concatenate, label_messages
from common.vertical import Vertical

Pace = Callable[[Iterable[Messages]], Iterator[tuple[Messages, Due]]]


@dataclass
class Sent:
    """Records sent so far. simulated: the arrival time that the simulation has reached."""

    events: int = 0
    labels: int = 0
    simulated: np.datetime64 | None = None


def send_generated(
    vertical: Vertical | str, chunks: Iterable[GeneratedEvents], producer: Producer, pace: Pace, *,
    stop: threading.Event | None = None, until: float = math.inf, progress: Callable[[Sent], None] = lambda sent: None,
) -> Sent:
    """Send chunks at a pace (`partial(at_rate, per_second=500)`, `partial(at_speed, speed=60)`); returns once delivered.

    Ends with the chunks, at `until` seconds, or when `stop` is set. A label is sent when the simulation reaches its
    event's time, so that a run cut short has labels only for what it has sent, late events apart. Raises Undelivered.
    """
    topics, sent, pending = topic_names(vertical), Sent(), label_messages(LABELS.empty_table())

    def messages() -> Iterator[Messages]:
        nonlocal pending
        for chunk in prefetched(chunks):
            if chunk.messages is not None:
                pending = concatenate([pending, label_messages(chunk.labels)])
                yield chunk.messages

    def send(chunk: Messages, first: int, last: int) -> None:
        nonlocal pending
        producer.send_many(topics.events, chunk.keys[first:last].tolist(), chunk.values[first:last].tolist())
        sent.events += last - first
        sent.simulated = chunk.arrival_time[last - 1]
        due = int(np.searchsorted(pending.arrival_time, sent.simulated, "right"))
        labels, pending = pending.take(slice(due)), pending.take(slice(due, None))
        producer.send_many(topics.labels, labels.keys.tolist(), labels.values.tolist())
        sent.labels += len(labels)
        progress(sent)

    send_paced(pace(messages()), send, stop=stop, until=until)
    producer.flush()
    return sent
