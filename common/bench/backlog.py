"""A topic full of events to work off."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

from common.bench.setting import Bench
from common.ingestion.generated import send_generated
from common.ingestion.paced import at_speed
from common.ingestion.producers import Producer
from common.ingestion.topics import end_offsets, topic_names
from common.simulation.generated import Generated

MOST_DAYS = 100_000


def fill_topic(bench: Bench, seed: int, start: date, events: int, population: Any) -> int:
    """Send at least `events` clean events as fast as they go into the topic; returns how many it holds then."""
    made = bench.vertical.generate(seed, start, MOST_DAYS, population, False)
    with Producer(bench.connection, linger=0.02) as producer:
        send_generated(bench.vertical, at_least(made, events), producer, partial(at_speed, speed=float("inf")))
    return sum(end_offsets(bench.connection, topic_names(bench.vertical).events).values())


def at_least(chunks: Iterator[Generated], events: int) -> Iterator[Generated]:
    """Chunks until they hold that many messages."""
    taken = 0
    while taken < events:
        chunk = next(chunks)
        yield chunk
        taken += len(chunk.messages or ())
