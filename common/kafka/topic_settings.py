"""Reads the settings of topics, whoever created them: partitions, replicas, in-sync replicas, whose the timestamps are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

MIN_IN_SYNC = "min.insync.replicas"
MAX_BYTES_SETTING, DEFAULT_MAX_BYTES = "max.message.bytes", 1_048_588  # of a record as it is sent
TIMESTAMP_TYPE, BY_BROKER = "message.timestamp.type", "LogAppendTime"  # otherwise timestamps are what each producer writes
MAX_DEFAULT_REPLICAS = 3  # of a topic that is created without a number of replicas
PRODUCER_TIMESTAMPS_ADVICE = (
    f"set {TIMESTAMP_TYPE}={BY_BROKER} on them. Until then archive and detect judge events by their own clocks, which may differ "
    "on what lies ahead of them, and a timestamp that Spark cannot hold ends both"
)


@dataclass(frozen=True)
class TopicSettings:
    """A topic's settings. in_sync, timestamps: empty where this login may not read them; max_bytes is Kafka's default then."""

    partitions: int
    replicas: int
    in_sync: str
    timestamps: str
    max_bytes: int = DEFAULT_MAX_BYTES

    def __str__(self) -> str:
        return (
            f"partitions {self.partitions}, replication {self.replicas}, {MIN_IN_SYNC} {self.in_sync or 'not shown'}, "
            f"{self.timestamps or 'timestamp type not shown'}"
        )

    def risk(self, brokers: int) -> str:
        """Why acknowledged records may be lost with one of so many brokers; empty where they are not, or it is unknown."""
        if brokers > 1 and self.replicas == 1:
            replicas = min(MAX_DEFAULT_REPLICAS, brokers)
            return f"one broker alone has each record: give it {replicas} replicas (kafka-reassign-partitions)"
        if self.replicas >= MAX_DEFAULT_REPLICAS and self.in_sync == "1":
            setting = f"{MIN_IN_SYNC}={min_in_sync_replicas(self.replicas)}"
            return f"a record is acknowledged that one broker alone has: kafka-configs --alter --add-config {setting}"
        return ""


def min_in_sync_replicas(replicas: int) -> int:
    """How many replicas must have a record before it is acknowledged: all but one, so that one broker may be away."""
    return max(1, replicas - 1)


def producer_stamped(topics: Mapping[str, TopicSettings]) -> list[str]:
    """Names of the topics whose timestamps their producers write; not of those whose settings this login may not read."""
    return sorted(name for name, topic in topics.items() if topic.timestamps not in ("", BY_BROKER))


def read_topic_settings(admin: AdminClient, names: Sequence[str]) -> dict[str, TopicSettings]:
    """The settings of those of the topics that exist, by name. Raises KafkaException."""
    existing = admin.list_topics(timeout=5).topics
    descriptions = {name: existing[name] for name in names if name in existing}
    if not descriptions:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in descriptions]
    answers = {resource.name: answer for resource, answer in admin.describe_configs(resources, request_timeout=5).items()}
    settings = {}
    for name, topic in descriptions.items():
        try:
            values = {key: entry.value for key, entry in answers[name].result().items()}
        except KafkaException:  # this login may not read them
            values = {}
        replicas = min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
        max_bytes = int(values.get(MAX_BYTES_SETTING, DEFAULT_MAX_BYTES))
        settings[name] = TopicSettings(
            len(topic.partitions), replicas, values.get(MIN_IN_SYNC, ""), values.get(TIMESTAMP_TYPE, ""), max_bytes
        )
    return settings
