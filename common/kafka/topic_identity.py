"""Notices that a topic is not the same as before: created again, on another cluster or with more partitions.

Offsets of the earlier topic name other records in such a topic.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from common.errors import UserError
from common.kafka.connection import BrokerError, Connection, explain_failure

CHECK_INTERVAL_SECONDS = 30.0
URL_SAFE = str.maketrans("+/", "-_")
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # from brokers before Kafka 2.8, whose topics have no ids


class TopicChanged(UserError):
    """A topic is not the one that a query has read; the message says how it differs, and what to do."""


@dataclass(frozen=True)
class Topic:
    """A topic of a cluster. Two topics of the same name are the same one if `cluster` and `id` are equal."""

    name: str
    cluster: str
    id: str
    partitions: int

    @classmethod
    def from_json(cls, text: str) -> "Topic":
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def difference_from(self, earlier: "Topic") -> str:
        """How this is another topic than `before`, as text; empty where it is the same one, perhaps with more partitions."""
        if self.cluster != earlier.cluster:
            return f"topic {self.name} is of another cluster ({self.cluster}, and not {earlier.cluster})"
        if self.id != earlier.id and NO_ID not in (self.id, earlier.id):
            return f"topic {self.name} was made anew (its id is {self.id}, and was {earlier.id})"
        if self.partitions < earlier.partitions:
            return f"topic {self.name} was made anew (it has {self.partitions} partitions, and had {earlier.partitions})"
        return ""


def describe_topic(admin: AdminClient, connection: Connection, name: str) -> Topic:
    """The topic as the cluster has it now. Raises BrokerError."""
    try:
        description = admin.describe_topics(TopicCollection([name]), request_timeout=10)[name].result()
        cluster = admin.list_topics(name, timeout=10).cluster_id
    except KafkaException as failure:
        error = failure.args[0]
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise BrokerError(f"topic {name} is not at {connection.bootstrap_servers} any more") from None
        raise BrokerError(explain_failure(connection, [error])) from None
    topic_id = str(description.topic_id).translate(URL_SAFE)  # as Kafka's own tools write it
    return Topic(name, cluster or "", topic_id, len(description.partitions))


class TopicWatch:
    """Checks now and then that topics are still the same."""

    def __init__(self, admin: AdminClient, connection: Connection, topics: Iterable[Topic]) -> None:
        self._admin, self._connection = admin, connection
        self._topics = {topic.name: topic for topic in topics}
        self._due = time.monotonic() + CHECK_INTERVAL_SECONDS

    def check(self) -> list[Topic]:
        """The topics that have more partitions than at the last check. Raises TopicChanged where one is another topic.

        Checks every CHECK_INTERVAL_SECONDS, however often it is called. A broker that does not answer is no error here, as others
        report it.
        """
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + CHECK_INTERVAL_SECONDS
        grown_topics = []
        for earlier in list(self._topics.values()):
            try:
                topic = describe_topic(self._admin, self._connection, earlier.name)
            except BrokerError:
                continue
            if difference := topic.difference_from(earlier):
                raise TopicChanged(f"{difference} while it was read: start again, which says what to do")
            if topic.partitions > earlier.partitions:
                grown_topics.append(topic)
            self._topics[topic.name] = topic
        return grown_topics
