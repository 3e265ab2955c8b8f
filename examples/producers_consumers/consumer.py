"""Consumes orders as a member of a group: reads the partitions that the group assigns to it, and commits how far it has read."""

import json
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from examples.producers_consumers.producer import Order, Place

Say = Callable[[str], None]


class OrderReader:
    """Reads orders as one member of a group; use as a context manager.

    The members share the topic: each partition is read by one member at a time, and by another one when that leaves. When a
    member joins or leaves, the partitions are assigned anew: a rebalance.
    """

    def __init__(self, servers: str, topic: str, group: str, name: str, say: Say) -> None:
        self.name = name
        self.partitions: set[int] = set()
        self.orders: list[tuple[Order, Place]] = []
        self._say = say
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": group,
                # Where the group has no offset yet, it begins with the oldest record, and not with what comes from now on.
                "auto.offset.reset": "earliest",
                # Offsets are committed after the work, below: after a crash in between an order is read twice, none is missed.
                "enable.auto.commit": False,
                # Only partitions that change hands are given back; with older strategies every member gives all of them back.
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6_000,
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._add_partitions, on_revoke=self._remove_partitions)

    def __enter__(self) -> "OrderReader":
        return self

    def __exit__(self, *_: object) -> None:
        # Tells the group that it leaves: the others get its partitions at once, and not after the session's timeout.
        self._consumer.close()

    def poll(self, timeout: float = 0.1) -> bool:
        """Read one order, if there is one, and commit its offset, after which the group goes on, whichever member reads then."""
        message = self._consumer.poll(timeout)
        if message is None:
            return False
        if message.error():
            raise KafkaException(message.error())
        order, place = Order(**json.loads(message.value())), Place(message.partition(), message.offset())
        self.orders.append((order, place))
        self._say(f"{self.name} reads partition {place.partition}, offset {place.offset}: {order.customer} {order.item}")
        self._consumer.commit(message, asynchronous=False)
        return True

    def _add_partitions(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        self.partitions |= set(numbers)
        if numbers:
            self._say(f"{self.name} is given partitions {numbers}")

    def _remove_partitions(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        self.partitions -= set(numbers)
        if numbers:
            self._say(f"{self.name} gives back partitions {numbers}")
