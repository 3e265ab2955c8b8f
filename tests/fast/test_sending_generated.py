"""Generated events are sent at a pace, and labels when the simulation reaches their events."""

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.replay.pacing import end_schedule, schedule_at_rate, schedule_at_speed
from common.replay.send_generated_events import send_generated_events
from common.simulation.generated_events import LABELS
from common.simulation.messages import Messages, object_array

START = datetime(2026, 1, 1, tzinfo=UTC)


def chunk_of(first, last):
    """Messages a second apart, the times their numbers; those divisible by 10 have labels."""
    numbers = range(first, last)
    labels = [
        {
            "event_id": str(n),
            "entity_id": f"m-{n}",
            "scenario": "leak",
            "case_id": "a",
            "event_time": START + timedelta(seconds=n),
            "known_time": START + timedelta(days=7, seconds=n),
        }
        for n in reversed(numbers)
        if n % 10 == 0
    ]
    times = np.datetime64("2026-01-01", "ms") + np.array(numbers) * np.timedelta64(1_000, "ms")
    texts = object_array([b"%d" % n for n in numbers])
    messages = Messages(times, texts, texts, object_array([""] * len(numbers)))
    return SimpleNamespace(messages=messages, labels=pa.Table.from_pylist(labels, LABELS))


def test_messages_and_labels_of_every_chunk_are_sent(mock_kafka):
    with Producer(mock_kafka) as producer:
        chunks = [chunk_of(0, 95), chunk_of(95, 200)]
        sent = send_generated_events("v", chunks, producer, partial(schedule_at_rate, per_second=1e6))
    assert (sent.events, sent.labels, str(sent.simulated_time)) == (200, 20, "2026-01-01T00:03:19.000")
    assert sorted(int(record.value) for record in read_all(mock_kafka, "v.events")) == list(range(200))
    labels = sorted(read_all(mock_kafka, "v.labels"), key=lambda record: json.loads(record.value)["event_time"])
    assert labels[0].key == b"m-0"
    assert json.loads(labels[-1].value) == {
        "event_id": "190",
        "entity_id": "m-190",
        "scenario": "leak",
        "case_id": "a",
        "event_time": "2026-01-01T00:03:10.000Z",
        "known_time": "2026-01-08T00:03:10.000Z",
    }


def test_a_run_cut_short_has_labels_only_for_what_it_has_sent(mock_kafka):
    with Producer(mock_kafka) as producer:
        sent = send_generated_events(
            "v", [chunk_of(0, 10_000)], producer, lambda chunks: end_schedule(schedule_at_speed(chunks, 100), 0.255)
        )
    assert (sent.events, sent.labels) == (26, 3)


def test_a_stop_ends_it_and_what_was_sent_is_delivered(mock_kafka):
    stop = threading.Event()
    with Producer(mock_kafka) as producer:
        sent = send_generated_events(
            "v",
            [chunk_of(0, 10_000)],
            producer,
            partial(schedule_at_rate, per_second=1_000),
            stop=stop,
            progress=lambda sent: stop.set() if sent.events >= 20 else None,
        )
    assert 20 <= sent.events < 10_000
    assert producer.delivered_count == sent.events + sent.labels


def test_an_error_in_the_generator_is_the_caller_s(mock_kafka):
    def broken():
        yield chunk_of(0, 5)
        raise ValueError("no such day")

    with pytest.raises(ValueError, match="no such day"), Producer(mock_kafka) as producer:
        send_generated_events("v", broken(), producer, partial(schedule_at_rate, per_second=1e6))
