"""Fills a topic with the events of a simulated world, so that there is a backlog to work off."""

from collections.abc import Iterator
from functools import partial

from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.topics import records_sent, topic_names
from common.replay.pacing import schedule_at_speed
from common.replay.send_generated_events import send_generated_events
from common.simulation.generated_events import GeneratedEvents
from common.simulation.messages import Messages
from loadtests.simulation_spec import SimulationSpec


def fill_topic(deployment: Deployment, simulation: SimulationSpec, events: int) -> int:
    """Send at least `events` clean events as fast as they go into the topic; returns how many it holds then."""
    with Producer(deployment.kafka, linger=0.02) as producer:
        chunks = take_at_least(simulation.generate(deployment.vertical, with_dirt=False), events)
        send_generated_events(deployment.vertical, chunks, producer, partial(schedule_at_speed, speed=float("inf")))
    return count_events(deployment)


def count_events(deployment: Deployment) -> int:
    """Events that the topic holds."""
    return records_sent(deployment.kafka, topic_names(deployment.vertical).events)


def clean_messages(deployment: Deployment, simulation: SimulationSpec, events: int) -> list[Messages]:
    """Generates at least `events` clean events, in memory."""
    chunks = take_at_least(simulation.generate(deployment.vertical, with_dirt=False), events)
    return [chunk.messages for chunk in chunks if chunk.messages is not None]


def take_at_least(chunks: Iterator[GeneratedEvents], events: int) -> Iterator[GeneratedEvents]:
    """Chunks until they hold that many messages."""
    count = 0
    while count < events:
        chunk = next(chunks)
        yield chunk
        count += len(chunk.messages or ())
