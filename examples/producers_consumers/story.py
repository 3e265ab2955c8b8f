"""The story: orders are sent and read by a group, which a second reader joins and leaves, and which goes on where it stopped."""

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
PATIENCE = 60.0  # seconds


@dataclass
class Outcome:
    """What happened.

    sent: the orders and their places; alone, shared, after_leave: partitions of the first reader of `kitchen` alone, of both,
    and of the first again when the second has left; kitchen, audit: the orders that the readers of each group read.
    """

    sent: list[tuple[Order, Place]] = field(default_factory=list)
    alone: set[int] = field(default_factory=set)
    shared: tuple[set[int], set[int]] = (set(), set())
    after_leave: set[int] = field(default_factory=set)
    kitchen: dict[str, list[tuple[Order, Place]]] = field(default_factory=dict)
    audit: list[tuple[Order, Place]] = field(default_factory=list)


def run_story(servers: str, topic: str, say: Say) -> Outcome:
    """Run the story on a topic that does not exist yet."""
    outcome = Outcome()
    make_topic(servers, topic, PARTITIONS)
    say(f"topic {topic} has {PARTITIONS} partitions")
    outcome.sent += send_orders(servers, topic, MORNING)
    for order, place in outcome.sent:
        say(f"acknowledged: {order.customer:5} {order.item:6} lies in partition {place.partition} at offset {place.offset}")

    say("one reader of the group `kitchen` has all partitions:")
    with OrderReader(servers, topic, "kitchen", "reader 1", say) as first:
        _poll_until(lambda: len(first.orders) == len(MORNING), [first])
        outcome.alone = set(first.partitions)
        say("a second reader comes, and the partitions are shared out anew, a rebalance:")
        with OrderReader(servers, topic, "kitchen", "reader 2", say) as second:
            _poll_until(lambda: second.partitions and len(first.partitions | second.partitions) == PARTITIONS, [first, second])
            outcome.shared = (set(first.partitions), set(second.partitions))
            outcome.sent += send_orders(servers, topic, NOON)
            _poll_until(lambda: len(first.orders) + len(second.orders) == len(MORNING + NOON), [first, second])
            outcome.kitchen["reader 2"] = list(second.orders)
            say("reader 2 leaves:")
        _poll_until(lambda: len(first.partitions) == PARTITIONS, [first])
        outcome.after_leave = set(first.partitions)
        outcome.kitchen["reader 1"] = list(first.orders)

    say("nobody reads, and orders come in all the same:")
    outcome.sent += send_orders(servers, topic, EVENING)
    say("a reader of `kitchen` comes back, and goes on after what the group had committed:")
    with OrderReader(servers, topic, "kitchen", "reader 3", say) as third:
        _poll_until(lambda: len(third.orders) == len(EVENING), [third])
        outcome.kitchen["reader 3"] = list(third.orders)
    say("another group, `audit`, has offsets of its own, and reads all from the beginning:")
    with OrderReader(servers, topic, "audit", "auditor", lambda line: None) as auditor:
        _poll_until(lambda: len(auditor.orders) == len(outcome.sent), [auditor])
        outcome.audit = list(auditor.orders)
    say(f"auditor has read {len(outcome.audit)} orders, {sum(order.price for order, _ in outcome.audit):.2f} in all")
    return outcome


def _poll_until(is_so: Callable[[], object], readers: Sequence[OrderReader]) -> None:
    """Poll with each reader in turn, as each would in a process of its own: a reader that stops polling is taken for dead."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the readers have not read what was expected within {PATIENCE:g} s")
        for reader in readers:
            reader.poll()
