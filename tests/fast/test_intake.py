"""Documents in other formats become events, none is kept back, and nothing that one holds ends the intake."""

import gzip
import json
import sys
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition

from common import cli
from common.commands import intake as command
from common.formats import Format, Untranslatable
from common.installed import find_vertical, vertical_names
from common.intake import topic as topic_module
from common.intake.file import IntakeError, documents, translate_file
from common.intake.topic import TopicIntake
from common.intake.translation import IntakeCounts, Translator
from common.kafka.connection import BrokerError
from common.kafka.producers import Producer
from common.kafka.reader import read_all

HEALTH = find_vertical("health_monitoring")
EVENTS = "health_monitoring.events"


def observation(number, **more):
    return {
        "resourceType": "Observation", "id": f"o{number}", "status": "final", "subject": {"reference": f"Patient/p{number % 3}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "effectiveDateTime": "2020-03-02T11:00:00Z",
        "valueQuantity": {"value": 60 + number, "code": "/min"},
    } | more  # fmt: skip


def text(document):
    return json.dumps(document).encode()


@pytest.fixture
def translator():
    return Translator(HEALTH, HEALTH.formats["fhir"])


# What a topic may hold beside documents that can be translated, and why each is sent on as it is.
ODD = {
    b"": "not JSON",
    b"\xff\x00": "not JSON",
    b'{"resourceType":"Observation"': "not JSON",
    b'{"resourceType":"Observation","id":"\\ud800"}': "not JSON",
    b'{"resourceType":"Observation","valueQuantity":{"value":1e999}}': "not JSON",
    b"[" * 100_000: "an event has at most 64 levels, and 10,000 objects and arrays",
    b'{"resourceType":"Observation","id":' + b"[" * 70 + b"]" * 70 + b"}":
        "an event has at most 64 levels, and 10,000 objects and arrays",
    b"null": "no FHIR R4 Observation",
    b"[]": "no FHIR R4 Observation",
    text({"resourceType": "Bundle", "entry": []}): "no FHIR R4 Observation",
    text({"observation_id": "1", "patient_id": "p"}): "no FHIR R4 Observation",
    text(observation(1, status="cancelled")): "its status is not one of a reported value",
    text(observation(1, valueQuantity={"value": 1, "code": "1/min"})): "heart_rate_bpm is not in /min",
}  # fmt: skip


def test_a_document_becomes_an_event_keyed_by_its_entity(translator):
    outgoing = translator.translate(b"theirs", b"\xef\xbb\xbf" + text(observation(1)))
    assert (outgoing.key, outgoing.why_unchanged) == (b"p1", "")
    assert json.loads(outgoing.value) == {
        "observation_id": "o1",
        "patient_id": "p1",
        "heart_rate_bpm": 61.0,
        "event_time": "2020-03-02T11:00:00Z",
    }
    assert translator.translate(None, text(observation(1))) == outgoing, "the same document, the same event"


def test_an_event_without_an_entity_keeps_the_record_s_key(translator):
    assert translator.translate(b"theirs", text(observation(1, subject=None))).key == b"theirs"


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_what_cannot_be_translated_is_sent_on_unchanged_with_the_reason(translator, value):
    outgoing = translator.translate(b"k", value)
    assert (outgoing.key, outgoing.value, outgoing.why_unchanged) == (b"k", value, ODD[value])


def test_a_defect_of_a_translation_is_one_document_s():
    def broken(document):
        raise ZeroDivisionError

    outgoing = Translator(HEALTH, Format("x", "X", broken)).translate(None, b"{}")
    assert (outgoing.value, outgoing.why_unchanged) == (b"{}", "translation failed (ZeroDivisionError)")


@pytest.mark.parametrize("name", vertical_names())
def test_a_vertical_names_its_formats_as_they_name_themselves(name):
    formats = find_vertical(name).formats
    assert [other.name for other in formats.values()] == list(formats)
    for other in formats.values():
        try:
            assert other.translate({}) is None
        except Untranslatable:
            pytest.fail("an object of another kind is not of this format")


@pytest.fixture(autouse=True)
def short_sessions(monkeypatch):
    """The mock broker keeps a member's partitions until its session is over, also where it has left."""
    monkeypatch.setattr(topic_module, "SESSION_MS", 3_000)


@pytest.fixture
def fill(mock_kafka):
    """Puts records on the topic `fhir`."""

    def send(*values):
        with Producer(mock_kafka) as producer:
            for number, value in enumerate(values):
                producer.send("fhir", b"k%d" % number, value)

    return send


@pytest.fixture
def take(mock_kafka, translator):
    """Translates all that is on the topic `fhir`; gives the counts."""

    def run(**options):
        counts = IntakeCounts()
        TopicIntake(mock_kafka, "fhir", translator).run(counts, until_idle=True, **options)
        return counts

    return run


def events(connection):
    return [record.value for record in read_all(connection, EVENTS)]


def test_every_record_of_a_topic_is_translated_or_sent_on_and_once_over_two_runs(mock_kafka, fill, take):
    fill(*(text(observation(number)) for number in range(200)), *ODD, None, text(observation(200)))
    counts = take()
    assert (counts.translated, counts.tombstones, counts.refused) == (201, 1, 0)
    assert counts.unchanged == Counter(ODD.values())
    values = events(mock_kafka)
    assert len(values) == 201 + len(ODD)
    assert {value for value in values if value in ODD} == set(ODD)
    ours = [json.loads(value) for value in values if value not in ODD]
    assert sorted(event["observation_id"] for event in ours) == sorted(f"o{number}" for number in range(201))
    fill(text(observation(201)))
    assert str(take()) == "1 translated"
    assert len(events(mock_kafka)) == 202 + len(ODD)


def test_what_was_sent_before_a_stop_and_not_committed_is_sent_again_with_the_same_id(mock_kafka, fill, translator, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    fill(*(text(observation(number)) for number in range(5)))
    counts = IntakeCounts()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TopicIntake, "_commit", lambda self, consumer, progress: self._uncommitted and stop())
        TopicIntake(mock_kafka, "fhir", translator).run(counts)
    first = counts.translated
    assert first > 0
    TopicIntake(mock_kafka, "fhir", translator).run(counts, until_idle=True)
    assert counts.translated == first + 5
    values = events(mock_kafka)
    assert len(values) == first + 5 and len(set(values)) == 5


def test_what_kafka_refuses_is_counted_and_the_others_go_on(fill, take, mock_kafka, translator, monkeypatch, caplog):
    fill(text(observation(1)), b"x", text(observation(2)))
    monkeypatch.setattr(
        translator,
        "translate",
        lambda key, value, usual=translator.translate: usual(key, value * 2_000_000) if value == b"x" else usual(key, value),
    )
    counts = take()
    assert (counts.translated, counts.refused) == (2, 1)
    assert "stay on topic fhir" in caplog.text and len(events(mock_kafka)) == 2
    assert str(take()) == "0 translated", "it is not tried again for good"


def test_a_broker_that_goes_away_ends_it(mortal_kafka, translator):
    def after_batch():
        mortal_kafka.stop()
        command.check_connection(mortal_kafka.connection, 0.5)

    with pytest.raises(BrokerError, match="no Kafka at"):
        TopicIntake(mortal_kafka.connection, "fhir", translator).run(IntakeCounts(), after_batch=after_batch)


def test_a_broker_that_goes_away_while_it_sends_ends_it_and_commits_nothing(mortal_kafka, translator, monkeypatch):
    with Producer(mortal_kafka.connection) as producer:
        producer.send("fhir", b"k", text(observation(1)))
    usual = topic_module.poll_batch

    def gone(consumer, *more):
        records = usual(consumer, *more)
        if any(record.error() is None for record in records):
            mortal_kafka.stop()
        return records

    monkeypatch.setattr(topic_module, "poll_batch", gone)
    counts = IntakeCounts()
    with pytest.raises(BrokerError, match="not delivered"):
        TopicIntake(mortal_kafka.connection, "fhir", translator, delivery_timeout=1).run(counts)
    assert str(counts) == "0 translated"


def test_who_gets_no_partition_is_told_so_once(mock_kafka, fill, translator, monkeypatch, caplog):
    waits = []

    def after_batch():
        waits.append(caplog.text.count("no partition of topic fhir"))
        if len(waits) == 3:
            raise KeyboardInterrupt

    fill(text(observation(1)))
    monkeypatch.setattr(topic_module, "MAX_WAIT_SECONDS", 0.5)  # the group takes three seconds to begin
    with pytest.raises(KeyboardInterrupt):
        TopicIntake(mock_kafka, "fhir", translator).run(IntakeCounts(), after_batch=after_batch)
    assert waits == [1, 1, 1]


def test_the_group_is_of_the_vertical_and_the_topic(mock_kafka, fill, take):
    fill(text(observation(1)))
    take()
    consumer = Consumer(mock_kafka.client_options() | {"group.id": "hybrid-intake-health_monitoring-fhir"})
    partitions = [TopicPartition("fhir", number) for number in consumer.list_topics("fhir").topics["fhir"].partitions]
    assert sum(max(0, partition.offset) for partition in consumer.committed(partitions, timeout=10)) == 1
    consumer.close()


LINES = [text(observation(1)), b"broken", text(observation(2))]


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("one.json", json.dumps(observation(1), indent=2).encode(), [json.dumps(observation(1), indent=2).encode()]),
    ("one.json", text(observation(1)), [text(observation(1))]),
    ("lines.json", b"\n".join(LINES), LINES),
    ("lines.ndjson", b"\n\r\n" + b"\r\n".join(reversed(LINES)) + b"\n \n", LINES[::-1]),
    ("broken.first.jsonl", b"broken\n{}", [b"broken", b"{}"]),
    ("packed.ndjson.gz", gzip.compress(b"\n".join(LINES), mtime=0), LINES),
    ("marked.json", b"\xef\xbb\xbf{}\n{}", [b"\xef\xbb\xbf{}", b"{}"]),
    ("empty.json", b"", []), ("blank.json", b"\n\n", []),
])  # fmt: skip
def test_a_file_holds_one_document_or_one_a_line(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert [each.strip() for each in documents(tmp_path / name)] == expected


@pytest.mark.parametrize(("name", "content", "said"), [
    ("array.json", b"[{}, {}]", "jq -c"), ("text.json", b"heart rate\n72\n", "neither one JSON document nor one a line"),
    ("five.json", b"5", "another JSON value"), ("cut.ndjson.gz", gzip.compress(b"{}" * 9_000, mtime=0)[:-9], "cannot be read"),
    ("utf16.json", "{}".encode("utf-16"), "neither one JSON document"),
])  # fmt: skip
def test_a_file_that_is_neither_is_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntakeError, match=said):
        list(documents(tmp_path / name))


