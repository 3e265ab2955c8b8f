"""What the same backlog costs without us: a bare Spark job, and a loop in plain Python that does the windowed rule."""

import time
from collections import defaultdict, deque
from datetime import datetime

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from common.deployment import Deployment
from common.kafka.connection import GROUP_PREFIX
from common.kafka.producers import Producer
from common.kafka.topics import partition_ids, topic_names
from common.streaming.queries import read_topic


def bare_spark(spark: SparkSession, deployment: Deployment, events: int, parsed: bool = False) -> float:
    """Events per second of a Spark stream that reads the topic and drops it: no contract, no rule, no output.

    parsed: with `from_json` by the event's schema, which is the least that anything with a rule has to do.
    """
    records = read_topic(spark, deployment.kafka, topic_names(deployment.vertical).events)
    if parsed:
        records = records.select(F.from_json(F.col("value").cast("string"), deployment.vertical.event_schema).alias("event"))
    started = time.monotonic()
    query = (
        records.writeStream.format("noop")
        .option("checkpointLocation", deployment.workspace.checkpoint(f"noop-{time.time_ns()}"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return events / (time.monotonic() - started)


def consume(deployment: Deployment, events: int) -> float:
    """Events per second that confluent-kafka reads and nobody looks at."""
    consumer, seen, started = _from_the_start(deployment), 0, time.monotonic()
    while seen < events:
        seen += len(consumer.consume(10_000, timeout=1))
    elapsed = time.monotonic() - started
    consumer.close()
    return events / elapsed


def _from_the_start(deployment: Deployment) -> Consumer:
    topic, options = topic_names(deployment.vertical).events, deployment.kafka.client_options()
    consumer = Consumer({
        **options,
        "group.id": f"{GROUP_PREFIX}loop-{time.time_ns()}",
        "enable.auto.commit": False,
        "queued.min.messages": 200_000,
    })
    consumer.assign([TopicPartition(topic, number, 0) for number in partition_ids(AdminClient(options), deployment.kafka, topic)])
    return consumer


def python_loop(deployment: Deployment, events: int) -> float:
    """Events per second of confluent-kafka and orjson, keeping each entity's last 20 minutes in memory; nothing is durable."""
    consumer = _from_the_start(deployment)
    entity, event_time = deployment.vertical.entity, deployment.vertical.event_time
    recent: dict[str, deque[float]] = defaultdict(deque)
    seen, started = 0, time.monotonic()
    with Producer(deployment.kafka, linger=0.005) as producer:
        while seen < events:
            for message in consumer.consume(10_000, timeout=1):
                seen += 1
                try:
                    event = orjson.loads(message.value())
                    window, now = recent[event[entity]], datetime.fromisoformat(event[event_time]).timestamp()
                except (ValueError, KeyError, TypeError):
                    continue
                window.append(now)
                while window and window[0] < now - 1200:
                    window.popleft()
                if len(window) >= 6:
                    producer.send(
                        f"{deployment.vertical.name}.dead-letter",
                        None,
                        orjson.dumps({"entity_id": event[entity], "score": len(window)}),
                    )
    elapsed = time.monotonic() - started
    consumer.close()
    return events / elapsed
