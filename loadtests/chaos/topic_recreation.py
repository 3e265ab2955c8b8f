"""Deletes the topic of events and makes it anew with other records; the archive has to refuse it, and to go on as it advises."""

import shutil
from collections.abc import Callable, Sequence

from confluent_kafka.admin import AdminClient

from common import tables
from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.topics import create_topics, partition_ids, topic_names
from common.workspace import Workspace
from loadtests.chaos.expected import with_event_id
from loadtests.chaos.topic_faults import wait_until
from loadtests.chaos.verification import Count

RECORDS = 100  # of them half broken


def recreate_topic(deployment: Deployment, values: Sequence[bytes], archive: Callable[[], tuple[int | None, str]]) -> list[Count]:
    """Delete the topic of events, make it anew with `values` under other ids and broken records, and archive these.

    archive: archives all that is in the topics; its exit status, and its output.
    """
    vertical, workspace = deployment.vertical, deployment.workspace
    topic, admin = topic_names(vertical).events, AdminClient(deployment.kafka.client_options())
    rows_before = _count_rows(workspace)
    partitions = len(partition_ids(admin, deployment.kafka, topic))
    admin.delete_topics([topic])[topic].result()
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, f"the topic {topic} is still there")
    create_topics(admin, deployment.kafka, [topic], partitions)
    with Producer(deployment.kafka) as producer:
        for number in range(RECORDS):
            valid_event = with_event_id(vertical, values[number % len(values)], f"anew-{number}")
            producer.send(topic, b"anew", b"broken-%d" % number if number % 2 else valid_event)
    first_status, output = archive()
    shutil.rmtree(workspace.checkpoint("archive-events"))
    status, _ = archive()
    rows_after = _count_rows(workspace)
    return [
        Count("topic made anew: refused by the archive, in words", int(first_status == 1 and "made anew" in output), 1),
        Count("topic made anew: gone on with once the checkpoint was removed", int(status == 0), 1),
        Count("topic made anew: its valid events in `events`", rows_after["events"] - rows_before["events"], RECORDS // 2),
        Count("topic made anew: its others in `quarantine`", rows_after["quarantine"] - rows_before["quarantine"], RECORDS // 2),
    ]


def _count_rows(workspace: Workspace) -> dict[str, int]:
    return {name: tables.row_count(workspace.table(name)) for name in ("events", "quarantine")}
