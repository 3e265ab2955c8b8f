"""Counts the same lines in three ways, and measures for each the time from a line to its count."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from confluent_kafka import Consumer, Producer
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from examples.log_levels.batch import count_in_file
from examples.log_levels.modes import MICRO_BATCHES, REAL_TIME, count_to_topic
from examples.log_levels.stream import count_on_terminal
from examples.producers_consumers.producer import make_topic

LEVELS = ("INFO", "INFO", "DEBUG", "info", "WARN", "INFO", "ERROR", "DEBUG")
LINES = [json.dumps({"level": level, "message": f"line {number}"}) for number, level in enumerate(islice(cycle(LEVELS), 198))]
LINES += ["not JSON at all", '{"message": "of no level"}']
TIMED_LINES = 30  # lines sent one by one, to be timed
MAX_WAIT_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass
class Outcome:
    """Counts by level as each way has them, and seconds from a line to its count."""

    stream: dict[str, int] = field(default_factory=dict)
    batch: dict[str, int] = field(default_factory=dict)
    real_time: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_story(spark: SparkSession, servers: str, topic: str, folder: Path, say: Say) -> Outcome:
    """Run the story on a topic that does not exist yet. folder: for the file, and for checkpoints."""
    outcome = Outcome()
    for name in (topic, f"{topic}-micro-batches", f"{topic}-real-time"):
        make_topic(servers, name, partitions=2)
    _send(servers, topic, LINES)
    say(f"{len(LINES)} log lines lie on topic {topic}; a stream counts them, and shows it:")
    query = count_on_terminal(spark, servers, topic, str(folder / "shown"))
    query.processAllAvailable()
    query.stop()

    file = folder / "lines.json"
    file.write_text("".join(f"{line}\n" for line in LINES))
    started_at = time.monotonic()
    outcome.batch = count_in_file(spark, str(file))
    outcome.seconds["batch, whenever it is run"] = time.monotonic() - started_at

    say("the same lines from a file, in a batch job, and from the topic in both of Spark's streaming modes:")
    outcome.stream, outcome.seconds["micro-batches"] = _count_in_mode(
        spark, servers, topic, "micro-batches", folder, MICRO_BATCHES
    )
    outcome.real_time, outcome.seconds["real-time mode"] = _count_in_mode(spark, servers, topic, "real-time", folder, REAL_TIME)
    for level in sorted(outcome.batch):
        batch, stream, real_time = outcome.batch[level], outcome.stream[level], outcome.real_time[level]
        say(f"{level:12} batch {batch:4}   micro-batches {stream:4}   real time {real_time:4}")
    for name, seconds in outcome.seconds.items():
        say(f"from a line to its count: {name:26} {seconds * 1_000:8,.1f} ms")
    return outcome


def _count_in_mode(
    spark: SparkSession, servers: str, topic: str, name: str, folder: Path, trigger: dict[str, str]
) -> tuple[dict[str, int], float]:
    """The counts of LINES, and the median of seconds from a further line to its count."""
    target = f"{topic}-{name}"
    query = count_to_topic(spark, servers, topic, target, str(folder / name), trigger)
    try:
        with LevelCounts(servers, target, query) as counts:
            by_level = counts.wait_for_sum(len(LINES))
            producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
            seconds = [_time_line(producer, topic, counts, f"TIMED IN {name}".upper()) for _ in range(TIMED_LINES)]
            return by_level, statistics.median(seconds)
    finally:
        query.stop()


class LevelCounts:
    """The newest count of each level on a topic of counts; use as a context manager."""

    def __init__(self, servers: str, topic: str, query: StreamingQuery) -> None:
        self.by_level: dict[str, int] = {}
        self._query = query
        self._consumer = Consumer(
            {"bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5}
        )
        self._consumer.subscribe([topic])

    def __enter__(self) -> "LevelCounts":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def wait_for_sum(self, lines: int) -> dict[str, int]:
        """The counts when they are of so many lines, without the lines that are sent to be timed."""

        def untimed_counts() -> dict[str, int]:
            return {level: count for level, count in self.by_level.items() if not level.startswith("TIMED")}

        self._poll_until(lambda: sum(untimed_counts().values()) >= lines)
        return untimed_counts()

    def wait_for_one_more(self, level: str) -> None:
        """Wait until one more line of that level is counted than now."""
        before = self.by_level.get(level, 0)
        self._poll_until(lambda: self.by_level.get(level, 0) > before)

    def _poll_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while not condition():
            if not self._query.isActive:
                raise RuntimeError(f"the query ended: {self._query.exception()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the count did not come within {MAX_WAIT_SECONDS:g} s")
            message = self._consumer.poll(0.1)
            if message is not None and not message.error():
                self.by_level[message.key().decode()] = int(message.value())


def _time_line(producer: Producer, topic: str, counts: LevelCounts, level: str) -> float:
    """Seconds from sending a line to its count."""
    started_at = time.monotonic()
    producer.produce(topic, json.dumps({"level": level, "message": "timed"}).encode())
    producer.flush(30)
    counts.wait_for_one_more(level)
    return time.monotonic() - started_at


def _send(servers: str, topic: str, lines: list[str]) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for line in lines:
        producer.produce(topic, line.encode())
    if producer.flush(30):
        raise RuntimeError("not all lines were acknowledged within 30 s")
