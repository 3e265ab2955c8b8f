"""What a subscriber sees of an alerts topic that changes under it, over a real broker."""

import json
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from common.kafka.topics import create_topics
from common.monitoring import alert_watch as module
from common.monitoring.alert_watch import AlertWatch

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

TEXTS = dict.fromkeys(module.TEXT_FIELDS, "odd")


@pytest.fixture
def admin(broker, vertical_name, monkeypatch):
    monkeypatch.setattr(module, "PARTITION_CHECK_SECONDS", 0.5)
    admin = AdminClient(broker.client_options())
    create_topics(admin, broker, [vertical_name], partitions=2)
    return admin


def wait_until(is_so):
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_partitions_that_a_topic_is_given_later_are_read(admin, broker, vertical_name):
    with AlertWatch(broker, vertical_name) as watch:
        admin.create_partitions([NewPartitions(vertical_name, 3)])[vertical_name].result(30)
        wait_until(lambda: len(admin.list_topics(vertical_name, timeout=10).topics[vertical_name].partitions) == 3)
        producer = Producer(broker.client_options())
        for partition in (2, 0, 1):
            alert = TEXTS | {"alert_id": f"{partition}", "rule": f"of {partition}", "ingest_time": datetime.now(UTC).isoformat()}
            producer.produce(vertical_name, json.dumps(alert).encode(), partition=partition)
        assert producer.flush(30) == 0
        wait_until(lambda: watch.tally.updates == 3)
        assert watch.tally.alerts == {"of 0": 1, "of 1": 1, "of 2": 1}, watch.tally


def test_a_topic_that_is_taken_away_is_told_once(admin, broker, vertical_name, caplog):
    with AlertWatch(broker, vertical_name):
        admin.delete_topics([vertical_name])[vertical_name].result(30)
        wait_until(lambda: caplog.messages)
        time.sleep(2)
    [told] = [line for line in caplog.messages if f"alerts on topic {vertical_name} are not seen here" in line]
    assert "Unknown topic" in told, told
