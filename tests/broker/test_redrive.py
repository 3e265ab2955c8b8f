"""Quarantined events driven again over a real broker: repaired ones end in `events` once, and nothing is sent twice."""

import base64
import json
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from confluent_kafka import Producer as Client
from pyspark.sql import types as T

from common import tables
from common.archive import redrive as module
from common.archive.archive import archive_events
from common.archive.archive_tables import QUARANTINE_SCHEMA, ensure_tables
from common.archive.redrive import REDRIVEN_SCHEMA, redrive
from common.archive.repairs import FixError, parse_fixes
from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.topics import end_offsets, ensure_topics
from common.privacy.keys import Key
from common.streaming.queries import read_topic
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

SETTINGS = SimpleNamespace(future_tolerance=300, event_age_days=0, archive_interval=0, vacuum_hours=168)
AT = "2026-04-01T12:00:00.123Z"
GOOD = {"transaction_id": "1", "card_id": "c", "terminal_id": "t", "amount": 1.5, "event_time": AT}


class Pipeline:
    """A vertical of its own topics: send, archive what came, redrive."""

    def __init__(self, spark, broker, vertical, folder):
        self.spark, self.broker, self.vertical = spark, broker, vertical
        self.workspace = Workspace(folder, vertical.name)
        ensure_topics(broker, vertical.name, 1)
        ensure_tables(vertical, self.workspace)

    def send(self, *values):
        with Producer(self.broker) as producer:
            for value in values:
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                producer.send(f"{self.vertical.name}.events", b"a key", text)

    def archive(self):
        records = read_topic(self.spark, self.broker, f"{self.vertical.name}.events")
        query = archive_events(records, deployed(self.vertical, self.workspace, settings=SETTINGS))
        try:
            query.processAllAvailable()
        finally:
            query.stop()

    def redrive(self, *fixes, reasons=(), dry_run=False):
        connection = None if dry_run else self.broker
        parsed = parse_fixes(fixes, self.vertical)
        deployment = deployed(self.vertical, self.workspace, settings=SETTINGS, connection=connection)
        result = redrive(self.spark, deployment, reasons, parsed, dry_run=dry_run)
        if not dry_run:
            self.archive()
        return dict(result.sent), dict(result.still_invalid), dict(result.earlier)

    def rows(self, table):
        return tables.read_arrow(self.workspace.table(table)).to_pylist()


@pytest.fixture
def cards(spark, broker, vertical_name, tmp_path):
    return Pipeline(spark, broker, replace(find_vertical("finance_fraud"), name=vertical_name), tmp_path)


def test_a_repaired_event_is_in_events_once_and_not_driven_again(cards):
    cards.send(GOOD, GOOD, GOOD | {"transaction_id": "2", "amount": "7,5"}, GOOD | {"transaction_id": "3", "amount": -4}, b"?")
    cards.archive()
    fix = "amount=abs(try_cast(replace(amount, ',', '.') AS double))"
    assert cards.redrive(fix, dry_run=True) == (
        {"wrong_type": 1, "out_of_range": 1},
        {("malformed_json", "malformed_json"): 1},
        {},
    )
    assert cards.rows("redriven") == []
    cards.redrive(fix)
    assert {row["transaction_id"]: row["amount"] for row in cards.rows("events")} == {"1": 1.5, "2": 7.5, "3": 4.0}
    assert len(cards.rows("quarantine")) == 4, "what was refused stays on record"
    said = {row["kafka_offset"]: row for row in cards.rows("redriven")}
    assert {offset: (row["reason"], row["status"], row["sent_offset"]) for offset, row in said.items()} == {
        2: ("wrong_type", "sent", 5),
        3: ("out_of_range", "sent", 6),
        4: ("malformed_json", "still invalid", None),
    }
    assert all(row["fix"] == fix and row["redriven_at"] for row in said.values())
    sent, still_invalid, earlier = cards.redrive(fix)
    assert (sent, still_invalid) == ({}, {("malformed_json", "malformed_json"): 1})
    assert earlier == {"wrong_type": 1, "out_of_range": 1}
    assert len(cards.rows("events")) == 3 and len(cards.rows("quarantine")) == 4


