"""Sends generated events: messages at a pace, and their labels to a topic of their own."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.replay.pacing import Pace, prefetch, send_paced
from common.simulation.generated_events import LABELS, GeneratedEvents
from common.simulation.messages import Messages, concatenate, label_messages
from common.vertical import Vertical


@dataclass
class SendCounts:
    """Numbers of records sent. simulated_time: the arrival time that the simulation has reached."""

    events: int = 0
    labels: int = 0
    simulated_time: np.datetime64 | None = None


def send_generated_events(
    vertical: Vertical | str,
    chunks: Iterable[GeneratedEvents],
    producer: Producer,
    pace: Pace[Messages],
    *,
    stop: threading.Event | None = None,
    progress: Callable[[SendCounts], None] = lambda counts: None,
) -> SendCounts:
    """Send chunks at a pace (`partial(schedule_at_rate, per_second=500)`); returns when all are delivered.

    Ends with the schedule, or when `stop` is set. A label is sent when the simulation reaches its event's time, so that a run
    that is cut short has labels only for the events that it has sent, late events apart. Raises DeliveryFailed.
    """
    topics, counts, pending_labels = topic_names(vertical), SendCounts(), label_messages(LABELS.empty_table())

    def messages() -> Iterator[Messages]:
        nonlocal pending_labels
        for chunk in prefetch(chunks):
            if chunk.messages is not None:
                pending_labels = concatenate([pending_labels, label_messages(chunk.labels)])
                yield chunk.messages

    def send(chunk: Messages, first: int, last: int) -> None:
        nonlocal pending_labels
        producer.send_many(topics.events, chunk.keys[first:last].tolist(), chunk.values[first:last].tolist())
        counts.events += last - first
        counts.simulated_time = chunk.arrival_time[last - 1]
        due_labels = int(np.searchsorted(pending_labels.arrival_time, counts.simulated_time, "right"))
        labels, pending_labels = pending_labels.take(slice(due_labels)), pending_labels.take(slice(due_labels, None))
        producer.send_many(topics.labels, labels.keys.tolist(), labels.values.tolist())
        counts.labels += len(labels)
        progress(counts)

    send_paced(pace(messages()), send, stop=stop)
    producer.flush()
    return counts
