"""Locust users that send a vertical's own simulated events: to Kafka, to the HTTP gateway, or nowhere."""

import random
import time
from typing import Any

import gevent
from locust import FastHttpUser, User, task
from locust.env import Environment

from loadtests.feed import FeedRecord
from loadtests.http_verdict import classify_answer
from loadtests.worker import Worker

WORKER = "load_worker"  # the attribute of locust's environment that holds the process's Worker
MAX_ARREARS_SECONDS = 1.0  # of a delay that a user makes up for; what it was held up beyond that is missing from the pace


class FeedUser(User):
    """Takes the next events of its process's feed at the plan's pace and hands them to `deliver`, `batch` at a time."""

    abstract = True
    worker: Worker

    def on_start(self) -> None:
        self.worker = getattr(self.environment, WORKER)
        plan = self.worker.plan
        self.interval_seconds = plan.batch / plan.per_user
        gevent.sleep(random.random() * self.interval_seconds)  # users that start together do not send together
        self.next_due = time.monotonic()

    def wait_time(self) -> float:
        """Seconds until the next batch is due. Due times count from the start, not from the last batch: no delay adds up."""
        now = time.monotonic()
        self.next_due = max(self.next_due + self.interval_seconds, now - MAX_ARREARS_SECONDS)
        return max(0.0, self.next_due - now)

    @task
    def send(self) -> None:
        records, labels = self.worker.feed.take(self.worker.plan.batch)
        if records:
            self.deliver(records)
        self.worker.send_labels(labels)

    def deliver(self, records: list[FeedRecord]) -> None:
        raise NotImplementedError


class KafkaUser(FeedUser):
    """Sends to the events topic. A request is a record; its time is that until the broker has acknowledged it (acks=all)."""

    def deliver(self, records: list[FeedRecord]) -> None:
        assert self.worker.sender
        for record in records:
            self.worker.sender.send(self.worker.topics.events, record.key, record.value)


class HttpUser(FeedUser, FastHttpUser):
    """Sends to the gateway at --host, with the bearer token in LOAD_TOKEN: one event as JSON, several as NDJSON.

    A request is counted under its answer, and an answer of 422 is right where the generator broke an event on purpose.
    """

    host = "http://127.0.0.1:8080"
    insecure = False

    def __init__(self, environment: Environment) -> None:
        self.host = (environment.host or self.host).rstrip("/")  # paths begin with one
        super().__init__(environment)

    def deliver(self, records: list[FeedRecord]) -> None:
        """Sends requests of exactly `batch` events: a turn may have more or fewer, and the pace counts requests.

        What remains waits for the next turn of any user of this process, so that it is sent as early as possible.
        """
        remainder, batch = self.worker.http_remainder, self.worker.plan.batch
        remainder += records
        while len(remainder) >= batch:
            request_records, remainder[:batch] = remainder[:batch], []
            self._post(request_records)

    def _post(self, records: list[FeedRecord]) -> None:
        path = f"/v1/{self.worker.plan.vertical}/events"
        is_single = len(records) == 1
        content = {"Content-Type": "application/json" if is_single else "application/x-ndjson"}
        body: Any = b"\n".join(record.value for record in records)  # bytes, which locust takes but does not declare
        flawed_events = sum(record.is_flawed for record in records)
        with self.client.post(path, data=body, headers=content | self.worker.headers, catch_response=True) as answer:
            name, problem = classify_answer(answer.status_code, flawed_events)
            answer.request_meta["name"] = f"{path} {name}"
            if problem:
                answer.failure(problem)
            else:
                answer.success()


class NullUser(FeedUser):
    """Sends nowhere: only the work of the generator and of locust itself remains, hence the load tool's own ceiling."""

    def deliver(self, records: list[FeedRecord]) -> None:
        for record in records:
            size = len(record.value)
            self.environment.events.request.fire(
                request_type="NULL", name="nowhere", response_time=0.0, response_length=size, exception=None, context={}
            )
