"""FHIR documents of a real topic come to the events topic: those that were committed, each at least once, none kept back."""

import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as Client
from confluent_kafka.admin import AdminClient

from common.intake.topic import TopicIntake
from common.intake.translation import IntakeCounts, Translator
from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import create_topics, ensure_topics, topic_names
from health_monitoring import VERTICAL

pytestmark = pytest.mark.broker


def observation(number):
    return json.dumps({
        "resourceType": "Observation", "id": f"o{number}", "status": "final", "subject": {"reference": f"Patient/p{number % 7}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "effectiveDateTime": "2020-03-02T11:00:00Z",
        "valueQuantity": {"value": 60 + number % 100, "code": "/min"},
    }).encode()  # fmt: skip


@pytest.fixture
def source(broker, vertical_name):
    """A topic of FHIR documents, and beside it the topics of a vertical that takes them."""
    ensure_topics(broker, vertical_name, partitions=2)
    name = f"{vertical_name}.fhir"
    create_topics(AdminClient(broker.client_options()), broker, [name], partitions=2)
    return name


@pytest.fixture
def translator(vertical_name):
    return Translator(SimpleNamespace(name=vertical_name, entity=VERTICAL.entity), VERTICAL.formats["fhir"])


def committed(broker, vertical_name, source):
    consumer = Consumer(broker.client_options() | {"group.id": f"hybrid-intake-{vertical_name}-{source}"})
    try:
        return sum(part.offset for part in consumer.committed([TopicPartition(source, 0), TopicPartition(source, 1)], timeout=30))
    finally:
        consumer.close()


def test_what_was_rolled_back_is_passed_over_and_all_else_comes_through_once(broker, vertical_name, source, translator):
    client = Client({**broker.client_options(), "transactional.id": source})
    client.init_transactions(30)
    for begin, end in ((0, 500), (500, 600), (600, 1_000)):
        client.begin_transaction()
        for number in range(begin, end):
            client.produce(source, observation(number), b"%d" % number)
        if begin == 500:
            client.flush(30)
            client.abort_transaction(30)
        else:
            client.produce(source, b"no JSON", b"odd")
            client.produce(source, None, b"tombstone")
            client.commit_transaction(30)
    counts = IntakeCounts()
    TopicIntake(broker, source, translator).run(counts, until_idle=True)  # though the last offsets are markers of transactions
    assert (counts.translated, counts.unchanged, counts.tombstones) == (900, Counter({"not JSON": 2}), 2)
    records = read_all(broker, topic_names(vertical_name).events)
    events = [json.loads(record.value) for record in records if record.value != b"no JSON"]
    expected = [f"o{number}" for number in range(1_000) if not 500 <= number < 600]
    assert sorted(event["observation_id"] for event in events) == sorted(expected)
    assert {record.key for record in records} == {b"odd", *(b"p%d" % number for number in range(7))}
    assert committed(broker, vertical_name, source) >= 904
    again = IntakeCounts()
    TopicIntake(broker, source, translator).run(again, until_idle=True)
    assert str(again) == "0 translated"


def test_two_share_a_topic_and_one_that_ends_leaves_its_share_to_the_other(broker, vertical_name, source, translator):
    ends = [threading.Event(), threading.Event()]
    counts = [IntakeCounts(), IntakeCounts()]

    class Ended(Exception):
        pass

    def run(number):
        def after_batch():
            if ends[number].is_set():
                raise Ended

        with pytest.raises(Ended):
            TopicIntake(broker, source, translator).run(counts[number], after_batch=after_batch)

    def total():
        return sum(count.translated for count in counts)

    def wait_for(condition):
        for _ in range(600):
            if condition():
                return
            threading.Event().wait(0.1)
        raise AssertionError(counts)

    def send(begin, end):
        with Producer(broker) as producer:
            for number in range(begin, end):
                producer.send(source, b"%d" % number, observation(number))

    threads = [threading.Thread(target=run, args=[number]) for number in (0, 1)]
    try:
        for thread in threads:
            thread.start()
        sent = 0

        def both_work():
            nonlocal sent
            send(sent, sent + 20)
            sent += 20
            return all(count.translated for count in counts)

        wait_for(both_work)
        ends[0].set()
        threads[0].join(60)
        send(sent, sent + 100)
        sent += 100
        wait_for(lambda: total() >= sent)
    finally:
        for end in ends:
            end.set()
        for thread in threads:
            thread.join(60)
    ids = {json.loads(record.value)["observation_id"] for record in read_all(broker, topic_names(vertical_name).events)}
    assert ids == {f"o{number}" for number in range(sent)}
