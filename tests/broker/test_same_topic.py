"""Topics that are deleted and made anew, or given more partitions, under an archive and its checkpoints."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer as Client
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from pyspark.errors import StreamingQueryException

from common import tables
from common.installed import find_vertical
from common.kafka import topic_identity
from common.kafka.producers import Producer
from common.kafka.topic_identity import TopicChanged
from common.kafka.topics import create_topics, end_offsets, ensure_topics, partition_ids
from common.settings import Settings
from common.streaming.archiving import run_archiving
from common.streaming.checkpoint_topics import NOTE_FILE, of_present_topic
from common.streaming.queries import QueryEnded
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker


def event_of(name, amount=1.5):
    at = "2026-04-01T12:00:00Z"
    event = {"transaction_id": name, "card_id": "c", "terminal_id": "t", "amount": amount, "event_time": at}
    return json.dumps(event).encode()


class Cards:
    """A vertical of topics of its own, and what is archived of it."""

    def __init__(self, spark, broker, name, folder):
        self.spark, self.broker = spark, broker
        self.vertical = replace(find_vertical("finance_fraud"), name=name)
        self.topic, self.workspace = f"{name}.events", Workspace(folder, name)
        self.settings = Settings(data=folder, archive_interval=1)
        self.admin = AdminClient(broker.client_options())
        ensure_topics(broker, self.vertical, 2)

    def send(self, *names, **changes):
        with Producer(self.broker) as producer:
            for name in names:
                producer.send(self.topic, b"c", event_of(name, **changes))

    def archiving(self):
        return run_archiving(self.spark, deployed(self.vertical, self.workspace, settings=self.settings, connection=self.broker))

    def archive(self):
        with self.archiving() as archived:
            archived.drain()

    def make_anew(self, partitions=2):
        self.admin.delete_topics([self.topic])[self.topic].result()
        deadline = time.monotonic() + 30
        while self.topic in self.admin.list_topics(timeout=5).topics:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        create_topics(self.admin, self.broker, [self.topic], partitions)

    def rows(self, table, column):
        return sorted(row[column] for row in tables.read_arrow(self.workspace.table(table)).to_pylist())


@pytest.fixture
def cards(spark, broker, vertical_name, tmp_path):
    return Cards(spark, broker, vertical_name, tmp_path)


def test_a_topic_that_was_made_anew_is_refused_and_the_advised_way_on_loses_and_doubles_nothing(cards):
    cards.send("a", "b")
    cards.send("bad", "worse", amount=-1)
    cards.archive()
    cards.make_anew()
    # More than there were, so that Spark would go on at the offset where it stopped.
    cards.send(*"cdefgh")
    cards.send("evil", amount=-1)
    with pytest.raises(TopicChanged, match=r"was made anew .* remove \S+archive-events: tables stay") as refused:
        cards.archive()
    assert "archive-labels" not in str(refused.value)
    shutil.rmtree(cards.workspace.checkpoint("archive-events"))
    cards.archive()
    assert cards.rows("events", "transaction_id") == [*"abcdefgh"]
    assert len(cards.rows("quarantine", "kafka_offset")) == 3
    events = tables.read(cards.spark, cards.workspace.table("events"))
    present = of_present_topic(events, cards.workspace, cards.topic)
    assert sorted(row.transaction_id for row in present.collect()) == [*"cdefgh"]
    assert [row["name"] for row in tables.read_arrow(cards.workspace.table("topics")).to_pylist()].count(cards.topic) == 2


def test_records_that_went_before_they_were_read_are_told(cards):
    cards.send(*"abc")
    cards.archive()
    cards.send(*"defgh")
    ends = {place: at for place, at in end_offsets(cards.broker, cards.topic).items() if at}
    gone = [TopicPartition(cards.topic, place, at - 2) for place, at in ends.items()]  # as Kafka's retention takes them
    for answer in cards.admin.delete_records(gone).values():
        answer.result()
    with cards.archiving() as archived:
        with pytest.raises(StreamingQueryException):
            archived.drain()
        with pytest.raises(QueryEnded, match=r"retention is shorter than the lag.* remove the query's checkpoint"):
            archived.raise_failure()
    shutil.rmtree(cards.workspace.checkpoint("archive-events"))
    cards.archive()
    assert cards.rows("events", "transaction_id") == [*"abcgh"]


def test_a_topic_that_is_made_anew_under_a_running_archive_ends_it_in_words(cards, monkeypatch):
    monkeypatch.setattr(topic_identity, "CHECK_INTERVAL_SECONDS", 0.0)
    with cards.archiving() as archived:
        archived.raise_failure()
        cards.make_anew()
        with pytest.raises(TopicChanged, match=r"was made anew .* start again"):
            archived.topics.check()


def test_partitions_that_are_added_are_told_and_read_and_a_checkpoint_of_before_gets_its_note(cards, monkeypatch, caplog):
    monkeypatch.setattr(topic_identity, "CHECK_INTERVAL_SECONDS", 0.0)
    cards.send("a")
    cards.archive()
    Path(cards.workspace.checkpoint("archive-events"), NOTE_FILE).unlink()  # as an older version leaves it
    with cards.archiving() as archived:
        archived.drain()
        cards.admin.create_partitions([NewPartitions(cards.topic, 3)])[cards.topic].result()
        deadline = time.monotonic() + 30
        while len(partition_ids(cards.admin, cards.broker, cards.topic)) < 3:
            assert time.monotonic() < deadline
        archived.raise_failure()
        assert f"{cards.topic} has 3 partitions now" in caplog.text
        caplog.clear()
        archived.raise_failure()
        assert not caplog.records, "told once"
        producer = Client(cards.broker.client_options())
        producer.produce(cards.topic, event_of("b"), partition=2)
        assert producer.flush(20) == 0
        archived.drain()
    assert cards.rows("events", "transaction_id") == ["a", "b"]
