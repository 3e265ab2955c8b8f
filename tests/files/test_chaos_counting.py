"""The counting after a chaos run: whatever was lost, doubled or put in the wrong place makes a count wrong."""

import json
from collections import Counter
from datetime import UTC, date, datetime

import pytest

from common import tables
from common.archive.archive_tables import QUARANTINE_SCHEMA, ensure_tables, events_schema
from common.deployment import Deployment
from common.installed import find_vertical
from common.settings import Settings
from common.workspace import Workspace
from loadtests.chaos.expected import ExpectedRecords, digest
from loadtests.chaos.fault_injection import FaultReport
from loadtests.chaos.verification import count_differing_keys, count_records

pytestmark = pytest.mark.files

VERTICAL = find_vertical("finance_fraud")
NOON = datetime(2020, 3, 2, 12, tzinfo=UTC)
TOPIC = "finance_fraud.events"
VALUES = [json.dumps({"transaction_id": name}).encode() for name in ("a", "b")]
EXPECTED = ExpectedRecords(
    fuzz=[], ids=["a", "b"], values=VALUES, rejected=Counter({digest(b"?"): 1, digest(VALUES[0]): 1}), labels=0
)


def event(name, offset, partition=0):
    place = {"topic": TOPIC, "kafka_partition": partition, "kafka_offset": offset, "ingest_time": NOON}
    return {
        "transaction_id": name,
        "card_id": "c",
        "terminal_id": "t",
        "amount": 1.0,
        "event_time": NOON,
        "event_day": date(2020, 3, 2),
        **place,
    }


def refused(value, offset, reason="malformed_json", topic=TOPIC):
    place = {"topic": topic, "kafka_partition": 0, "kafka_offset": offset, "ingest_time": NOON, "ingest_day": date(2020, 3, 2)}
    return {"reason": reason, "detail": "", "raw": value, "key": b"c", **place}


RIGHT = (
    [event("a", 0), event("b", 1), event("backfilled", 0, partition=-1)],
    [refused(b"?", 2), refused(VALUES[0], 3, "duplicate")],
)


def wrong_counts(spark, folder, events, quarantine, offsets=4, expected=EXPECTED, report=None):
    """The names of the counts that are not right."""
    workspace = Workspace(folder, VERTICAL.name)
    ensure_tables(VERTICAL, workspace)
    for name, schema, rows in (("events", events_schema(VERTICAL), events), ("quarantine", QUARANTINE_SCHEMA, quarantine)):
        tables.append_rows(rows, schema, workspace.table(name))
    deployment = Deployment(VERTICAL, workspace, Settings(), VERTICAL.settings())
    counts = count_records(spark, deployment, expected, report or FaultReport([]), offsets)
    return {count.name for count in counts if not count.is_right}


def test_all_is_right_when_every_record_is_in_its_place_once(spark, tmp_path):
    assert wrong_counts(spark, tmp_path, *RIGHT) == set()


@pytest.mark.parametrize(("events", "quarantine", "offsets", "name"), [
    (RIGHT[0][:1], RIGHT[1], 4, "records in a table"),
    (RIGHT[0][:1], RIGHT[1], 4, "known valid events in `events`"),
    ([*RIGHT[0], event("a", 0)], RIGHT[1], 4, "records in tables more than once"),
    ([*RIGHT[0], event("a", 4)], RIGHT[1], 5, "events in `events` more than once"),
    ([*RIGHT[0], event("x", 4)], RIGHT[1], 5, "records that nobody sent"),
    (RIGHT[0], RIGHT[1][:1], 4, "known repeated and broken records in `quarantine`"),
    (RIGHT[0], [*RIGHT[1], refused(b"!", 4)], 5, "records that nobody sent"),
    (RIGHT[0], [RIGHT[1][0], refused(VALUES[0], 3, None)], 4, "records in `quarantine` without a reason"),
    (RIGHT[0], [*RIGHT[1], refused(b"{}", 0, topic="finance_fraud.alerts")], 4, "labels or alerts in `quarantine`"),
    (*RIGHT, 5, "records on the topic"),
])  # fmt: skip
def test_each_kind_of_loss_makes_its_count_wrong(spark, tmp_path, events, quarantine, offsets, name):
    assert name in wrong_counts(spark, tmp_path, events, quarantine, offsets)


def test_fuzz_is_in_one_of_the_tables_or_was_refused_by_kafka(spark, tmp_path):
    expected = ExpectedRecords([b"\0", b"valid", b"too large"], EXPECTED.ids, EXPECTED.values, EXPECTED.rejected)
    events, quarantine = [*RIGHT[0], event("fuzz-1", 4)], [*RIGHT[1], refused(b"\0", 5)]
    report = FaultReport([], fuzz_sent=2, fuzz_refused=1, rolled_back=3)
    assert wrong_counts(spark, tmp_path, events, quarantine, 6 + 3, expected, report) == set()
    lost = wrong_counts(spark, tmp_path / "lost", events, RIGHT[1], 9, expected, report)
    assert "fuzzed records: in `events` or in `quarantine`" in lost


def test_baselines_are_alike_but_for_rounding_and_order(spark):
    schema = "card_id string, mean double, terminals array<string>"
    baselines = spark.createDataFrame([("a", 1 / 3, ["x", "y"]), ("b", None, []), ("c", 1.0, None)], schema)
    same = spark.createDataFrame([("a", 1 / 3 + 1e-12, ["y", "x"]), ("b", None, []), ("c", 1.0, None)], schema)
    other = spark.createDataFrame([("a", 0.4, ["x", "y"]), ("b", 0.0, []), ("d", 1.0, None)], schema)
    assert count_differing_keys("card_id", baselines, same) == 0
    assert count_differing_keys("card_id", baselines, other) == 4
