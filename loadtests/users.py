"""Locust users that send a vertical's own simulated events: to Kafka, to the HTTP gateway, or nowhere."""

import random
from typing import Any

import gevent
from locust import FastHttpUser, User, constant_throughput, task

from loadtests.feed import Sent
from loadtests.node import Node

NODE = "load_node"  # the attribute of locust's environment that holds it


class FedUser(User):
    """Takes the next events of its process's feed at the plan's pace and hands them to `deliver`, `batch` at a time."""

    abstract = True
    node: Node

    def on_start(self) -> None:
        self.node = getattr(self.environment, NODE)
        plan = self.node.plan
        self.pace = constant_throughput(plan.per_user / plan.batch)
        gevent.sleep(random.random() * plan.batch / plan.per_user)  # users that start together do not send together

    def wait_time(self) -> float:
        return float(self.pace(self))

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


class HttpUser(FedUser, FastHttpUser):  # type: ignore[misc]
    """To the gateway at --host, with the bearer token in LOAD_TOKEN: one event as JSON, several as NDJSON.

    A request is counted under its answer, and an answer of 422 is right where the generator broke an event on purpose.
    """

    host = "http://127.0.0.1:8080"
    insecure = False

    def deliver(self, records: list[Sent]) -> None:
        path = f"/v1/{self.node.plan.vertical}/events"
        single = len(records) == 1
        content = {"Content-Type": "application/json" if single else "application/x-ndjson"}
        body = b"\n".join(record.value for record in records)
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
            said = {"response_time": 0.0, "response_length": len(record.value), "exception": None, "context": {}}
            self.environment.events.request.fire(request_type="NULL", name="nowhere", **said)


def verdict(status: int, flawed: int) -> tuple[str, str | None]:
    """What an answer is called in the figures, and what is wrong with it (None: it is as it should be)."""
    if status == 202:
        return "202 accepted", None
    if status == 422:
        return "422 refused", None if flawed else "422: an event that meets the contract was refused"
    problems: dict[int, Any] = {
        0: ("no answer", "no answer: the connection was refused, cut or timed out"),
        401: ("401 no token", "401: give a token in LOAD_TOKEN"),
        403: ("403 no right", "403: the token in LOAD_TOKEN has no right to send this vertical's events"),
        413: ("413 too large", "413: fewer events at a time (--batch)"),
        429: ("429 throttled", "429: the gateway asks for fewer"),
        503: ("503 unavailable", "503: the gateway's broker is away"),
    }
    found: tuple[str, str] = problems.get(status, (str(status), f"unexpected answer {status}"))
    return found
