"""The sale: thousands of requests, two sellers that are killed again and again, and the count in the end."""

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
REQUESTS, PER_SECOND, KILLS = 6_000, 400, 6
PATIENCE = 120.0  # seconds

Say = Callable[[str], None]


@dataclass
class Told:
    """Every request, every answer, how often a seller was killed; what the stock detector says by show: live, when the sale has
    ended, and as a batch job over all answers.
    """

    requests: list[Request] = field(default_factory=list)
    answers: list[Reservation] = field(default_factory=list)
    kills: int = 0
    live: dict[str, Row] = field(default_factory=dict)
    stock: dict[str, Row] = field(default_factory=dict)

    @property
    def sold(self) -> Counter[str]:
        return Counter({show: sum(each.seats for each in self.answers if (each.show, each.status) == (show, GRANTED))
                        for show in CAPACITY})  # fmt: skip


def tell(spark: SparkSession, servers: str, topic: str, checkpoint: Path, say: Say) -> Told:
    """Run the sale on topics that are not there yet. checkpoint: a folder for the stock detector's."""
    told, chance = Told(), random.Random(7)
    for name in (topic, f"{topic}-answers"):
        make_topic(servers, name, PARTITIONS)
    say(f"{REQUESTS:,} requests for {', '.join(f'{seats:,} seats of {show}' for show, seats in CAPACITY.items())}")
    with _sellers(servers, topic) as sellers, _detector(spark, servers, topic, told.live, checkpoint) as detecting:
        sending = _send(servers, topic, chance, told.requests)
        for number in sending:
            if number % (REQUESTS // KILLS) == REQUESTS // KILLS - 1:
                victim = chance.choice(SELLERS)
                say(f"after {number + 1:,} requests seller {victim} is killed, and started again")
                sellers.kill(victim)
                told.kills += 1
                say(f"  the stock detector: {'; '.join(_told_of(row) for _, row in sorted(told.live.items())) or 'starting'}")
        deadline = time.monotonic() + PATIENCE
        while len(told.answers) < len(told.requests):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(told.answers):,} of {REQUESTS:,} requests were answered within {PATIENCE:g} s")
            sellers.keep_running()
            time.sleep(0.5)
            told.answers = _answers(servers, f"{topic}-answers")
        detecting.processAllAvailable()
    records = spark.read.format("kafka").options(**_source(servers, topic)).load()
    told.stock = {row.show: row for row in stock_of_shows(parse_answers(records)).collect()}
    answered = Counter(each.request_id for each in told.answers)
    say(f"{len(answered):,} requests were answered, {sum(count > 1 for count in answered.values())} of them more than once")
    for show, row in sorted(told.stock.items()):
        verdict = "OVERSOLD" if row.is_oversold else "MISCOUNTED" if row.is_miscounted else "not oversold"
        live = "as it was live" if row == told.live[show] else f"but live: {told.live[show]}"
        say(f"{_told_of(row)}: {row.sold:,} of {CAPACITY[show]:,} seats, {row.refused:,} requests refused; {verdict}, {live}")
    return told


def _told_of(row: Row) -> str:
    return f"{row.show} is sold out" if row.left == 0 else f"{row.show} lasts {row.lasts_seconds:,.0f} s at this pace"


def _source(servers: str, topic: str) -> dict[str, str]:
    """Of answers, those that were committed."""
    return {"kafka.bootstrap.servers": servers, "subscribe": f"{topic}-answers", "startingOffsets": "earliest",
            "kafka.isolation.level": "read_committed"}  # fmt: skip


@contextmanager
def _detector(
    spark: SparkSession, servers: str, topic: str, live: dict[str, Row], checkpoint: Path
) -> Iterator[StreamingQuery]:
    """The stock detector as a stream, beside the sale: what it finds is in `live`, by show."""
    def keep(stock: DataFrame, number: int) -> None:
        live.update({row.show: row for row in stock.collect()})

    answers = parse_answers(spark.readStream.format("kafka").options(**_source(servers, topic)).load())
    query = (
        stock_of_shows(answers).writeStream.foreachBatch(keep).outputMode("update")
        .option("checkpointLocation", str(checkpoint)).start()
    )
    try:
        yield query
    finally:
        query.stop()


class Sellers:
    """The sellers' processes. One that ends, or is killed, is started again under its name."""

    def __init__(self, servers: str, topic: str) -> None:
        self._arguments = [servers, topic]
        self._running = {name: self._start(name) for name in SELLERS}

    def kill(self, name: str) -> None:
        """SIGKILL: it can end nothing that it has begun."""
        self._running[name].kill()
        self._running[name].wait()
        self._running[name] = self._start(name)

    def keep_running(self) -> None:
        """Start those again that ended by themselves, as one does whose place in the group another one has taken."""
        for name, process in self._running.items():
            if process.poll() is not None:
                self._running[name] = self._start(name)

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "examples.ticket_sales.seller", name, *self._arguments]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@contextmanager
def _sellers(servers: str, topic: str) -> Iterator[Sellers]:
    sellers = Sellers(servers, topic)
    try:
        yield sellers
    finally:
        sellers.stop()


def _send(servers: str, topic: str, chance: random.Random, sent: list[Request]) -> Iterator[int]:
    """Send the requests at their pace, into `sent` too; yields the number of each."""
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    began = time.monotonic()
    for number in range(REQUESTS):
        show = chance.choices(list(CAPACITY), [3, 6, 2, 1])[0]
        request = Request(f"r{number}", show, chance.randint(1, 4), int(time.time() * 1_000))
        producer.produce(topic, request.to_json(), show.encode())
        sent.append(request)
        yield number
        producer.poll(0)
        time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
    if producer.flush(30):
        raise RuntimeError("not all requests were acknowledged within 30 s")


def _answers(servers: str, topic: str) -> list[Reservation]:
    """All that was committed."""
    found: list[Reservation] = []
    options = {"bootstrap.servers": servers, "group.id": "unused", "isolation.level": "read_committed",
               "enable.partition.eof": True, "enable.auto.commit": False}
    with Consumer(options) as consumer:
        unread = set(range(PARTITIONS))
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        while unread:
            for message in consumer.consume(1_000, timeout=0.2):
                if message.error() is None:
                    found.append(Reservation.from_json(message.value()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
    return found
