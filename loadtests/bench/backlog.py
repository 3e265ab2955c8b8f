"""A simulated world, and a topic full of its events to work off."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.topics import records_sent, topic_names
from common.replay.pacing import at_speed
from common.replay.send_generated import send_generated
from common.simulation.generated import Generated
from common.simulation.messages import Messages

MOST_DAYS = 100_000


@dataclass(frozen=True)
class World:
    """What there is to generate: a population, from `seed`, whose days begin at `start`."""

    population: Any
    seed: int
    start: date

    def after(self, days: int) -> "World":
        """The same world, so many days later."""
        return replace(self, start=self.start + timedelta(days=days))

    def after_messages(self, messages: list[Messages]) -> "World":
        """The same world from the day that follows them."""
        newest: date = messages[-1].arrival_time[-1].astype("datetime64[D]").item()
        return replace(self, start=newest + timedelta(days=1))

    def generate(self, deployment: Deployment, with_dirt: bool) -> Iterator[Generated]:
        """Chunks, day by day, without end."""
        return deployment.vertical.generate(self.seed, self.start, MOST_DAYS, self.population, with_dirt)


def fill_topic(deployment: Deployment, world: World, events: int) -> int:
    """Send at least `events` clean events as fast as they go into the topic; returns how many it holds then."""
    with Producer(deployment.kafka, linger=0.02) as producer:
        clean = at_least(world.generate(deployment, False), events)
        send_generated(deployment.vertical, clean, producer, partial(at_speed, speed=float("inf")))
    return on_topic(deployment)


def on_topic(deployment: Deployment) -> int:
    """Events that the topic holds."""
    return records_sent(deployment.kafka, topic_names(deployment.vertical).events)


def clean_messages(deployment: Deployment, world: World, events: int) -> list[Messages]:
    """At least `events` clean events, in memory."""
    return [chunk.messages for chunk in at_least(world.generate(deployment, False), events) if chunk.messages is not None]


def at_least(chunks: Iterator[Generated], events: int) -> Iterator[Generated]:
    """Chunks until they hold that many messages."""
    taken = 0
    while taken < events:
        chunk = next(chunks)
        yield chunk
        taken += len(chunk.messages or ())
