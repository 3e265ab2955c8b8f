"""Topics and producers against a real broker: what is acknowledged is there, and what is not is told."""

import re

import pytest

from common.doctor import diagnose
from common.embedded.kafka import EmbeddedKafka
from common.kafka.connection import BrokerError, Connection, check_connection
from common.kafka.lag import LagMeter
from common.kafka.producers import DeliveryFailed, Producer
from common.kafka.reader import read_all
from common.kafka.topics import end_offsets, ensure_topics, topic_names
from common.settings import Settings

pytestmark = pytest.mark.broker


def test_topics_are_made_once_and_left_alone_afterwards(broker, vertical_name):
    names = topic_names(vertical_name)
    made = ensure_topics(broker, vertical_name, partitions=3)
    assert made == dict.fromkeys(names, 3)
    with Producer(broker) as producer:
        producer.send(names.events, b"k", b"v")
    assert ensure_topics(broker, vertical_name, partitions=5) == made
    assert sum(end_offsets(broker, names.events).values()) == 1
    assert LagMeter(broker, names.events).measure(None) == 1


def test_more_replicas_than_brokers_is_refused_in_so_many_words(broker, vertical_name):
    with pytest.raises(BrokerError, match=r"fewer than 3 brokers \(replication\)"):
        ensure_topics(broker, vertical_name, replication=3)


def test_doctor_says_what_topics_have(broker, tmp_path):
    ensure_topics(broker, "finance_fraud", partitions=3, only=["finance_fraud.labels"])
    found = {each.name: each for each in diagnose(Settings(data=tmp_path, bootstrap_servers=broker.bootstrap_servers))}
    said = found["topic finance_fraud.labels"]
    # Other tests with this broker may have made it before, with as many partitions as they wanted.
    assert said.ok and re.fullmatch(r"partitions \d+, replication 1, min.insync.replicas 1, LogAppendTime", said.state)


def test_the_offsets_of_a_topic_that_is_not_there_are_an_error_that_names_it(broker):
    with pytest.raises(BrokerError, match=r"topic absent.topic at 127.0.0.1"):
        end_offsets(broker, "absent.topic")


def test_many_records_arrive_exactly_once(broker, vertical_name):
    ensure_topics(broker, vertical_name)
    topic = topic_names(vertical_name).events
    values = [b"%d" % n for n in range(50_000)]
    with Producer(broker, linger=0.02, max_records=5_000) as producer:
        producer.send_many(topic, [b"card-%d" % (n % 100) for n in range(50_000)], values)
    assert producer.delivered_count == 50_000
    assert sorted(record.value for record in read_all(broker, topic)) == sorted(values)


def test_a_broker_killed_mid_send_ends_in_an_error_and_every_acknowledged_record_is_kept(tmp_path):
    kafka = EmbeddedKafka(tmp_path / "kafka")
    try:
        connection = Connection(kafka.start().bootstrap_servers)
        ensure_topics(connection, "t", partitions=1)
        producer = Producer(connection, delivery_timeout=3, max_records=200)
        told = r"200 records were not delivered to Kafka at 127.0.0.1.*no answer from a broker within 3 s \(200\)"
        with pytest.raises(DeliveryFailed, match=told) as caught, producer:
            for n in range(100_000):
                producer.send("t.events", b"k", b"%d" % n)
                if n == 5_000:
                    kafka.stop()
        assert caught.value.failed_count == 200 and caught.value.delivered_count >= 4_800
        kafka.start()
        kept = [int(record.value) for record in read_all(Connection(kafka.bootstrap_servers), "t.events")]
        # What was given up may still have reached the disk; nothing is there twice or out of order.
        assert kept == list(range(len(kept))) and caught.value.delivered_count <= len(kept) <= caught.value.delivered_count + 200
    finally:
        kafka.stop()


def test_a_broker_that_comes_back_in_time_costs_nothing(tmp_path):
    kafka = EmbeddedKafka(tmp_path / "kafka")
    try:
        connection = Connection(kafka.start().bootstrap_servers)
        ensure_topics(connection, "t", partitions=1)
        with Producer(connection, delivery_timeout=60) as producer:
            producer.send_many("t.events", [b"k"] * 500, [b"%d" % n for n in range(500)])
            kafka.stop()
            producer.send_many("t.events", [b"k"] * 500, [b"%d" % n for n in range(500, 1_000)])
            kafka.start()
        assert producer.delivered_count == 1_000
        assert [int(record.value) for record in read_all(connection, "t.events")] == list(range(1_000))
    finally:
        kafka.stop()


def test_a_broker_that_is_gone_fails_the_check(tmp_path):
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        connection = Connection(kafka.bootstrap_servers)
        assert check_connection(connection) == 1
    with pytest.raises(BrokerError, match="nothing answers there"):
        check_connection(connection, timeout=2)
