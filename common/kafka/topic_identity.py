"""Whether a topic is the one it was: made anew, of another cluster or with more partitions, its offsets say something else."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from common.errors import UserError
from common.kafka.connection import BrokerError, Connection, explain

LOOK_EVERY = 30.0  # seconds
URL_SAFE = str.maketrans("+/", "-_")
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # what a broker from before Kafka 2.8 says, whose topics have none


class TopicChanged(UserError):
    """A topic is not what it was when a query read it; the message says what is different, and what to do."""


@dataclass(frozen=True)
class Topic:
    """A topic as its cluster has it. Of two with the same name, `cluster` and `id` say whether they are one."""

    name: str
    cluster: str
    id: str
    partitions: int

    @classmethod
    def from_json(cls, text: str) -> "Topic":
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def other_than(self, before: "Topic") -> str:
        """How it is another topic than `before` was, in words; empty where it is the same, with or without more partitions."""
        if self.cluster != before.cluster:
            return f"topic {self.name} is of another cluster ({self.cluster}, and not {before.cluster})"
        if self.id != before.id and NO_ID not in (self.id, before.id):
            return f"topic {self.name} was made anew (its id is {self.id}, and was {before.id})"
        if self.partitions < before.partitions:
            return f"topic {self.name} was made anew (it has {self.partitions} partitions, and had {before.partitions})"
        return ""


def topic_now(admin: AdminClient, connection: Connection, name: str) -> Topic:
    """The topic as it is now. Raises BrokerError."""
    try:
        found = admin.describe_topics(TopicCollection([name]), request_timeout=10)[name].result()
        cluster = admin.list_topics(name, timeout=10).cluster_id
    except KafkaException as failure:
        error = failure.args[0]
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise BrokerError(f"topic {name} is not at {connection.bootstrap_servers} any more") from None
        raise BrokerError(explain(connection, [error])) from None
    written = str(found.topic_id).translate(URL_SAFE)  # as Kafka's own tools write it
    return Topic(name, cluster or "", written, len(found.partitions))


class TopicWatch:
    """Looks now and then whether topics are still what they were."""

    def __init__(self, admin: AdminClient, connection: Connection, topics: Iterable[Topic]) -> None:
        self._admin, self._connection = admin, connection
        self._topics = {each.name: each for each in topics}
        self._due = time.monotonic() + LOOK_EVERY

    def look(self) -> list[Topic]:
        """Those that have more partitions than at the last look. Raises TopicChanged where one is another topic.

        Looks each LOOK_EVERY seconds, however often it is called; a broker that does not answer is for others to tell.
        """
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + LOOK_EVERY
        grown = []
        for before in list(self._topics.values()):
            try:
                now = topic_now(self._admin, self._connection, before.name)
            except BrokerError:
                continue
            if why := now.other_than(before):
                raise TopicChanged(f"{why} while it was read: start again, to be told what to do")
            if now.partitions > before.partitions:
                grown.append(now)
            self._topics[now.name] = now
        return grown
