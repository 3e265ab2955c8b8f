"""What the users of one locust process share: the feed, the producer, and how they report."""

import os
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from locust.env import Environment
from locust.runners import WorkerRunner

from common.installed import find_vertical
from common.kafka.topics import TopicNames, topic_names
from common.runtime import existing_broker, population_of, read_settings
from loadtests.feed import Feed, Sent, Slice
from loadtests.gevent_producer import Sender
from loadtests.options import OptionError, Plan, plan_of

START, DAYS = date(2020, 2, 15), 3650  # the day after the history that `hybrid run` makes
TOKEN = "LOAD_TOKEN"
MAY_CHANGE = ("shape", "rate", "low", "seconds", "step", "per_user", "batch", "first_day", "warm_up", "settle", "objectives")


@dataclass
class Node:
    """sender: None where there is no Kafka to send to; headers: of each HTTP request; held: for the next one of them."""

    plan: Plan
    topics: TopicNames
    feed: Feed
    sender: Sender | None
    headers: dict[str, str]
    held: list[Sent] = field(default_factory=list)

    def tell(self, labels: list[Any]) -> None:
        """Send labels to their topic, by Kafka also where events go by HTTP: no detector may see them."""
        if self.sender:
            for label in labels:
                self.sender.send_label(self.topics.labels, label.key, label.value)


def make_node(environment: Environment, before: Node | None = None) -> Node:
    """Everything that this process's users need; the first chunk of the simulation is there when it returns.

    before: of the load test before this one, on locust's web page; where it can, the simulation goes on from there.
    """
    plan = plan_of(environment.parsed_options)
    if before and replace(before.plan, **{name: getattr(plan, name) for name in MAY_CHANGE}) == plan:
        before.plan = plan
        return before
    vertical = find_vertical(plan.vertical)
    chunks = vertical.generate(plan.seed, plan.first_day or START, DAYS, population_of(vertical), True)
    feed = Feed(chunks, slice_of(environment))

    def report(name: str, milliseconds: float, size: int, failure: Exception | None) -> None:
        environment.events.request.fire(
            request_type="KAFKA", name=name, response_time=milliseconds, response_length=size, exception=failure, context={}
        )

    sender = None
    if plan.via == "kafka" or plan.watch:
        sender = Sender(existing_broker(read_settings(plan.data, plan.servers)), report)
    token = os.environ.get(TOKEN)
    feed.ready()
    return Node(plan, topic_names(vertical), feed, sender, {"Authorization": f"Bearer {token}"} if token else {})


def slice_of(environment: Environment) -> Slice:
    """This process's share. Raises OptionError where the processes' number is not known to it."""
    runner = environment.runner
    if not isinstance(runner, WorkerRunner):
        return Slice(0, 1)
    assert environment.parsed_options
    of = environment.parsed_options.expect_workers
    if runner.worker_index >= of:
        raise OptionError(
            f"worker {runner.worker_index + 1} of {of}: start the master with --expect-workers and the number of all workers; "
            "one that is started again during a load test cannot take its place"
        )
    return Slice(runner.worker_index, of)
