"""Measures the same backlog without this project: in a bare Spark job, and in a loop of plain Python with one rule."""

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

# finance_fraud's rule `velocity` by its default settings: so many events of an entity within so long (tiny amounts included).
VELOCITY_WINDOW_SECONDS = 20 * 60
VELOCITY_EVENTS = 6


def bare_spark(spark: SparkSession, deployment: Deployment, events: int, is_parsed: bool = False) -> float:
    """Events per second of a Spark stream that reads the topic and drops it: no contract, no rule, no output.

    is_parsed: with `from_json` by the event's schema, which is the least that anything with a rule has to do.
    """
    records = read_topic(spark, deployment.kafka, topic_names(deployment.vertical).events)
    if is_parsed:
        records = records.select(F.from_json(F.col("value").cast("string"), deployment.vertical.event_schema).alias("event"))
    started_at = time.monotonic()
    query = (
        records.writeStream.format("noop")
        .option("checkpointLocation", deployment.workspace.checkpoint(f"noop-{time.time_ns()}"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return events / (time.monotonic() - started_at)


def consume(deployment: Deployment, events: int) -> float:
    """Events per second that confluent-kafka reads, without parsing any."""
    consumer, count, started_at = _consumer_from_start(deployment), 0, time.monotonic()
    while count < events:
        count += len(consumer.consume(10_000, timeout=1))
    elapsed = time.monotonic() - started_at
    consumer.close()
    return events / elapsed


def _consumer_from_start(deployment: Deployment) -> Consumer:
    topic, options = topic_names(deployment.vertical).events, deployment.kafka.client_options()
    consumer = Consumer(
        {
            **options,
            "group.id": f"{GROUP_PREFIX}loop-{time.time_ns()}",
            "enable.auto.commit": False,
            "queued.min.messages": 200_000,
        }
    )
    partitions = partition_ids(AdminClient(options), deployment.kafka, topic)
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    return consumer


def python_loop(deployment: Deployment, events: int) -> float:
    """Events per second of confluent-kafka and orjson with finance_fraud's velocity rule, whichever the vertical is.

    It keeps the times of each entity's events of the last 20 minutes in memory, and sends a record for every event that makes
    them 6 or more. Nothing is durable.
    """
    consumer = _consumer_from_start(deployment)
    entity, event_time = deployment.vertical.entity, deployment.vertical.event_time
    recent_times: dict[str, deque[float]] = defaultdict(deque)
    count, started_at = 0, time.monotonic()
    with Producer(deployment.kafka, linger=0.005) as producer:
        while count < events:
            for message in consumer.consume(10_000, timeout=1):
                count += 1
                try:
                    event = orjson.loads(message.value())
                    window, now = recent_times[event[entity]], datetime.fromisoformat(event[event_time]).timestamp()
                except (ValueError, KeyError, TypeError):
                    continue
                window.append(now)
                while window and window[0] < now - VELOCITY_WINDOW_SECONDS:
                    window.popleft()
                if len(window) >= VELOCITY_EVENTS:
                    producer.send(
                        f"{deployment.vertical.name}.dead-letter",
                        None,
                        orjson.dumps({"entity_id": event[entity], "score": len(window)}),
                    )
    elapsed = time.monotonic() - started_at
    consumer.close()
    return events / elapsed
