"""The archive's three queries as streams: over files of the shape of Kafka records."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import types as T

from common import tables
from common.alerts import ALERT_SCHEMA
from common.archive.archive import Batch, archive_alerts, archive_events, archive_labels, keep_labels
from common.archive.archive_tables import ensure_tables
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

NOT_NULL = tuple(
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}}
    for name in ("reading_id", "meter_id", "event_time")
)
VERTICAL = SimpleNamespace(
    pseudonymised=(),
    name="meters",
    event_id="reading_id",
    entity="meter_id",
    event_time="event_time",
    contract=NOT_NULL,
    event_schema=T.StructType().add("reading_id", "string").add("meter_id", "string").add("event_time", "timestamp"),
)
RECORD = (
    T.StructType()
    .add("key", "binary")
    .add("value", "binary")
    .add("topic", "string")
    .add("partition", "integer")
    .add("offset", "long")
    .add("timestamp", "timestamp")
)
SETTINGS = SimpleNamespace(future_tolerance=300, event_age_days=0, archive_interval=0, vacuum_hours=168)
START = datetime(2026, 1, 1, 23, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path):
    folder = Workspace(tmp_path, "meters")
    ensure_tables(VERTICAL, folder)
    return folder


def iso(hours):
    return (START + timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def feed(spark, folder, values, offset=0):
    rows = [(b"k", value, "t", 0, offset + n, START + timedelta(days=1)) for n, value in enumerate(values)]
    spark.createDataFrame(rows, RECORD).coalesce(1).write.mode("append").parquet(str(folder))


def run(spark, folder, start, workspace):
    """One run of an archive query, from its checkpoint to the end of the input."""
    records = spark.readStream.schema(RECORD).parquet(str(folder))
    query = start(records, deployed(VERTICAL, workspace, settings=SETTINGS))
    try:
        query.processAllAvailable()
    finally:
        query.stop()


def test_events_go_on_from_the_checkpoint(spark, workspace, tmp_path):
    def event(name, hours=0):
        return json.dumps({"reading_id": name, "meter_id": "m", "event_time": iso(hours)}).encode()

    feed(spark, tmp_path / "in", [event("a"), event("b", 2), b"?"])
    run(spark, tmp_path / "in", archive_events, workspace)
    feed(spark, tmp_path / "in", [event("b", 2), event("c")], offset=3)
    run(spark, tmp_path / "in", archive_events, workspace)
    assert sorted(row.reading_id for row in tables.read(spark, workspace.table("events")).collect()) == ["a", "b", "c"]
    reasons = {row.kafka_offset: row.reason for row in tables.read(spark, workspace.table("quarantine")).collect()}
    assert reasons == {2: "malformed_json", 3: "duplicate"}


def test_a_label_is_kept_once_and_an_unreadable_one_quarantined(spark, workspace, tmp_path):
    def label(name):
        said = {"event_id": name, "entity_id": "m", "scenario": "leak", "event_time": iso(0), "known_time": iso(168)}
        return json.dumps(said).encode()

    feed(spark, tmp_path / "in", [label("a"), label("b"), label("a"), b"{}", None])
    run(spark, tmp_path / "in", archive_labels, workspace)
    feed(spark, tmp_path / "in", [label("b"), label("c")], offset=5)
    run(spark, tmp_path / "in", archive_labels, workspace)
    kept = tables.read(spark, workspace.table("labels")).collect()
    assert sorted(row.event_id for row in kept) == ["a", "b", "c"]
    assert {row.known_time.isoformat() for row in kept} == {"2026-01-08T23:00:00"}
    rejected = tables.read(spark, workspace.table("quarantine")).collect()
    assert sorted((row.kafka_offset, row.reason) for row in rejected) == [(3, "unreadable"), (4, "unreadable")]


@pytest.mark.parametrize("name", ["event_time", "known_time"])
def test_a_label_of_a_time_that_not_everybody_can_hold_is_quarantined(spark, workspace, tmp_path, name):
    times = (
        "0001-01-01T00:00:00Z",
        "1899-12-31T23:59:59.999Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "+10000-01-01T00:00:00Z",
        "+294247-01-10T04:00:54.775807Z",
        "-0001-01-01T00:00:00Z",
        4e18,
        -62135596800,
        "",
    )
    said = {"entity_id": "m", "scenario": "leak", "event_time": iso(0), "known_time": iso(168)}
    odd = [json.dumps(said | {"event_id": str(number), name: time}).encode() for number, time in enumerate(times)]
    feed(spark, tmp_path / "in", [*odd, json.dumps(said | {"event_id": "right"}).encode()])
    run(spark, tmp_path / "in", archive_labels, workspace)
    assert [row.event_id for row in tables.read(spark, workspace.table("labels")).collect()] == ["right"]
    rejected = tables.read(spark, workspace.table("quarantine")).collect()
    assert {row.kafka_offset: row.reason for row in rejected}.keys() == set(range(len(times)))
    assert {row.reason for row in rejected} == {"out_of_range", "unreadable"}


def test_labels_of_other_days_are_not_read_for_those_that_come(spark, workspace):
    def kept(number, *labels):
        said = [{"event_id": name, "event_time": time, "known_time": iso(0)} for name, time in labels]
        rows = [(b"k", json.dumps(each).encode(), "t", 0, number, START) for each in said]
        return keep_labels(spark.createDataFrame(rows, RECORD), Batch("q", number), deployed(VERTICAL, workspace)).rows

    assert kept(0, ("a", iso(0)), ("b", iso(0))) == 2
    before = tables.files(workspace.table("labels"))
    assert kept(1, ("a", iso(0)), ("c", iso(0)), ("d", iso(0.5))) == 2, "of one day, known at any time of it"
    assert kept(2, ("y", iso(71)), ("z", iso(72))) == 2
    assert kept(3, ("y", iso(71)), ("z", iso(72))) == 0
    for file in before:
        Path(file).unlink()
    assert kept(4, ("e", iso(48)), ("z", iso(72))) == 1
    with pytest.raises(PySparkException):
        kept(5, ("f", iso(0.9)))


def test_an_alert_is_one_row_the_newest(spark, workspace, tmp_path):
    def alert(name, score, hours=0):
        plain = dict.fromkeys(ALERT_SCHEMA.names) | {"alert_id": name, "score": score, "event_time": iso(hours)}
        plain["ingest_time"] = iso(hours)  # our detectors always say when the newest event behind it came in
        return json.dumps(plain | {"versions": {"baseline": "v1", "model": None}}).encode()

    feed(spark, tmp_path / "in", [alert("a", 1.0), alert("b", 1.0), alert("a", 2.0), b"no alert"])
    run(spark, tmp_path / "in", archive_alerts, workspace)
    feed(spark, tmp_path / "in", [alert("a", 3.0, hours=2), alert("c", 1.0)], offset=4)
    run(spark, tmp_path / "in", archive_alerts, workspace)
    rows = tables.read(spark, workspace.table("alerts")).collect()
    assert {row.alert_id: (row.score, str(row.event_day)) for row in rows} == {
        "a": (3.0, "2026-01-02"),
        "b": (1.0, "2026-01-01"),
        "c": (1.0, "2026-01-01"),
    }
    assert len(rows) == 3 and rows[0].versions.baseline == "v1"
    assert tables.row_count(workspace.table("quarantine")) == 1