def test_an_event_that_came_right_meanwhile_is_a_duplicate_when_it_is_driven(cards):
    cards.send(GOOD | {"amount": "x"}, GOOD)
    cards.archive()
    assert cards.redrive("amount=2.0", reasons=["wrong_type"])[0] == {"wrong_type": 1}
    assert [row["amount"] for row in cards.rows("events")] == [1.5]
    assert sorted(row["reason"] for row in cards.rows("quarantine")) == ["duplicate", "wrong_type"]
    assert cards.redrive("amount=2.0")[0] == {}, "a duplicate is not driven unless asked for"


def test_fields_that_are_unknown_can_be_left_out_and_looked_at(cards):
    cards.send(GOOD | {"amt": "3.5", "amount": 1.0})
    cards.archive()
    assert cards.redrive("amt=NULL", "amount=try_cast(amt AS double)")[0] == {"unknown_field": 1}
    assert [row["amount"] for row in cards.rows("events")] == [3.5]


def test_a_record_that_no_fix_can_read_keeps_no_other_from_its_fix(cards):
    deep = b'{"amount": %s1%s}' % (b"[" * 20_000, b"]" * 20_000)
    twice = json.dumps(GOOD | {"transaction_id": "2"}).replace('"amount": 1.5', '"amount": "x", "amount": 9.5').encode()
    ours = GOOD | {"transaction_id": "3", "_ROW": 1, "_Derived_Id": 2}  # as columns are called that the fix is made with
    cards.send(deep, twice, ours, GOOD | {"amount": "x"})
    cards.archive()
    sent, still_invalid, _ = cards.redrive("amount=2.0", "terminal_id=uuid()")
    assert sent == {"wrong_type": 1}
    assert sum(still_invalid.values()) == 3, still_invalid
    assert {row["transaction_id"]: row["amount"] for row in cards.rows("events")} == {"1": 2.0}


def test_an_id_that_a_fix_makes_is_the_same_when_it_is_made_again(cards):
    without = {name: value for name, value in GOOD.items() if name != "transaction_id"}
    cards.send(without, without, without | {"card_id": "d"})
    cards.archive()
    fix = "transaction_id=concat('uuid()', uuid())"
    made = []
    for _ in range(2):  # the second as after a kill between sending and writing that down
        assert cards.redrive(fix)[0] == {"missing_field": 3}
        made.append({row["transaction_id"] for row in cards.rows("events")})
        tables.overwrite(
            cards.spark.createDataFrame([], tables.read(cards.spark, cards.workspace.table("redriven")).schema),
            cards.workspace.table("redriven"),
        )
    assert made[0] == made[1] and len(made[0]) == 3
    assert all(name.startswith("uuid()") and len(name) == 6 + 32 for name in made[0])


def test_two_records_of_one_place_are_judged_and_sent_apart(cards):
    """As after a topic was made anew; each of them stands twice in a folder of an older version."""
    cards.send(GOOD | {"amount": "x"})
    cards.archive()
    [first] = cards.rows("quarantine")
    without_id = b'{"amount": "y"}'
    later = first | {"raw": without_id, "ingest_time": first["ingest_time"] + timedelta(milliseconds=1)}
    tables.append_rows([first, later, later], QUARANTINE_SCHEMA, cards.workspace.table("quarantine"))
    for _ in range(2):
        assert cards.redrive("amount=2.0")[1] == {("wrong_type", "missing_field"): 1}
        assert sum(end_offsets(cards.broker, f"{cards.vertical.name}.events").values()) == 2
    assert cards.redrive("amount=2.0", "transaction_id='2'", "card_id='c'", "terminal_id='t'", f"event_time='{AT}'")[0] == {
        "wrong_type": 1
    }
    assert {row["transaction_id"] for row in cards.rows("events")} == {"1", "2"}


