"""Produces orders keyed by customer to a topic that it makes, and learns from the broker where each order lies."""

import json
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic


class Order(NamedTuple):
    """What a customer bought, and for how much."""

    customer: str
    item: str
    price: float


class Place(NamedTuple):
    """Where a record lies on the topic; it stays there, and offsets order the records of a partition."""

    partition: int
    offset: int


def make_topic(servers: str, topic: str, partitions: int) -> None:
    """Make the topic. More partitions let more consumers of one group work side by side."""
    client = AdminClient({"bootstrap.servers": servers})
    for creation in client.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)]).values():
        creation.result()  # raises the broker's error


def send_orders(servers: str, topic: str, orders: Iterable[Order]) -> list[tuple[Order, Place]]:
    """Send the orders; returns them with their places, as the broker acknowledged them.

    acks=all: a record is acknowledged when every replica in sync has it. enable.idempotence: a record that is sent again
    because its acknowledgement was lost is not written twice. Records of one key go to one partition, and so keep their order.
    """
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})
    acknowledged_orders: list[tuple[Order, Place]] = []

    def acknowledge(order: Order, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"the broker did not take {order}: {error.str()}")
        acknowledged_orders.append((order, Place(message.partition(), message.offset())))

    for order in orders:
        value = json.dumps(order._asdict()).encode()
        producer.produce(topic, value, key=order.customer.encode(), on_delivery=partial(acknowledge, order))
    # `produce` only fills a queue; `flush` waits until all of it is acknowledged, and calls `acknowledge` for each order.
    unsent_count = producer.flush(30)
    if unsent_count:
        raise RuntimeError(f"{unsent_count} orders were not acknowledged within 30 s")
    return acknowledged_orders
