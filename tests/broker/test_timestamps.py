"""Whatever a producer writes as a record's timestamp: the archive goes on, and no event moves time ahead of our clock."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyspark.sql import types as T

from common import doctor, tables
from common.archive.archive import archive_events, archive_labels
from common.archive.archive_tables import ensure_tables
from common.kafka.topic_settings import producer_stamped, read_topic_settings
from common.kafka.topics import ensure_topics
from common.settings import Settings
from common.simulation.fuzz import TIMESTAMPS
from common.streaming.queries import UNREADABLE_TIMESTAMP, read_topic, reason_of
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

SETTINGS = SimpleNamespace(future_tolerance=300, event_age_days=0, archive_interval=0, vacuum_hours=168)
SPARK_HOLDS = (1 << 63) // 1_000
PAST, FUTURE = "2024-04-01T10:00:00Z", "2099-01-01T00:00:00Z"


@pytest.fixture
def meters(vertical_name):
    names = ("reading_id", "meter_id", "event_time")
    not_null = [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}} for name in names]
    schema = T.StructType().add("reading_id", "string").add("meter_id", "string").add("event_time", "timestamp")
    return SimpleNamespace(
        pseudonymised=(),
        name=vertical_name,
        event_id="reading_id",
        entity="meter_id",
        event_time="event_time",
        contract=tuple(not_null),
        event_schema=schema,
    )


def send(broker, topic, timestamps, times=(PAST, FUTURE)):
    """Of each timestamp a reading of each time; their ids are both."""
    producer = Producer(broker.client_options())
    for timestamp in timestamps:
        for time in times:
            value = {"reading_id": f"{timestamp} {time}", "meter_id": "m", "event_time": time}
            producer.produce(topic, json.dumps(value).encode(), key=b"m", partition=0, timestamp=timestamp)
    assert producer.flush(20) == 0


def archived(spark, broker, vertical, workspace, start=archive_events, topic="events"):
    ensure_tables(vertical, workspace)
    records = read_topic(spark, broker, f"{vertical.name}.{topic}")
    query = start(records, deployed(vertical, workspace, settings=SETTINGS, connection=broker))
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    return tables.read_arrow(workspace.table("events")).to_pylist(), tables.read_arrow(workspace.table("quarantine")).to_pylist()


def test_topics_made_here_have_the_brokers_time_whatever_was_written(spark, broker, meters, tmp_path):
    names = ensure_topics(broker, meters.name, 1)
    assert producer_stamped(read_topic_settings(AdminClient(broker.client_options()), names)) == []
    began = datetime.now(UTC)
    send(broker, f"{meters.name}.events", TIMESTAMPS)
    events, quarantine = archived(spark, broker, meters, Workspace(tmp_path, meters.name))
    assert sorted(row["reading_id"] for row in events) == sorted(f"{timestamp} {PAST}" for timestamp in TIMESTAMPS)
    assert [row["reason"] for row in quarantine] == ["future_event_time"] * len(TIMESTAMPS)
    assert all(began.replace(microsecond=0) <= row["ingest_time"] <= datetime.now(UTC) for row in events + quarantine)


def made_elsewhere(broker, name):
    """A topic whose timestamps are its producers'."""
    admin = AdminClient(broker.client_options())
    admin.create_topics([NewTopic(name, 1, config={"message.timestamp.type": "CreateTime"})])[name].result(20)
    return name


@pytest.fixture
def of_producers(broker, meters):
    topic = made_elsewhere(broker, f"{meters.name}.events")
    ensure_topics(broker, meters.name, 1)
    return topic


def test_a_topic_with_the_producers_time_is_judged_by_our_clock_and_said_so(
    spark, broker, meters, of_producers, tmp_path, caplog
):
    ensure_topics(broker, meters.name)
    assert f"{of_producers}: the timestamps are what producers write" in caplog.text
    timestamps = [timestamp for timestamp in TIMESTAMPS if abs(timestamp) <= SPARK_HOLDS]
    send(broker, of_producers, timestamps)
    events, quarantine = archived(spark, broker, meters, Workspace(tmp_path, meters.name))
    assert sorted(row["reading_id"] for row in events) == sorted(f"{timestamp} {PAST}" for timestamp in timestamps)
    assert [row["reason"] for row in quarantine] == ["future_event_time"] * len(timestamps)
    assert all(1970 <= row["ingest_time"].year <= 2200 for row in events + quarantine)


def test_one_that_spark_cannot_hold_is_told_in_words(spark, broker, meters, of_producers, tmp_path):
    send(broker, of_producers, [SPARK_HOLDS + 1], [PAST])
    workspace = Workspace(tmp_path, meters.name)
    ensure_tables(meters, workspace)
    query = archive_events(
        read_topic(spark, broker, of_producers), deployed(meters, workspace, settings=SETTINGS, connection=broker)
    )
    with pytest.raises(Exception, match="overflows"):
        query.processAllAvailable()
    assert reason_of(query.exception()) == UNREADABLE_TIMESTAMP


def test_odd_timestamps_of_labels_keep_no_label_out(spark, broker, meters, tmp_path):
    workspace, topic = Workspace(tmp_path, meters.name), made_elsewhere(broker, f"{meters.name}.labels")
    producer = Producer(broker.client_options())
    for number, timestamp in enumerate(each for each in TIMESTAMPS if abs(each) <= SPARK_HOLDS):
        label = {"event_id": str(number), "event_time": PAST, "known_time": PAST}
        for value in (json.dumps(label).encode(), b"{}"):
            producer.produce(topic, value, timestamp=timestamp)
    assert producer.flush(20) == 0
    _, quarantine = archived(spark, broker, meters, workspace, archive_labels, "labels")
    assert tables.row_count(workspace.table("labels")) == number + 1 == len(quarantine)


def test_doctor_names_topics_with_the_producers_time(broker, monkeypatch, meters, of_producers, tmp_path):
    monkeypatch.setattr(doctor, "vertical_names", lambda: [meters.name])
    settings = Settings(home=tmp_path, data=tmp_path, bootstrap_servers=broker.bootstrap_servers)
    found = {finding.name: finding for finding in doctor.diagnose(settings)}["timestamps"]
    assert not found.ok and of_producers in found.state and "LogAppendTime" in found.remedy
