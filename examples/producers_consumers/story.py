"""Sends orders and reads them as a group, which a second reader joins and leaves, and which goes on where it stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from examples.producers_consumers.consumer import OrderReader, Say
from examples.producers_consumers.producer import Order, Place, make_topic, send_orders

PARTITIONS = 3
CUSTOMERS = ("ann", "bob", "cleo", "dan", "eve", "finn")
MORNING = [Order(customer, item, price) for item, price in (("bread", 3.2), ("milk", 1.4)) for customer in CUSTOMERS]
NOON = [Order(customer, "soup", 6.5) for customer in CUSTOMERS]
EVENING = [Order(customer, "wine", 12.0) for customer in CUSTOMERS[:3]]
MAX_WAIT_SECONDS = 60.0


@dataclass
class Outcome:
    """What happened.

    sent_orders: the orders and their places; partitions_alone, partitions_shared, partitions_after_leave: of the first reader of
    `kitchen` alone, of both readers, and of the first again when the second has left; kitchen_orders, audit_orders: the orders
    that the readers of each group read.
    """

    sent_orders: list[tuple[Order, Place]] = field(default_factory=list)
    partitions_alone: set[int] = field(default_factory=set)
    partitions_shared: tuple[set[int], set[int]] = (set(), set())
    partitions_after_leave: set[int] = field(default_factory=set)
    kitchen_orders: dict[str, list[tuple[Order, Place]]] = field(default_factory=dict)
    audit_orders: list[tuple[Order, Place]] = field(default_factory=list)


def run_story(servers: str, topic: str, say: Say) -> Outcome:
    """Run the story on a topic that does not exist yet."""
    outcome = Outcome()
    make_topic(servers, topic, PARTITIONS)
    say(f"topic {topic} has {PARTITIONS} partitions")
    outcome.sent_orders += send_orders(servers, topic, MORNING)
    for order, place in outcome.sent_orders:
        say(f"acknowledged: {order.customer:5} {order.item:6} lies in partition {place.partition} at offset {place.offset}")

    say("one reader of the group `kitchen` has all partitions:")
    with OrderReader(servers, topic, "kitchen", "reader 1", say) as first_reader:
        _poll_until(lambda: len(first_reader.orders) == len(MORNING), [first_reader])
        outcome.partitions_alone = set(first_reader.partitions)
        say("a second reader comes, and the partitions are shared out anew, a rebalance:")
        with OrderReader(servers, topic, "kitchen", "reader 2", say) as second_reader:
            _poll_until(
                lambda: second_reader.partitions and len(first_reader.partitions | second_reader.partitions) == PARTITIONS,
                [first_reader, second_reader],
            )
            outcome.partitions_shared = (set(first_reader.partitions), set(second_reader.partitions))
            outcome.sent_orders += send_orders(servers, topic, NOON)
            _poll_until(
                lambda: len(first_reader.orders) + len(second_reader.orders) == len(MORNING + NOON), [first_reader, second_reader]
            )
            outcome.kitchen_orders["reader 2"] = list(second_reader.orders)
            say("reader 2 leaves:")
        _poll_until(lambda: len(first_reader.partitions) == PARTITIONS, [first_reader])
        outcome.partitions_after_leave = set(first_reader.partitions)
        outcome.kitchen_orders["reader 1"] = list(first_reader.orders)

    say("nobody reads, and orders come in all the same:")
    outcome.sent_orders += send_orders(servers, topic, EVENING)
    say("a reader of `kitchen` comes back, and goes on after what the group had committed:")
    with OrderReader(servers, topic, "kitchen", "reader 3", say) as third_reader:
        _poll_until(lambda: len(third_reader.orders) == len(EVENING), [third_reader])
        outcome.kitchen_orders["reader 3"] = list(third_reader.orders)
    say("another group, `audit`, has offsets of its own, and reads all from the beginning:")
    with OrderReader(servers, topic, "audit", "auditor", lambda line: None) as auditor:
        _poll_until(lambda: len(auditor.orders) == len(outcome.sent_orders), [auditor])
        outcome.audit_orders = list(auditor.orders)
    say(
        f"auditor has read {len(outcome.audit_orders)} orders, {sum(order.price for order, _ in outcome.audit_orders):.2f} in all"
    )
    return outcome


def _poll_until(condition: Callable[[], object], readers: Sequence[OrderReader]) -> None:
    """Poll with each reader in turn, as each would in a process of its own: a reader that stops polling is taken for dead."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the readers have not read what was expected within {MAX_WAIT_SECONDS:g} s")
        for reader in readers:
            reader.poll()
