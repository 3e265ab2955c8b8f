"""What a listener hears of a topic that changes under it, over a real broker."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from common.gateway import alert_stream
from common.gateway.alert_stream import AlertStream, server_sent_events
from common.kafka.topics import ensure_topics, topic_names

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


@asynccontextmanager
async def listening(connection, topic):
    """Server-sent events of a topic, as they come."""
    async with AlertStream(connection, topic).listen() as listener:
        yield server_sent_events(listener, lambda: False)


async def next_event(events):
    async for event in events:
        if not event.startswith(b":"):
            return event
    return None


def raise_alert(connection, topic, partition, number):
    producer = Producer(connection.client_options())
    producer.produce(topic, b'{"alert_id": "%d"}' % number, partition=partition)
    assert producer.flush(30) == 0


def test_partitions_that_a_topic_is_given_later_are_read_from_their_beginning(broker, vertical_name, monkeypatch):
    monkeypatch.setattr(alert_stream, "PARTITION_CHECK_SECONDS", 0.5)
    topic, admin = topic_names(vertical_name).alerts, AdminClient(broker.client_options())
    ensure_topics(broker, vertical_name, 2)

    async def hear():
        async with listening(broker, topic) as events:
            for answer in admin.create_partitions([NewPartitions(topic, 3)]).values():
                answer.result(30)
            deadline = time.monotonic() + 30
            while len(admin.list_topics(topic, timeout=10).topics[topic].partitions) < 3:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            heard = []
            for partition in (2, 0, 1):
                await asyncio.to_thread(raise_alert, broker, topic, partition, partition)
                heard.append(json.loads((await asyncio.wait_for(next_event(events), 60)).partition(b"data: ")[2])["alert_id"])
            return heard

    assert asyncio.run(hear()) == ["2", "0", "1"]


def test_a_topic_that_is_taken_away_is_told_to_its_listeners_and_ends_them(broker, vertical_name, monkeypatch):
    monkeypatch.setattr(alert_stream, "PARTITION_CHECK_SECONDS", 0.5)
    topic, admin = topic_names(vertical_name).alerts, AdminClient(broker.client_options())
    ensure_topics(broker, vertical_name, 1)

    async def hear():
        async with listening(broker, topic) as events:
            for answer in admin.delete_topics([topic]).values():
                answer.result(30)
            last = await asyncio.wait_for(next_event(events), 60)
            return last, [event async for event in events]

    last, after = asyncio.run(hear())
    assert last.startswith(b"event: failed\n") and b"Kafka" in last and after == []
