"""Makes what the users of one locust process share: the feed, the producer and the report of deliveries."""

import os
from dataclasses import dataclass, field, replace
from datetime import date

from locust.env import Environment
from locust.runners import WorkerRunner

from common.installed import find_vertical
from common.kafka.topics import TopicNames, topic_names
from common.runtime import existing_broker, population_of, read_settings
from loadtests.feed import EntitySlice, Feed, FeedRecord
from loadtests.gevent_producer import Sender
from loadtests.options import LoadPlan, OptionError, make_plan

FIRST_DAY, DAYS = date(2020, 2, 15), 3650  # the day after the history that `hybrid run` makes
TOKEN = "LOAD_TOKEN"
# Options that the next load test on the web page may change while the simulation goes on from where it is.
CHANGEABLE = (
    "shape", "rate", "low_rate", "duration_seconds", "step_seconds", "per_user", "batch", "first_day", "warm_up_seconds",
    "settle_seconds", "objectives",
)  # fmt: skip


@dataclass
class Worker:
    """What the users of one locust process share.

    sender: None where there is no Kafka to send to. headers: of each HTTP request. http_remainder: for the next request.
    """

    plan: LoadPlan
    topics: TopicNames
    feed: Feed
    sender: Sender | None
    headers: dict[str, str]
    http_remainder: list[FeedRecord] = field(default_factory=list)

    def send_labels(self, labels: list[FeedRecord]) -> None:
        """Send labels to their topic, by Kafka also where events go by HTTP: no detector may see them."""
        if self.sender:
            for label in labels:
                self.sender.send_label(self.topics.labels, label.key, label.value)


def make_worker(environment: Environment, previous: Worker | None = None) -> Worker:
    """Makes all that this process's users need; the first chunk of the simulation is made when it returns.

    previous: of the load test before this one, on locust's web page. Unless the plan needs another simulation or another
    broker, it is used again, and the simulation goes on from where it is.
    """
    plan = make_plan(environment.parsed_options)
    if previous and replace(previous.plan, **{name: getattr(plan, name) for name in CHANGEABLE}) == plan:
        previous.plan = plan
        return previous
    vertical = find_vertical(plan.vertical)
    chunks = vertical.generate(plan.seed, plan.first_day or FIRST_DAY, DAYS, population_of(vertical), True)
    feed = Feed(chunks, process_slice(environment))

    def report_delivery(name: str, milliseconds: float, size: int, failure: Exception | None) -> None:
        environment.events.request.fire(
            request_type="KAFKA", name=name, response_time=milliseconds, response_length=size, exception=failure, context={}
        )

    sender = None
    if plan.via == "kafka" or plan.watch:
        sender = Sender(existing_broker(read_settings(plan.data, plan.servers)), report_delivery)
    token = os.environ.get(TOKEN)
    feed.wait_until_ready()
    return Worker(plan, topic_names(vertical), feed, sender, {"Authorization": f"Bearer {token}"} if token else {})


def process_slice(environment: Environment) -> EntitySlice:
    """The entities that this process sends. Raises OptionError where it does not know the number of processes."""
    runner = environment.runner
    if not isinstance(runner, WorkerRunner):
        return EntitySlice(0, 1)
    assert environment.parsed_options
    processes = environment.parsed_options.expect_workers
    if runner.worker_index >= processes:
        raise OptionError(
            f"worker {runner.worker_index + 1} of {processes}: start the master with --expect-workers and the number of all "
            "workers; one that is started again during a load test cannot take its place"
        )
    return EntitySlice(runner.worker_index, processes)
