"""Sends events and receives their alerts at the same time; a ledger notes when each event was sent and when its alert came.

All times are those of `time.monotonic()`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from confluent_kafka import Consumer

from common.kafka.producers import Producer
from common.kafka.reader import poll_batch
from common.simulation.messages import Messages


class Ledger(Protocol):
    """Notes what was sent and what was received; it is called by two threads."""

    def note_sent(self, row: int, value: bytes, now: float) -> None: ...

    def note_received(self, value: bytes, now: float) -> None: ...


def send_rows(producer: Producer, topic: str, ledger: Ledger, messages: Messages, first_row: int, end_row: int) -> None:
    """Send the messages [first, last)."""
    for row in range(first_row, end_row):
        value = messages.values[row]
        ledger.note_sent(row, value, time.monotonic())
        producer.send(topic, messages.keys[row], value)


@contextmanager
def background_receiver(consumer: Consumer, ledger: Ledger) -> Iterator[None]:
    """A thread notes every record that the consumer gets, until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=_receive, args=(consumer, ledger, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _receive(consumer: Consumer, ledger: Ledger, stop: threading.Event) -> None:
    while not stop.is_set():
        for message in poll_batch(consumer, timeout=0.1):
            now = time.monotonic()
            if message.error() is None and message.value():
                ledger.note_received(message.value(), now)
