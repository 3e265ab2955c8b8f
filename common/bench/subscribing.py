"""A subscriber that starts where a topic ends now."""

import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from common.ingestion.connection import GROUP_PREFIX, Connection
from common.ingestion.topics import partition_ids


class from_end:
    """A consumer of a topic from its present end; use as a context manager."""

    def __init__(self, connection: Connection, topic: str) -> None:
        options = connection.client_options()
        self.consumer = Consumer(
            {**options, "group.id": f"{GROUP_PREFIX}bench-{time.time_ns()}", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
        )
        places = [TopicPartition(topic, partition) for partition in partition_ids(AdminClient(options), connection, topic)]
        for place in places:
            place.offset = self.consumer.get_watermark_offsets(place, timeout=10)[1]
        self.consumer.assign(places)

    def __enter__(self) -> Consumer:
        return self.consumer

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
