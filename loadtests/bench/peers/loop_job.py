"""The bare yardstick: confluent-kafka, orjson and a dictionary. Nothing is durable: a kill forgets every window."""

import json
import sys

import orjson
from card_rules import EMPTY_TOTALS, Totals, add_amount, raise_alerts, to_cents, window_start
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition


def main(job: dict) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": job["servers"],
            "group.id": job["group"],
            "enable.auto.commit": False,
            "queued.min.messages": 200_000,
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(job["events"], partition, OFFSET_BEGINNING) for partition in range(job["partitions"])])
    producer = Producer(
        {
            "bootstrap.servers": job["servers"],
            "linger.ms": 0 if job["low_latency"] else 5,
            "acks": "all",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    windows: dict[tuple[str, int], Totals] = {}
    newest_start = 0
    while True:
        first = consumer.poll(1)
        # `consume` would wait until it has as many as it is asked for.
        for message in [first, *consumer.consume(10_000, 0)] if first else []:
            if message.error():
                continue
            event = orjson.loads(message.value())
            card, start = event["card_id"], window_start(event["event_time"], job["window_seconds"])
            totals = windows.get((card, start), EMPTY_TOTALS)
            windows[card, start] = totals = add_amount(totals, to_cents(event["amount"]))
            for alert in raise_alerts(job, card, start, totals):
                producer.produce(job["alerts"], orjson.dumps(alert), card)
            if start > newest_start:
                newest_start, oldest_start = start, start - job["watermark_seconds"]
                windows = {window: totals for window, totals in windows.items() if window[1] >= oldest_start}
        producer.poll(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
