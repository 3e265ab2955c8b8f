"""The topics of a vertical: names, creation, and how far they reach."""

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic, OffsetSpec

from common.kafka.connection import BrokerError, Connection, explain
from common.kafka.topic_settings import (
    BY_BROKER,
    MIN_IN_SYNC,
    MOST_REPLICAS,
    OF_PRODUCERS,
    TIMESTAMP_TYPE,
    by_producers,
    in_sync_of,
    settings_of,
)
from common.vertical import Query, Vertical

LOG = logging.getLogger(__name__)

LISTED_SECONDS = 10.0
LEADER_SECONDS = 30.0
# Passing: no leader yet, or one chosen a moment ago, as when a broker on busy cores was late with its heartbeat. The client
# library's own code, _NOENT, is of a topic of whose partitions none has a leader.
LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError._NOENT,
              KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH)


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
    """Where what the query finds goes to."""
    return f"{vertical.name}.{query.topic}"


def own_topics(vertical: Vertical) -> list[str]:
    """Topics of the vertical's queries that find something other than alerts."""
    return sorted({topic_of(vertical, query) for query in vertical.queries if not query.raises_alerts})


def ensure_topics(
    connection: Connection,
    vertical: Vertical | str,
    partitions: int = 2,
    replication: int | None = None,
    only: Collection[str] | None = None,
) -> dict[str, int]:
    """Create the topics that are missing; returns the partitions of all, by name: the four, and those of a vertical's queries.

    replication: without it as many replicas as the cluster has brokers, three at most.
    only: no others than these, for a login that sees no others. A topic that is there already is left as it is, and needs no
    right to create one; it is said where its timestamps are its producers'. Raises BrokerError.
    """
    names = [*topic_names(vertical), *(own_topics(vertical) if isinstance(vertical, Vertical) else ())]
    names = [name for name in names if only is None or name in only]
    admin = AdminClient(connection.client_options())
    there = _listed(admin, connection)
    if wanted := [name for name in names if name not in there]:
        create_topics(admin, connection, wanted, partitions, replication)
    with suppress(KafkaException):  # only told: a broker that does not answer is noticed right below
        theirs = by_producers(settings_of(admin, [name for name in names if name in there]))
        if theirs:
            LOG.warning("%s: the timestamps are what producers write (CreateTime): %s", ", ".join(theirs), OF_PRODUCERS)
    return {name: len(partition_ids(admin, connection, name)) for name in names}


def create_topics(
    admin: AdminClient, connection: Connection, names: Collection[str], partitions: int, replication: int | None = None
) -> None:
    """Create the topics, if nobody else does meanwhile; returns once the broker lists them. Raises BrokerError."""
    replicas = replication or min(MOST_REPLICAS, len(_asked(admin, connection).brokers))
    # What is acknowledged is to be on two brokers, where one that is away still leaves two.
    in_sync = {MIN_IN_SYNC: str(in_sync_of(replicas))} if replicas >= MOST_REPLICAS else {}
    config = {TIMESTAMP_TYPE: BY_BROKER} | in_sync  # an event is judged by when it came in, which no producer is to say
    wanted = [NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=config) for name in names]
    for name, created in admin.create_topics(wanted, operation_timeout=10, request_timeout=15).items():
        try:
            created.result()
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(_refused(connection, name, replicas, failure.args[0])) from None
    # The controller has made them; a broker hears of it a moment later.
    deadline = time.monotonic() + LISTED_SECONDS
    while not set(names) <= set(_listed(admin, connection)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _listed(admin: AdminClient, connection: Connection) -> Collection[str]:
    return _asked(admin, connection).topics


def _asked(admin: AdminClient, connection: Connection) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=10)
    except KafkaException as failure:
        raise BrokerError(explain(connection, [failure.args[0]])) from None


def partition_ids(admin: AdminClient, connection: Connection, topic: str) -> list[int]:
    """Partitions of `topic`; raises BrokerError when it is not there."""
    try:
        found = admin.list_topics(topic, timeout=10).topics[topic]
    except KafkaException as failure:
        raise BrokerError(explain(connection, [failure.args[0]])) from None
    if found.error:
        raise BrokerError(f"topic {topic} at {connection.bootstrap_servers}: {found.error.str()}")
    return sorted(found.partitions)


def end_offsets(connection: Connection, topic: str) -> dict[int, int]:
    """Per partition, the offset that the next record will get."""
    return read_end_offsets(AdminClient(connection.client_options()), connection, topic)


def records_sent(connection: Connection, topic: str) -> int:
    """How many records were ever sent to `topic`."""
    return sum(end_offsets(connection, topic).values())


def read_end_offsets(admin: AdminClient, connection: Connection, topic: str, committed: bool = False) -> dict[int, int]:
    """`end_offsets` over a client that is kept. committed: no farther than to the first record of an open transaction."""
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    deadline = time.monotonic() + LEADER_SECONDS
    while True:
        # Asked anew each time: a client that is kept never sees by itself that a partition's leader was chosen again.
        asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partition_ids(admin, connection, topic)}
        try:
            found = admin.list_offsets(asked, isolation_level=level, request_timeout=10)
            return {asked_of.partition: answer.result().offset for asked_of, answer in found.items()}
        except KafkaException as failure:
            error = failure.args[0]
            # A topic that was made a moment ago is listed before its partitions have a leader.
            if error.code() not in LEADERLESS or time.monotonic() > deadline:
                raise BrokerError(explain(connection, [error])) from None
        time.sleep(0.05)


def _refused(connection: Connection, topic: str, replication: int, error: KafkaError) -> str:
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return f"topic {topic}: the cluster at {connection.bootstrap_servers} has fewer than {replication} brokers (replication)"
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return f"topic {topic}: this login may not create topics at {connection.bootstrap_servers}"
    if error.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
        return explain(connection, [error])
    return f"topic {topic} cannot be created at {connection.bootstrap_servers}: {error.str()}"