def test_a_record_that_kafka_refuses_is_told_and_those_behind_it_are_sent(cards, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    topic = f"{cards.vertical.name}.events"
    large = json.dumps(GOOD).encode() + b" " * 1_200_000  # it came compressed
    options = {"compression.type": "gzip", "message.max.bytes": 20_000_000, "enable.idempotence": True}  # in this order
    producer = Client(cards.broker.client_options() | options)
    for value in (json.dumps(GOOD).encode(), large, *[json.dumps(GOOD).encode()] * 3):
        producer.produce(topic, value, key=b"a key", partition=0)
    assert producer.flush(20) == 0
    cards.archive()
    refused = {("duplicate", "refused by Kafka"): 1}
    assert cards.redrive(reasons=["duplicate"]) == ({"duplicate": 3}, refused, {})
    said = {row["kafka_offset"]: (row["status"], row["sent_offset"]) for row in cards.rows("redriven")}
    assert said == {1: ("refused by Kafka", None), 2: ("sent", 5), 3: ("sent", 6), 4: ("sent", 7)}
    # Tried again, as the topic may take it by now; those that were sent came as duplicates again.
    assert cards.redrive(reasons=["duplicate"])[1] == refused


def test_what_an_older_version_sent_is_not_sent_again(cards):
    cards.send(GOOD | {"amount": "x"})
    cards.archive()
    older = T.StructType([field for field in REDRIVEN_SCHEMA if field.name != "ingest_time"])
    sent = {"topic": f"{cards.vertical.name}.events", "kafka_partition": 0, "kafka_offset": 0, "status": "sent"}
    tables.ensure_table(cards.workspace.table("redriven"), older)
    tables.append_rows([sent], older, cards.workspace.table("redriven"))
    assert cards.redrive("amount=2.0") == ({}, {}, {"wrong_type": 1})


def test_what_a_fix_names_and_nobody_has_is_refused(cards):
    cards.send(GOOD | {"amount": "x"})
    cards.archive()
    with pytest.raises(FixError, match=r"amuont is unknown .did you mean amount"):
        cards.redrive("amount=abs(amuont)", dry_run=True)
    with pytest.raises(FixError, match="current_user is unknown"):
        cards.redrive("currency=current_user", dry_run=True)
    with pytest.raises(FixError, match="Spark does not take it"):
        cards.redrive("amount=abs(amount", dry_run=True)
    with pytest.raises(FixError, match="there is wrong_type"):
        cards.redrive(reasons=["wrong_tipe"], dry_run=True)
    assert cards.redrive("amount=cast(amount AS double)", dry_run=True) == ({}, {("wrong_type", "wrong_type"): 1}, {}), "it fails"


SECRET = bytes(range(32))
OLD, NEW = (base64.b64encode(secret).decode() for secret in (SECRET, SECRET[::-1]))


def test_who_is_named_by_a_pseudonym_is_redriven_by_the_name_that_was_sent(
    spark, broker, vertical_name, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", OLD)
    health = find_vertical("health_monitoring")
    patients = Pipeline(spark, broker, replace(health, name=vertical_name), tmp_path)
    chunk = next(iter(health.generate(1, date(2020, 1, 1), 1, health.population(**health.small), False)))
    event = json.loads(chunk.messages.values[0])
    patients.send(event, event | {health.event_id: "other", "debug": 1})
    patients.archive()
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", NEW)  # as after a change of keys, of which one is not known first
    assert patients.redrive("debug=NULL", dry_run=True)[0] == {}
    assert "1 records stay in quarantine" in caplog.text and f"id {Key(SECRET).id.hex()}." in caplog.text
    monkeypatch.setenv("HYBRID_PSEUDONYM_FORMER_KEYS", OLD)
    assert patients.redrive("debug=NULL", dry_run=True)[0] == {"unknown_field": 1}
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", OLD)
    assert patients.redrive("debug=NULL")[0] == {"unknown_field": 1}
    first, second = patients.rows("events")
    assert first["patient_id"] == second["patient_id"] != event["patient_id"]
    assert all(event["patient_id"] not in str(row) for row in patients.rows("redriven") + patients.rows("quarantine"))
