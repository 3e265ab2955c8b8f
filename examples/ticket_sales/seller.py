"""Reads requests for seats and answers each once, though it may be killed at any moment.

`python -m examples.ticket_sales.seller NAME SERVERS TOPIC`: requests on TOPIC, answers on TOPIC-answers.

All requests of a show have one key, so one partition, so one seller at a time: nobody else changes its stock, and no lock is
needed. Answers and the offsets of their requests are committed in one transaction of Kafka, both or neither. Stock is not stored
anywhere: it is what follows from the answers.
"""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from examples.ticket_sales.tickets import Request, Reservation, Stock

REQUESTS_PER_TRANSACTION = 200
TRANSACTION_SECONDS = 10  # after which Kafka rolls back the open transaction of a seller that was killed


class Seller:
    """One member of the group of sellers."""

    def __init__(self, name: str, servers: str, topic: str) -> None:
        self._servers, self._answers = servers, f"{topic}-answers"
        self._stock = Stock()
        # When a seller starts under the name of one that was killed, Kafka ends that one's transaction and refuses its records.
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "transactional.id": f"{topic}-{name}",
                "linger.ms": 0,
                "transaction.timeout.ms": TRANSACTION_SECONDS * 1_000,
            }
        )
        self._producer.init_transactions(60)
        # read_committed holds for the group's own offsets too: those of a transaction that is being ended are waited for.
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"{topic}-sellers",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "session.timeout.ms": 6_000,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._take_over)

    def sell(self) -> None:
        """Answer requests until the process ends. Raises KafkaException when another seller has its place: start it again."""
        while True:
            messages = self._consumer.consume(REQUESTS_PER_TRANSACTION, timeout=0.2)
            requests = [message for message in messages if not message.error()]
            if not requests:
                continue
            self._producer.begin_transaction()
            for message in requests:
                answer = self._stock.decide(Request.from_json(message.value()))
                self._producer.produce(self._answers, answer.to_json(), answer.show.encode(), message.partition())
            positions = [position for position in self._consumer.position(self._consumer.assignment()) if position.offset >= 0]
            self._producer.send_offsets_to_transaction(positions, self._consumer.consumer_group_metadata(), 30)
            self._producer.commit_transaction(30)

    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Before the first request of these partitions: read all their answers so far, from which the stock follows."""
        for partition in partitions:
            for answer in self._read_answers(partition.partition):
                self._stock.restore(answer)

    def _read_answers(self, partition: int) -> list[Reservation]:
        """The answers in a partition, up to its present end.

        A transaction of the seller before may still be open, or about to be committed: read_committed stops in front of it, and
        we wait until it is ended. A seller that went on without its answers would sell its seats again.
        """
        options = {"bootstrap.servers": self._servers, "group.id": "unused", "enable.auto.commit": False}
        with Consumer(options | {"isolation.level": "read_uncommitted"}) as consumer:
            _, end = consumer.get_watermark_offsets(TopicPartition(self._answers, partition), timeout=30)
        answers: list[Reservation] = []
        with Consumer(options | {"isolation.level": "read_committed", "enable.partition.eof": True}) as consumer:
            consumer.assign([TopicPartition(self._answers, partition, OFFSET_BEGINNING)])
            read_offset = 0
            while read_offset < end:
                message = consumer.poll(1.0)
                if message is None:
                    continue
                if message.error() is None:
                    answers.append(Reservation.from_json(message.value()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    read_offset = message.offset()
                else:
                    raise KafkaException(message.error())
        return answers


if __name__ == "__main__":
    Seller(*sys.argv[1:]).sell()
