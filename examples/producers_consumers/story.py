"""The story, from the first order to a group that goes on where it stopped."""

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
class Told:
    """What happened: the places that the broker gave, and who of the group `kitchen` read what; what `audit` read."""

    sent: list[tuple[Order, Place]] = field(default_factory=list)
    alone: set[int] = field(default_factory=set)
    shared: tuple[set[int], set[int]] = (set(), set())
    left: set[int] = field(default_factory=set)
    kitchen: dict[str, list[tuple[Order, Place]]] = field(default_factory=dict)
    audit: list[tuple[Order, Place]] = field(default_factory=list)


def tell(servers: str, topic: str, say: Say) -> Told:
    """Run the story on a topic that is not there yet."""
    told = Told()
    make_topic(servers, topic, PARTITIONS)
    say(f"topic {topic} has {PARTITIONS} partitions")
    told.sent += send_orders(servers, topic, MORNING)
    for order, place in told.sent:
        say(f"acknowledged: {order.customer:5} {order.item:6} lies in partition {place.partition} at offset {place.offset}")

    say("one reader of the group `kitchen` has all partitions:")
    with OrderReader(servers, topic, "kitchen", "reader 1", say) as first:
        _poll_until(lambda: len(first.read) == len(MORNING), [first])
        told.alone = set(first.partitions)
        say("a second reader comes, and the partitions are shared out anew, a rebalance:")
        with OrderReader(servers, topic, "kitchen", "reader 2", say) as second:
            _poll_until(lambda: second.partitions and len(first.partitions | second.partitions) == PARTITIONS, [first, second])
            told.shared = (set(first.partitions), set(second.partitions))
            told.sent += send_orders(servers, topic, NOON)
            _poll_until(lambda: len(first.read) + len(second.read) == len(MORNING + NOON), [first, second])
            told.kitchen["reader 2"] = list(second.read)
            say("reader 2 leaves:")
        _poll_until(lambda: len(first.partitions) == PARTITIONS, [first])
        told.left = set(first.partitions)
        told.kitchen["reader 1"] = list(first.read)

    say("nobody reads, and orders come in all the same:")
    told.sent += send_orders(servers, topic, EVENING)
    say("a reader of `kitchen` comes back, and goes on after what the group had committed:")
    with OrderReader(servers, topic, "kitchen", "reader 3", say) as third:
        _poll_until(lambda: len(third.read) == len(EVENING), [third])
        told.kitchen["reader 3"] = list(third.read)
    say("another group, `audit`, has offsets of its own, and reads all from the beginning:")
    with OrderReader(servers, topic, "audit", "auditor", lambda line: None) as auditor:
        _poll_until(lambda: len(auditor.read) == len(told.sent), [auditor])
        told.audit = list(auditor.read)
    say(f"auditor has read {len(told.audit)} orders, {sum(order.price for order, _ in told.audit):.2f} in all")
    return told


def _poll_until(is_so: Callable[[], object], readers: Sequence[OrderReader]) -> None:
    """Each in turn, as each would in a process of its own. A reader that does not poll is taken for dead, in the end."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the readers did not get there within {PATIENCE:g} s")
        for reader in readers:
            reader.poll()
