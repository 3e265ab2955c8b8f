"""A topic full of events to work off."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

from common.bench.setting import Bench
from common.ingestion.generated import send_generated
from common.ingestion.paced import at_speed
from common.ingestion.producers import Producer
from common.ingestion.topics import records_sent, topic_names
from common.simulation.generated import Generated
from common.simulation.messages import Messages

MOST_DAYS = 100_000


def fill_topic(bench: Bench, seed: int, start: date, events: int, population: Any) -> int:
    """Send at least `events` clean events as fast as they go into the topic; returns how many it holds then."""
    with Producer(bench.connection, linger=0.02) as producer:
        clean = _clean(bench, seed, start, events, population)
        send_generated(bench.vertical, clean, producer, partial(at_speed, speed=float("inf")))
    return on_topic(bench)


def on_topic(bench: Bench) -> int:
    """Events that the topic holds."""
    return records_sent(bench.connection, topic_names(bench.vertical).events)


def clean_messages(bench: Bench, seed: int, start: date, events: int, population: Any) -> list[Messages]:
    """At least `events` clean events, in memory."""
    return [chunk.messages for chunk in _clean(bench, seed, start, events, population) if chunk.messages is not None]


def _clean(bench: Bench, seed: int, start: date, events: int, population: Any) -> Iterator[Generated]:
    return at_least(bench.vertical.generate(seed, start, MOST_DAYS, population, False), events)


def at_least(chunks: Iterator[Generated], events: int) -> Iterator[Generated]:
    """Chunks until they hold that many messages."""
    taken = 0
    while taken < events:
        chunk = next(chunks)
        yield chunk
        taken += len(chunk.messages or ())
