"""The archive over a real broker: what is quarantined is on the dead-letter topic too, as it came and with the reason."""

import json
import time
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from pyspark.sql import types as T

from common import tables
from common.archive import archive
from common.archive.archive import archive_events
from common.archive.archive_tables import ensure_tables
from common.kafka.topics import ensure_topics
from common.streaming.queries import read_topic
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

SETTINGS = SimpleNamespace(future_tolerance=300, event_age_days=0, archive_interval=0, vacuum_hours=168)


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


def reading(name):
    return json.dumps({"reading_id": name, "meter_id": "m", "event_time": "2026-01-01T00:00:00.000Z"}).encode()


def send(broker, topic, *values):
    producer = Producer(broker.client_options())
    for value in values:
        producer.produce(topic, value, key=b"m", partition=0)
    assert producer.flush(20) == 0


def receive(broker, topic, count, seconds=60):
    consumer = Consumer(broker.client_options() | {"group.id": "dead", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    letters, deadline = [], time.monotonic() + seconds
    while len(letters) < count and time.monotonic() < deadline:
        letters += [message for message in consumer.consume(10, 1) if not message.error()]
    consumer.close()
    return letters


def test_what_is_quarantined_is_a_dead_letter_too(spark, broker, meters, tmp_path):
    ensure_topics(broker, meters, 1)
    workspace = Workspace(tmp_path, meters.name)
    ensure_tables(meters, workspace)
    send(broker, f"{meters.name}.events", reading("a"), b"\xff", reading("a"), reading("b"))
    query = archive_events(
        read_topic(spark, broker, f"{meters.name}.events"), deployed(meters, workspace, settings=SETTINGS, connection=broker)
    )
    query.processAllAvailable()
    query.stop()
    assert tables.row_count(workspace.table("events")) == 2 == tables.row_count(workspace.table("quarantine"))
    letters = {dict(letter.headers())["offset"]: letter for letter in receive(broker, f"{meters.name}.dead-letter", 2)}
    reasons = {offset: dict(letter.headers())["reason"] for offset, letter in letters.items()}
    assert reasons == {b"1": b"undecodable", b"2": b"duplicate"}
    assert letters[b"1"].value() == b"\xff" and letters[b"2"].value() == reading("a") and letters[b"1"].key() == b"m"


def test_what_came_compressed_and_is_too_large_for_a_dead_letter_leaves_one_without_it(spark, broker, meters, tmp_path):
    """A topic's limit is of what comes over the wire; Spark's producer counts plain bytes."""
    ensure_topics(broker, meters, 1)
    workspace, topic = Workspace(tmp_path, meters.name), f"{meters.name}.events"
    ensure_tables(meters, workspace)
    producer = Producer(broker.client_options() | {"compression.type": "gzip", "message.max.bytes": 20_000_000})
    sizes = [(1, 3_000_000), (3_000_000, 1), (600_000, 600_000), (3_000_000, None), (1, 800_000)]
    for key, value in sizes:
        producer.produce(topic, None if value is None else b"x" * value, key=b"k" * key, partition=0)
    assert producer.flush(20) == 0
    query = archive_events(read_topic(spark, broker, topic), deployed(meters, workspace, settings=SETTINGS, connection=broker))
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    rows = tables.read_arrow(workspace.table("quarantine")).to_pylist()
    kept = {row["kafka_offset"]: (row["key"], row["raw"]) for row in rows}
    assert [tuple(part and len(part) for part in kept[offset]) for offset in range(5)] == sizes
    letters = [None] * 5
    for letter in receive(broker, f"{meters.name}.dead-letter", 5):
        headers = dict(letter.headers())
        letters[int(headers["offset"])] = (letter, headers)
    assert [headers["left_out"] for _, headers in letters] == [b"value", b"key", b"value", b"key", b""]
    assert [(headers["key_bytes"], headers["value_bytes"]) for _, headers in letters] == [
        tuple(b"" if size is None else b"%d" % size for size in each) for each in sizes
    ]
    assert [(letter.key(), letter.value()) for letter, _ in letters] == [
        (b"k", None),
        (None, b"x"),
        (b"k" * 600_000, None),
        (None, None),
        (b"k", b"x" * 800_000),
    ]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_dead_letter_topic_that_takes_less_gets_letters_that_it_takes(spark, broker, meters, tmp_path, monkeypatch, is_known):
    """Where the archive may not ask for the limit, it learns that there is one."""
    if not is_known:
        monkeypatch.setattr(archive, "read_topic_settings", lambda *_: {})
    ensure_topics(broker, meters, 1)
    workspace, letter_topic = Workspace(tmp_path, meters.name), f"{meters.name}.dead-letter"
    ensure_tables(meters, workspace)
    smaller = ConfigResource(
        ConfigResource.Type.TOPIC,
        letter_topic,
        incremental_configs=[ConfigEntry("max.message.bytes", "20000", incremental_operation=AlterConfigOpType.SET)],
    )
    admin = AdminClient(broker.client_options())
    [altered] = admin.incremental_alter_configs([smaller]).values()
    altered.result()
    send(broker, f"{meters.name}.events", b"x" * 30_000, b"x" * 9_000)
    query = archive_events(
        read_topic(spark, broker, f"{meters.name}.events"), deployed(meters, workspace, settings=SETTINGS, connection=broker)
    )
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    letters = [(dict(letter.headers()), letter) for letter in receive(broker, letter_topic, 2 if is_known else 3, seconds=20)]
    if is_known:
        left_out = {(headers["left_out"], letter.value() and len(letter.value())) for headers, letter in letters}
        assert left_out == {(b"value", None), (b"", 9_000)}
    else:  # the smaller one may have gone before the other was refused
        assert {headers["offset"] for headers, _ in letters if headers["left_out"] == b"key, value"} == {b"0", b"1"}
    assert tables.row_count(workspace.table("quarantine")) == 2


def test_what_a_producer_rolled_back_was_never_sent(spark, broker, meters, tmp_path):
    ensure_topics(broker, meters, 1)
    workspace, topic = Workspace(tmp_path, meters.name), f"{meters.name}.events"
    ensure_tables(meters, workspace)
    producer = Producer(broker.client_options() | {"transactional.id": meters.name})
    producer.init_transactions(30)
    for names, is_kept in (("a", True), ("bcd", False), ("e", True), ("f", False)):
        producer.begin_transaction()
        for name in names:
            producer.produce(topic, reading(name), key=b"m")
        producer.flush(20)
        (producer.commit_transaction if is_kept else producer.abort_transaction)(30)
    query = archive_events(read_topic(spark, broker, topic), deployed(meters, workspace, settings=SETTINGS, connection=broker))
    query.processAllAvailable()  # though the last offsets are marks of transactions
    query.stop()
    assert sorted(row["reading_id"] for row in tables.read_arrow(workspace.table("events")).to_pylist()) == ["a", "e"]
    assert tables.row_count(workspace.table("quarantine")) == 0
