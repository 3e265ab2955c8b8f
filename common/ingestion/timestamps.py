"""Whose clock the timestamps on a topic are by: a broker's (LogAppendTime), or that of each producer (CreateTime)."""

from collections.abc import Collection

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

TIMESTAMP_TYPE, BY_BROKER = "message.timestamp.type", "LogAppendTime"
ASK_SECONDS = 10
REMEDY = (
    f"set {TIMESTAMP_TYPE}={BY_BROKER} on them. Until then archive and detect judge events by their own clocks, which may differ "
    "on what lies ahead of them, and a timestamp that Spark cannot hold ends both"
)


def by_producers(admin: AdminClient, topics: Collection[str]) -> list[str]:
    """Those of the topics whose timestamps are what their producers write; not those that this login may not look at."""
    if not topics:
        return []
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics]
    found = []
    for topic, answer in admin.describe_configs(asked, request_timeout=ASK_SECONDS).items():
        try:
            entry = answer.result().get(TIMESTAMP_TYPE)
        except KafkaException:
            continue
        if entry is not None and entry.value != BY_BROKER:
            found.append(topic.name)
    return sorted(found)
