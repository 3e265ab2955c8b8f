"""Locust users that send a vertical's own simulated events: to Kafka, to the HTTP gateway, or nowhere."""

import random
import time
from typing import Any

import gevent
from locust import FastHttpUser, User, task
from locust.env import Environment

from loadtests.feed import Sent
from loadtests.http_verdict import verdict
from loadtests.worker import Node

NODE = "load_node"  # the attribute of locust's environment that holds it
LONGEST_ARREARS = 1.0  # seconds that a user makes up for; what it was held up beyond that is missing from the pace


class FedUser(User):
    """Takes the next events of its process's feed at the plan's pace and hands them to `deliver`, `batch` at a time."""

    abstract = True
    node: Node

    def on_start(self) -> None:
        self.node = getattr(self.environment, NODE)
        plan = self.node.plan
        self.every = plan.batch / plan.per_user
        gevent.sleep(random.random() * self.every)  # users that start together do not send together
        self.due = time.monotonic()

    def wait_time(self) -> float:
        """Until the next is due, counted from the start and not from the last, so that no delay adds up."""
        now = time.monotonic()
        self.due = max(self.due + self.every, now - LONGEST_ARREARS)
        return max(0.0, self.due - now)

    @task
    def send(self) -> None:
        records, labels = self.node.feed.take(self.node.plan.batch)
        if records:
            self.deliver(records)
        self.node.tell(labels)

    def deliver(self, records: list[Sent]) -> None:
        raise NotImplementedError


class KafkaUser(FedUser):
    """To the events topic; a request is a record, its time that until the broker has acknowledged it (acks=all)."""

    def deliver(self, records: list[Sent]) -> None:
        assert self.node.sender
        for record in records:
            self.node.sender.send(self.node.topics.events, record.key, record.value)


class HttpUser(FedUser, FastHttpUser):
    """To the gateway at --host, with the bearer token in LOAD_TOKEN: one event as JSON, several as NDJSON.

    A request is counted under its answer, and an answer of 422 is right where the generator broke an event on purpose.
    """

    host = "http://127.0.0.1:8080"
    insecure = False

    def __init__(self, environment: Environment) -> None:
        self.host = (environment.host or self.host).rstrip("/")  # paths begin with one
        super().__init__(environment)

    def deliver(self, records: list[Sent]) -> None:
        """In requests of exactly `batch` events: a turn may have more or fewer, and the pace counts requests.

        What is left over waits for the next turn, whichever user's that is, so that it comes no later than need be.
        """
        held, batch = self.node.held, self.node.plan.batch
        held += records
        while len(held) >= batch:
            due, held[:batch] = held[:batch], []
            self._post(due)

    def _post(self, records: list[Sent]) -> None:
        path = f"/v1/{self.node.plan.vertical}/events"
        single = len(records) == 1
        content = {"Content-Type": "application/json" if single else "application/x-ndjson"}
        body: Any = b"\n".join(record.value for record in records)  # bytes, which locust takes but does not declare
        flawed = sum(record.flawed for record in records)
        with self.client.post(path, data=body, headers=content | self.node.headers, catch_response=True) as answer:
            said, problem = verdict(answer.status_code, flawed)
            answer.request_meta["name"] = f"{path} {said}"
            if problem:
                answer.failure(problem)
            else:
                answer.success()


class NullUser(FedUser):
    """Nowhere: what is left is the work of the generator and of locust itself, hence the load tool's own ceiling."""

    def deliver(self, records: list[Sent]) -> None:
        for record in records:
            said: dict[str, Any] = {"response_time": 0.0, "response_length": len(record.value), "exception": None, "context": {}}
            self.environment.events.request.fire(request_type="NULL", name="nowhere", **said)
