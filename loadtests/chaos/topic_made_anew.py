"""The topic of events is deleted and made anew with other records, and the archive goes on as it advises."""

import shutil
from collections.abc import Callable, Sequence

from confluent_kafka.admin import AdminClient

from common import tables
from common.kafka.connection import Connection
from common.kafka.producers import Producer
from common.kafka.topics import create_topics, partition_ids, topic_names
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.chaos.expected import renamed
from loadtests.chaos.topic_faults import wait
from loadtests.chaos.verification import Count

RECORDS = 100  # of them half broken


def make_anew(
    connection: Connection, vertical: Vertical, workspace: Workspace, values: Sequence[bytes],
    archive: Callable[[], tuple[int | None, str]],
) -> list[Count]:
    """Delete the topic of events, make it anew with other records, renamed `values` and broken ones, and go on as advised.

    archive: archives all there is; its exit status, and what it said.
    """
    topic, admin = topic_names(vertical).events, AdminClient(connection.client_options())
    before = _rows(workspace)
    partitions = len(partition_ids(admin, connection, topic))
    admin.delete_topics([topic])[topic].result()
    wait(lambda: topic not in admin.list_topics(timeout=10).topics, f"the topic {topic} is still there")
    create_topics(admin, connection, [topic], partitions)
    with Producer(connection) as producer:
        for number in range(RECORDS):
            value = b"broken-%d" % number if number % 2 else renamed(vertical, values[number % len(values)], f"anew-{number}")
            producer.send(topic, b"anew", value)
    refused, said = archive()
    shutil.rmtree(workspace.checkpoint("archive-events"))
    went_on, _ = archive()
    after = _rows(workspace)
    return [
        Count("topic made anew: refused by the archive, in words", int(refused == 1 and "made anew" in said), 1),
        Count("topic made anew: gone on with once the checkpoint was removed", int(went_on == 0), 1),
        Count("topic made anew: its valid events in `events`", after["events"] - before["events"], RECORDS // 2),
        Count("topic made anew: its others in `quarantine`", after["quarantine"] - before["quarantine"], RECORDS // 2),
    ]


def _rows(workspace: Workspace) -> dict[str, int]:
    return {name: tables.row_count(workspace.table(name)) for name in ("events", "quarantine")}
