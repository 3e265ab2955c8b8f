"""The topics of a vertical: their names, their creation, and their end offsets."""

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic, OffsetSpec

from common.kafka.connection import BrokerError, Connection, explain_failure
from common.kafka.topic_settings import (
    BY_BROKER,
    MAX_DEFAULT_REPLICAS,
    MIN_IN_SYNC,
    PRODUCER_TIMESTAMPS_ADVICE,
    TIMESTAMP_TYPE,
    min_in_sync_replicas,
    producer_stamped,
    read_topic_settings,
)
from common.vertical import Query, Vertical

LOG = logging.getLogger(__name__)

LISTED_SECONDS = 10.0
LEADER_SECONDS = 30.0
# Transient errors: a partition has no leader yet, or one was elected just now, as when a broker on busy cores was late with its
# heartbeat. The client library's own code, _NOENT, is for a topic none of whose partitions has a leader.
LEADERLESS = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._NOENT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
)


@dataclass(frozen=True)
class TopicNames:
    """The four topics of a vertical; all are keyed by entity."""

    events: str
    labels: str
    alerts: str
    dead_letter: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.events, self.labels, self.alerts, self.dead_letter))


def topic_names(vertical: Vertical | str) -> TopicNames:
    """The topics of `vertical` (or of the vertical of that name)."""
    name = vertical if isinstance(vertical, str) else vertical.name
    return TopicNames(f"{name}.events", f"{name}.labels", f"{name}.alerts", f"{name}.dead-letter")


def topic_of(vertical: Vertical, query: Query) -> str:
    """The topic of the query's results."""
    return f"{vertical.name}.{query.topic}"


def own_topics(vertical: Vertical) -> list[str]:
    """Topics of those of the vertical's queries whose results are no alerts."""
    return sorted({topic_of(vertical, query) for query in vertical.queries if not query.raises_alerts})


def ensure_topics(
    connection: Connection,
    vertical: Vertical | str,
    partitions: int = 2,
    replication: int | None = None,
    only: Collection[str] | None = None,
) -> dict[str, int]:
    """Create the topics that are missing; returns the partitions of all, by name: the four, and those of a vertical's queries.

    replication: without it as many replicas as the cluster has brokers, three at most. only: these topics and no others, for a
    login that sees no others. An existing topic is left as it is, and the login needs no right to create it; a warning says where
    its timestamps are its producers'. Raises BrokerError.
    """
    names = [*topic_names(vertical), *(own_topics(vertical) if isinstance(vertical, Vertical) else ())]
    names = [name for name in names if only is None or name in only]
    admin = AdminClient(connection.client_options())
    existing = _list_topics(admin, connection)
    if missing := [name for name in names if name not in existing]:
        create_topics(admin, connection, missing, partitions, replication)
    with suppress(KafkaException):  # the warning may fail: a broker that does not answer raises right below
        stamped_by_producers = producer_stamped(read_topic_settings(admin, [name for name in names if name in existing]))
        if stamped_by_producers:
            topics = ", ".join(stamped_by_producers)
            LOG.warning("%s: the timestamps are what producers write (CreateTime): %s", topics, PRODUCER_TIMESTAMPS_ADVICE)
    return {name: len(partition_ids(admin, connection, name)) for name in names}


def create_topics(
    admin: AdminClient, connection: Connection, names: Collection[str], partitions: int, replication: int | None = None
) -> None:
    """Create the topics, unless another process just did; returns once the broker lists them. Raises BrokerError."""
    replicas = replication or min(MAX_DEFAULT_REPLICAS, len(_read_metadata(admin, connection).brokers))
    # An acknowledged record is on two brokers, where two of three remain if one is away.
    in_sync = {MIN_IN_SYNC: str(min_in_sync_replicas(replicas))} if replicas >= MAX_DEFAULT_REPLICAS else {}
    config = {TIMESTAMP_TYPE: BY_BROKER} | in_sync  # events are checked against their ingest time, which producers must not set
    new_topics = [NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=config) for name in names]
    for name, answer in admin.create_topics(new_topics, operation_timeout=10, request_timeout=15).items():
        try:
            answer.result()
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(_creation_problem(connection, name, replicas, failure.args[0])) from None
    # The controller has created them; the brokers learn of it a moment later.
    deadline = time.monotonic() + LISTED_SECONDS
    while not set(names) <= set(_list_topics(admin, connection)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _list_topics(admin: AdminClient, connection: Connection) -> Collection[str]:
    return _read_metadata(admin, connection).topics


def _read_metadata(admin: AdminClient, connection: Connection) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=10)
    except KafkaException as failure:
        raise BrokerError(explain_failure(connection, [failure.args[0]])) from None


def partition_ids(admin: AdminClient, connection: Connection, topic: str) -> list[int]:
    """Partitions of `topic`. Raises BrokerError, also where it does not exist."""
    try:
        description = admin.list_topics(topic, timeout=10).topics[topic]
    except KafkaException as failure:
        raise BrokerError(explain_failure(connection, [failure.args[0]])) from None
    if description.error:
        raise BrokerError(f"topic {topic} at {connection.bootstrap_servers}: {description.error.str()}")
    return sorted(description.partitions)


def end_offsets(connection: Connection, topic: str) -> dict[int, int]:
    """Per partition, the offset that the next record will get."""
    return read_end_offsets(AdminClient(connection.client_options()), connection, topic)


def records_sent(connection: Connection, topic: str) -> int:
    """How many records were ever sent to `topic`."""
    return sum(end_offsets(connection, topic).values())


def read_end_offsets(admin: AdminClient, connection: Connection, topic: str, committed: bool = False) -> dict[int, int]:
    """`end_offsets` by an existing client. committed: only up to the first record of an open transaction."""
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    deadline = time.monotonic() + LEADER_SECONDS
    while True:
        # `partition_ids` at each attempt: by itself a client never notices that a partition has a new leader.
        specs = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partition_ids(admin, connection, topic)}
        try:
            answers = admin.list_offsets(specs, isolation_level=level, request_timeout=10)
            return {topic_partition.partition: answer.result().offset for topic_partition, answer in answers.items()}
        except KafkaException as failure:
            error = failure.args[0]
            # A new topic is listed before its partitions have a leader.
            if error.code() not in LEADERLESS or time.monotonic() > deadline:
                raise BrokerError(explain_failure(connection, [error])) from None
        time.sleep(0.05)


def _creation_problem(connection: Connection, topic: str, replication: int, error: KafkaError) -> str:
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return f"topic {topic}: the cluster at {connection.bootstrap_servers} has fewer than {replication} brokers (replication)"
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return f"topic {topic}: this login may not create topics at {connection.bootstrap_servers}"
    if error.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
        return explain_failure(connection, [error])
    return f"topic {topic} cannot be created at {connection.bootstrap_servers}: {error.str()}"
