"""Sells seats to thousands of requests while two sellers are killed again and again, and counts the seats in the end."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.streaming import StreamingQuery

from examples.producers_consumers.producer import make_topic
from examples.ticket_sales.stock import parse_answers, stock_of_shows
from examples.ticket_sales.tickets import CAPACITY, GRANTED, Request, Reservation

PARTITIONS, SELLERS = 3, ("ann", "bob")
REQUESTS, REQUESTS_PER_SECOND, KILLS = 6_000, 400, 6
MAX_WAIT_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What happened: every request, every answer, how often a seller was killed.

    live_stock, final_stock: the stock detector's rows by show, of the stream when the sale has ended, and of a batch job over all
    answers.
    """

    requests: list[Request] = field(default_factory=list)
    answers: list[Reservation] = field(default_factory=list)
    kills: int = 0
    live_stock: dict[str, Row] = field(default_factory=dict)
    final_stock: dict[str, Row] = field(default_factory=dict)

    @property
    def sold(self) -> Counter[str]:
        """Seats that were granted, by show."""
        return Counter({show: sum(answer.seats for answer in self.answers if (answer.show, answer.status) == (show, GRANTED))
                        for show in CAPACITY})  # fmt: skip


def run_story(spark: SparkSession, servers: str, topic: str, checkpoint: Path, say: Say) -> Outcome:
    """Run the sale on topics that do not exist yet. checkpoint: the stock detector's folder."""
    outcome, rng = Outcome(), random.Random(7)
    for name in (topic, f"{topic}-answers"):
        make_topic(servers, name, PARTITIONS)
    say(f"{REQUESTS:,} requests for {', '.join(f'{seats:,} seats of {show}' for show, seats in CAPACITY.items())}")
    with (
        _running_sellers(servers, topic) as sellers,
        _running_detector(spark, servers, topic, outcome.live_stock, checkpoint) as query,
    ):
        for number in _send_requests(servers, topic, rng, outcome.requests):
            if number % (REQUESTS // KILLS) == REQUESTS // KILLS - 1:
                victim = rng.choice(SELLERS)
                say(f"after {number + 1:,} requests seller {victim} is killed, and started again")
                sellers.kill(victim)
                outcome.kills += 1
                lines = [_forecast_line(row) for _, row in sorted(outcome.live_stock.items())]
                say(f"  the stock detector: {'; '.join(lines) or 'starting'}")
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while len(outcome.answers) < len(outcome.requests):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{len(outcome.answers):,} of {REQUESTS:,} requests were answered within {MAX_WAIT_SECONDS:g} s"
                )
            sellers.keep_running()
            time.sleep(0.5)
            outcome.answers = _read_answers(servers, f"{topic}-answers")
        query.processAllAvailable()
    records = spark.read.format("kafka").options(**_source_options(servers, topic)).load()
    outcome.final_stock = {row.show: row for row in stock_of_shows(parse_answers(records)).collect()}
    counts = Counter(answer.request_id for answer in outcome.answers)
    say(f"{len(counts):,} requests were answered, {sum(count > 1 for count in counts.values())} of them more than once")
    for show, row in sorted(outcome.final_stock.items()):
        result_text = "OVERSOLD" if row.is_oversold else "MISCOUNTED" if row.is_miscounted else "not oversold"
        comparison = "as it was live" if row == outcome.live_stock[show] else f"but live: {outcome.live_stock[show]}"
        say(
            f"{_forecast_line(row)}: {row.sold:,} of {CAPACITY[show]:,} seats, {row.refused:,} requests refused; "
            f"{result_text}, {comparison}"
        )
    return outcome


def _forecast_line(row: Row) -> str:
    return f"{row.show} is sold out" if row.free_seats == 0 else f"{row.show} lasts {row.lasts_seconds:,.0f} s at this pace"


def _source_options(servers: str, topic: str) -> dict[str, str]:
    """Spark's options to read the answers that were committed."""
    return {"kafka.bootstrap.servers": servers, "subscribe": f"{topic}-answers", "startingOffsets": "earliest",
            "kafka.isolation.level": "read_committed"}  # fmt: skip


@contextmanager
def _running_detector(
    spark: SparkSession, servers: str, topic: str, live_stock: dict[str, Row], checkpoint: Path
) -> Iterator[StreamingQuery]:
    """Runs the stock detector as a stream beside the sale; it writes its newest row of each show into `live_stock`."""

    def update_live(stock_rows: DataFrame, number: int) -> None:
        live_stock.update({row.show: row for row in stock_rows.collect()})

    answers = parse_answers(spark.readStream.format("kafka").options(**_source_options(servers, topic)).load())
    query = (
        stock_of_shows(answers)
        .writeStream.foreachBatch(update_live)
        .outputMode("update")
        .option("checkpointLocation", str(checkpoint))
        .start()
    )
    try:
        yield query
    finally:
        query.stop()


class Sellers:
    """The sellers' processes. One that ends, or is killed, is started again under its name."""

    def __init__(self, servers: str, topic: str) -> None:
        self._arguments = [servers, topic]
        self._processes = {name: self._start(name) for name in SELLERS}

    def kill(self, name: str) -> None:
        """End a seller by SIGKILL, in the middle of what it does, and start it again."""
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._start(name)

    def keep_running(self) -> None:
        """Start sellers again that have ended by themselves, as one does whose place in the group another one has taken."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                self._processes[name] = self._start(name)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "examples.ticket_sales.seller", name, *self._arguments]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@contextmanager
def _running_sellers(servers: str, topic: str) -> Iterator[Sellers]:
    sellers = Sellers(servers, topic)
    try:
        yield sellers
    finally:
        sellers.stop()


def _send_requests(servers: str, topic: str, rng: random.Random, requests: list[Request]) -> Iterator[int]:
    """Send the requests at their pace and append them to `requests`; yields the number of each."""
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    started_at = time.monotonic()
    for number in range(REQUESTS):
        show = rng.choices(list(CAPACITY), [3, 6, 2, 1])[0]
        request = Request(f"r{number}", show, rng.randint(1, 4), int(time.time() * 1_000))
        producer.produce(topic, request.to_json(), show.encode())
        requests.append(request)
        yield number
        producer.poll(0)
        time.sleep(max(0.0, started_at + number / REQUESTS_PER_SECOND - time.monotonic()))
    if producer.flush(30):
        raise RuntimeError("not all requests were acknowledged within 30 s")


def _read_answers(servers: str, topic: str) -> list[Reservation]:
    """All answers that were committed."""
    answers: list[Reservation] = []
    options = {
        "bootstrap.servers": servers,
        "group.id": "unused",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
    }
    with Consumer(options) as consumer:
        unread_partitions = set(range(PARTITIONS))
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread_partitions])
        while unread_partitions:
            for message in consumer.consume(1_000, timeout=0.2):
                if message.error() is None:
                    answers.append(Reservation.from_json(message.value()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    unread_partitions.discard(message.partition())
    return answers