def test_a_document_that_is_too_large_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("common.intake.file.MAX_BYTES", 1_000)
    for name, content in (("a.ndjson", b"{}\n" + b"x" * 2_000), ("a.json", b"{\n" + b" " * 2_000 + b"}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(IntakeError, match="more than"):
            list(documents(tmp_path / name))


def test_a_file_s_documents_are_translated_or_sent_on(mock_kafka, translator, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b"\n".join(LINES))
    counts = IntakeCounts()
    with Producer(mock_kafka) as producer:
        translate_file(tmp_path / "a.ndjson", translator, producer, counts)
    assert str(counts) == "2 translated; 1 sent on unchanged: 1 not JSON"
    assert sorted((record.key, record.value) for record in read_all(mock_kafka, EVENTS) if record.key) == [
        (b"p1", translator.translate(None, LINES[0]).value),
        (b"p2", translator.translate(None, LINES[2]).value),
    ]
    assert [record.value for record in read_all(mock_kafka, EVENTS) if record.key is None] == [b"broken"]


@pytest.fixture
def hybrid(monkeypatch, capsys, tmp_path):
    """Runs `hybrid intake`; gives its exit code and all it printed, on one line."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hybrid", "intake", *map(str, words)])
        monkeypatch.setenv("HYBRID_DATA", str(tmp_path / "data"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code, " ".join((printed.out + printed.err).split())

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("finance_fraud --topic t --format fhir", "reads its own events alone"),
        ("health_monitoring --topic t --format FIHR", "health_monitoring reads fhir (did you mean fhir?)"),
        ("health_monitoring --format fhir", "either --topic or --file"),
        ("health_monitoring --format fhir --topic t --file f", "either --topic or --file"),
        (f"health_monitoring --format fhir --topic {EVENTS}", "a topic of health_monitoring itself"),
        ("health_monitoring --format fhir --topic health_monitoring.dead-letter", "a topic of health_monitoring itself"),
        ("health_monitoring --format fhir --file absent.json", "there is no such file"),
        ("health_monitoring --format fhir --topic t", "hybrid broker"),
    ],
)
def test_what_is_asked_for_and_cannot_be_is_told(hybrid, words, said):
    code, printed = hybrid(*words.split())
    assert code == 1 and said in printed, printed


def test_the_command_translates_a_topic_of_a_given_kafka_and_a_file(hybrid, fill, mock_kafka, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "ensure_topics", lambda *_, **__: None)  # this broker makes a topic when it is asked for
    fill(text(observation(1)), b"x", None)
    (tmp_path / "a.json").write_bytes(text(observation(2)))
    given = ("health_monitoring", "--format", "fhir", "--bootstrap-servers", mock_kafka.bootstrap_servers)
    code, printed = hybrid(*given, "--topic", "fhir", "--until-idle")
    assert code == 0 and "1 translated; 1 sent on unchanged: 1 not JSON; 1 tombstone passed over" in printed
    code, printed = hybrid(*given, "--file", tmp_path / "a.json")
    assert code == 0 and printed.endswith("1 translated")
    code, printed = hybrid(*given, "--topic", "fhri")
    assert code == 1 and "has no such topic (did you mean fhir?)" in printed
    assert len(events(mock_kafka)) == 3
