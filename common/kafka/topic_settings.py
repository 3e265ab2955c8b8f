"""What topics really have, whoever made them: partitions, replicas, what an acknowledgement means, whose the timestamps are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

MIN_IN_SYNC = "min.insync.replicas"
LARGEST_RECORD, USUAL_BYTES = "max.message.bytes", 1_048_588  # of a record as it comes over the wire
TIMESTAMP_TYPE, BY_BROKER = "message.timestamp.type", "LogAppendTime"  # otherwise they are what each producer writes
MOST_REPLICAS = 3  # of a topic for which no number is asked
OF_PRODUCERS = (
    f"set {TIMESTAMP_TYPE}={BY_BROKER} on them. Until then archive and detect judge events by their own clocks, which may differ "
    "on what lies ahead of them, and a timestamp that Spark cannot hold ends both"
)


@dataclass(frozen=True)
class TopicSettings:
    """in_sync, timestamps: empty where this login may not ask for them; most_bytes is Kafka's default then."""

    partitions: int
    replicas: int
    in_sync: str
    timestamps: str
    most_bytes: int = USUAL_BYTES

    def __str__(self) -> str:
        return (
            f"partitions {self.partitions}, replication {self.replicas}, {MIN_IN_SYNC} {self.in_sync or 'not shown'}, "
            f"{self.timestamps or 'timestamp type not shown'}"
        )

    def risk(self, brokers: int) -> str:
        """Why what a producer was told is kept may be lost with one broker of so many; empty where it is not, or not known."""
        if brokers > 1 and self.replicas == 1:
            return f"one broker alone has each record: give it {min(MOST_REPLICAS, brokers)} replicas (kafka-reassign-partitions)"
        if self.replicas >= MOST_REPLICAS and self.in_sync == "1":
            wanted = f"{MIN_IN_SYNC}={in_sync_of(self.replicas)}"
            return f"a record is acknowledged that one broker alone has: kafka-configs --alter --add-config {wanted}"
        return ""


def in_sync_of(replicas: int) -> int:
    """Replicas that must have a record before it is acknowledged: all but one, so that one broker may be away."""
    return max(1, replicas - 1)


def by_producers(topics: Mapping[str, TopicSettings]) -> list[str]:
    """Those whose timestamps are what their producers write; not those that this login may not ask for."""
    return sorted(name for name, topic in topics.items() if topic.timestamps not in ("", BY_BROKER))


def settings_of(admin: AdminClient, names: Sequence[str]) -> dict[str, TopicSettings]:
    """By name, of those of the topics that are there. Raises KafkaException."""
    there = admin.list_topics(timeout=5).topics
    found = {name: there[name] for name in names if name in there}
    if not found:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in found]
    answers = {resource.name: answer for resource, answer in admin.describe_configs(resources, request_timeout=5).items()}
    settings = {}
    for name, topic in found.items():
        try:
            told = {key: entry.value for key, entry in answers[name].result().items()}
        except KafkaException:  # this login may not ask
            told = {}
        replicas = min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
        most_bytes = int(told.get(LARGEST_RECORD, USUAL_BYTES))
        settings[name] = TopicSettings(
            len(topic.partitions), replicas, told.get(MIN_IN_SYNC, ""), told.get(TIMESTAMP_TYPE, ""), most_bytes)
    return settings
