"""The same lines counted three ways, and how long after a line its count is there in each."""

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
TIMED = 30  # lines sent one by one, to be timed
PATIENCE = 120.0  # seconds

Say = Callable[[str], None]


@dataclass
class Told:
    """Counts by level as each way has them, and seconds from a line to its count."""

    stream: dict[str, int] = field(default_factory=dict)
    batch: dict[str, int] = field(default_factory=dict)
    real_time: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def tell(spark: SparkSession, servers: str, topic: str, folder: Path, say: Say) -> Told:
    """Run the story on a topic that is not there yet. folder: for the file, and for checkpoints."""
    told = Told()
    for name in (topic, f"{topic}-micro-batches", f"{topic}-real-time"):
        make_topic(servers, name, partitions=2)
    _send(servers, topic, LINES)
    say(f"{len(LINES)} log lines lie on topic {topic}; a stream counts them, and shows it:")
    shown = count_on_terminal(spark, servers, topic, str(folder / "shown"))
    shown.processAllAvailable()
    shown.stop()

    file = folder / "lines.json"
    file.write_text("".join(f"{line}\n" for line in LINES))
    began = time.monotonic()
    told.batch = count_in_file(spark, str(file))
    told.seconds["batch, whenever it is run"] = time.monotonic() - began

    say("the same lines from a file, in a batch job, and from the topic in both of Spark's streaming modes:")
    told.stream, told.seconds["micro-batches"] = _in_mode(spark, servers, topic, "micro-batches", folder, MICRO_BATCHES)
    told.real_time, told.seconds["real-time mode"] = _in_mode(spark, servers, topic, "real-time", folder, REAL_TIME)
    for level in sorted(told.batch):
        counts = f"batch {told.batch[level]:4}   micro-batches {told.stream[level]:4}   real time {told.real_time[level]:4}"
        say(f"{level:12} {counts}")
    for name, seconds in told.seconds.items():
        say(f"from a line to its count: {name:26} {seconds * 1_000:8,.1f} ms")
    return told


def _in_mode(
    spark: SparkSession, servers: str, topic: str, name: str, folder: Path, trigger: dict[str, str]
) -> tuple[dict[str, int], float]:
    """The counts of LINES, and the median of seconds from a further line to its count."""
    target = f"{topic}-{name}"
    query = count_to_topic(spark, servers, topic, target, str(folder / name), trigger)
    try:
        with Counts(servers, target, query) as counts:
            found = counts.wait_for_sum(len(LINES))
            producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
            timed = [_time_one(producer, topic, counts, f"TIMED IN {name}".upper()) for _ in range(TIMED)]
            return found, statistics.median(timed)
    finally:
        query.stop()


class Counts:
    """The newest count of each level on a topic of counts; use as a context manager."""

    def __init__(self, servers: str, topic: str, query: StreamingQuery) -> None:
        self.by_level: dict[str, int] = {}
        self._query = query
        self._consumer = Consumer({
            "bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5})
        self._consumer.subscribe([topic])

    def __enter__(self) -> "Counts":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def wait_for_sum(self, lines: int) -> dict[str, int]:
        """The counts, once they are of so many lines; less what was sent to be timed."""
        def counted() -> dict[str, int]:
            return {level: count for level, count in self.by_level.items() if not level.startswith("TIMED")}

        self._wait(lambda: sum(counted().values()) >= lines)
        return counted()

    def wait_for_one_more(self, level: str) -> None:
        """Until one more line of that level is counted than now."""
        before = self.by_level.get(level, 0)
        self._wait(lambda: self.by_level.get(level, 0) > before)

    def _wait(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if not self._query.isActive:
                raise RuntimeError(f"the query ended: {self._query.exception()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no such count within {PATIENCE:g} s")
            message = self._consumer.poll(0.1)
            if message is not None and not message.error():
                self.by_level[message.key().decode()] = int(message.value())


def _time_one(producer: Producer, topic: str, counts: Counts, level: str) -> float:
    began = time.monotonic()
    producer.produce(topic, json.dumps({"level": level, "message": "timed"}).encode())
    producer.flush(30)
    counts.wait_for_one_more(level)
    return time.monotonic() - began


def _send(servers: str, topic: str, lines: list[str]) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for line in lines:
        producer.produce(topic, line.encode())
    if producer.flush(30):
        raise RuntimeError("not all lines were acknowledged within 30 s")
