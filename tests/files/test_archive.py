"""The archive over batches of Kafka records: each ends in `events` or in `quarantine`, once, whatever was killed when."""

import contextlib
import json
import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import contract, tables
from common.archive import archive
from common.archive.archive import AddedRows, Batch, keep_events
from common.archive.archive_tables import ensure_tables, to_dead_letters
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
    event_schema=T.StructType()
    .add("reading_id", "string")
    .add("meter_id", "string")
    .add("watts", "double")
    .add("event_time", "timestamp"),
    contract=(
        *NOT_NULL,
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "watts", "min_value": 0}},
    ),
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
START = datetime(2026, 1, 1, 20, tzinfo=UTC)


def reading(name, hours=0.0, watts=1.0):
    seen = (START + timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"reading_id": name, "meter_id": "m", "watts": watts, "event_time": seen}).encode()


def records(spark, *values, partition=0, offset=0):
    rows = [
        (b"m", value, "meters.events", partition, offset + number, START + timedelta(days=2, seconds=offset + number))
        for number, value in enumerate(values)
    ]
    return spark.createDataFrame(rows, RECORD)


@pytest.fixture
def workspace(tmp_path):
    folder = Workspace(tmp_path, "meters")
    ensure_tables(VERTICAL, folder)
    return folder


def keep(found, number, workspace, query="q"):
    return keep_events(contract.parse(found, VERTICAL), Batch(query, number), deployed(VERTICAL, workspace))


def events(spark, workspace):
    rows = tables.read(spark, workspace.table("events")).collect()
    return sorted((row.reading_id, row.kafka_partition, row.kafka_offset) for row in rows)


def quarantine(spark, workspace):
    rows = tables.read(spark, workspace.table("quarantine")).collect()
    return sorted((row.kafka_partition, row.kafka_offset, row.reason) for row in rows)


def test_valid_rows_are_kept_and_others_quarantined_with_their_bytes(spark, workspace):
    found = records(spark, reading("a"), b"\xff{", reading("b", watts=-1.0), None, reading("c", hours=5))
    assert keep(found, 0, workspace) == AddedRows(rows=2, quarantined=3)
    assert events(spark, workspace) == [("a", 0, 0), ("c", 0, 4)]
    kept = tables.read(spark, workspace.table("events")).where("reading_id = 'c'").first()
    assert (str(kept.event_day), kept.watts, kept.topic) == ("2026-01-02", 1.0, "meters.events")
    rejected = {row.kafka_offset: row for row in tables.read(spark, workspace.table("quarantine")).collect()}
    assert bytes(rejected[1].raw) == b"\xff{" and bytes(rejected[1].key) == b"m"
    assert rejected[3].raw is None and all(row.reason for row in rejected.values())
    assert str(rejected[1].ingest_day) == "2026-01-03"


def test_a_time_that_python_does_not_know_stops_nothing(spark, workspace):
    ancient, last = reading("b").replace(b"2026-01-01", b"0000-06-01"), reading("c").replace(b"2026-01-01T20", b"9999-12-31T23")
    found = records(spark, reading("a"), ancient, last.replace(b".000Z", b".000-01:00"))
    assert keep(found, 0, workspace) == AddedRows(rows=1, quarantined=2)
    assert [reason for *_, reason in quarantine(spark, workspace)] == ["out_of_range", "future_event_time"]
    assert keep(found, 0, workspace) == AddedRows(0, 0), "as after a kill between the commits"


def test_the_first_of_several_is_the_event_within_a_batch(spark, workspace):
    found = records(spark, reading("a"), reading("b"), reading("a"), partition=1).union(records(spark, reading("a"), offset=9))
    keep(found, 0, workspace)
    assert events(spark, workspace) == [("a", 0, 9), ("b", 1, 1)]
    assert quarantine(spark, workspace) == [(1, 0, "duplicate"), (1, 2, "duplicate")]
    details = {row.detail for row in tables.read(spark, workspace.table("quarantine")).collect()}
    assert details == {"first seen at partition 0, offset 9"}


def test_a_later_batch_with_a_known_id_is_quarantined(spark, workspace):
    keep(records(spark, reading("a"), reading("b", hours=5)), 0, workspace)
    keep(records(spark, reading("b", hours=5), reading("c"), reading("a"), offset=2), 1, workspace)
    assert events(spark, workspace) == [("a", 0, 0), ("b", 0, 1), ("c", 0, 3)]
    assert quarantine(spark, workspace) == [(0, 2, "duplicate"), (0, 4, "duplicate")]


def test_an_invalid_record_with_a_known_id_keeps_its_own_reason(spark, workspace):
    keep(records(spark, reading("a"), reading("a", watts=-1.0), reading("a")), 0, workspace)
    reasons = [reason for *_, reason in quarantine(spark, workspace)]
    assert len(reasons) == 2 and reasons.count("duplicate") == 1 and events(spark, workspace) == [("a", 0, 0)]


def test_a_batch_that_is_tried_again_changes_nothing(spark, workspace):
    found = records(spark, reading("a"), reading("a"), b"{")
    assert [keep(found, 0, workspace), keep(found, 0, workspace)] == [AddedRows(1, 2), AddedRows(0, 0)]
    assert len(events(spark, workspace)) == 1 and len(quarantine(spark, workspace)) == 2


def test_records_read_again_under_a_new_checkpoint_add_nothing(spark, workspace):
    found = records(spark, reading("a"), b"{", reading("b"), reading("a"), reading("c", watts=-1.0))
    assert keep(found, 0, workspace) == AddedRows(2, 3)
    assert keep(found, 0, workspace, query="another") == AddedRows(0, 0)
    # In other batches, and with a record that was not there before.
    more = found.union(records(spark, b"}", offset=5))
    assert keep(more, 0, workspace, query="a third") == AddedRows(0, 1)
    assert quarantine(spark, workspace) == [
        (0, 1, "malformed_json"),
        (0, 3, "duplicate"),
        (0, 4, "out_of_range"),
        (0, 5, "malformed_json"),
    ]


def test_a_batch_of_a_number_that_the_log_has_already_is_not_lost(spark, workspace):
    """As where a folder was copied while the archive ran, its checkpoints before its tables, and is gone on from."""
    for number in range(4):
        keep(records(spark, reading(f"a{number}"), b"{", offset=2 * number), number, workspace)
    again = records(spark, reading("a2"), b"{", reading("a3"), reading("b"), b"}", offset=4)
    again = again.withColumn("offset", F.when(F.col("offset") >= 7, F.col("offset") + 10).otherwise(F.col("offset")))
    assert keep(again.where("offset <> 6"), 2, workspace) == AddedRows(1, 1)
    assert [name for name, *_ in events(spark, workspace)] == ["a0", "a1", "a2", "a3", "b"]


def test_an_id_of_another_day_is_another_event_whatever_else_is_in_the_batch(spark, workspace):
    keep(records(spark, reading("1")), 0, workspace)
    late = reading("late")
    assert keep(records(spark, reading("1", hours=5), late, offset=1), 1, workspace) == AddedRows(2, 0)
    assert keep(records(spark, reading("2"), reading("2", hours=5), offset=5), 2, workspace) == AddedRows(2, 0)


def test_newest_time_is_no_earlier_than_any_row_and_unknown_where_a_file_has_no_bound(spark, workspace):
    path = workspace.table("events")
    before = tables.newest_time(path, "ingest_time")
    keep(records(spark, reading("a"), reading("b")), 0, workspace)
    [newest] = tables.read(spark, path).agg(F.unix_micros(F.max("ingest_time"))).first()
    assert before < newest <= tables.newest_time(path, "ingest_time") <= newest + 1_000
    assert tables.newest_time(workspace.table("labels"), "no such column") is not None, "of no row everything is known"
    assert tables.newest_time(path, "no such column") is None


def test_another_record_at_the_same_place_as_in_a_topic_that_was_made_anew_is_kept(spark, workspace):
    found = records(spark, b"{", b"}")
    keep(found, 0, workspace)
    anew = found.withColumn("timestamp", F.col("timestamp") + F.expr("INTERVAL 5 MILLISECONDS"))
    assert keep(anew, 0, workspace, query="another") == AddedRows(0, 2)
    assert len(quarantine(spark, workspace)) == 4


def test_very_many_days_are_committed_a_year_at_a_time(spark, workspace, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DAYS_A_COMMIT", 2)
    values = [reading(str(number), hours=-24 * 300 * number) for number in range(5)]
    found = records(spark, *values, *values[:2], b"{")
    assert keep(found, 0, workspace) == AddedRows(5, 3) and keep(found, 0, workspace) == AddedRows(0, 0)
    stored = tables.read(spark, workspace.table("events")).collect()
    assert sorted(row.reading_id for row in stored) == list("01234")
    table = tables.open_table(workspace.table("events"))
    assert [table.transaction_version(f"q-{year}") for year in (2022, 2023, 2024, 2025, 2026)] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("of", ["events", "quarantine"])
def test_a_commit_whose_answer_is_lost_is_not_made_again_under_another_name(spark, workspace, monkeypatch, of):
    """As where the commit is there and only what follows it fails, on a full disk or an object store that times out."""
    real, lost = DeltaTable.create_write_transaction, []

    def loses(table, *given, **more):
        real(table, *given, **more)
        if f"/{of}" in table.table_uri and not lost:
            lost.append(table.table_uri)
            raise OSError("no answer")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", loses)
    found = records(spark, reading("a"), b"{", reading("b"))
    for _ in range(2):
        keep(found, 0, workspace)
    assert len(lost) == 1
    assert len(events(spark, workspace)) == 2 and len(quarantine(spark, workspace)) == 1


def test_an_empty_batch_is_nothing(spark, workspace):
    assert keep(records(spark, reading("a")).limit(0), 0, workspace) == AddedRows(0, 0)


def test_dead_letters_carry_key_value_and_why(spark, workspace):
    keep(records(spark, b"{bad"), 0, workspace)
    letter = to_dead_letters(tables.read(spark, workspace.table("quarantine"))).first()
    headers = {header.key: bytes(header.value).decode() for header in letter.headers}
    assert (bytes(letter.key), bytes(letter.value)) == (b"m", b"{bad")
    assert headers["reason"] and headers["detail"]
    assert (headers["topic"], headers["partition"], headers["offset"]) == ("meters.events", "0", "0")


def mixture(chance, size, apart=1):
    """Valid, late, duplicate and broken records over three days, or `apart` times as many."""
    values = []
    for number in range(size):
        name = f"r{chance.randrange(number + 1)}" if chance.random() < 0.2 else f"r{number}"
        hours = (int(name[1:]) * 7) % 40 * apart
        values.append(chance.choices([reading(name, hours), b"{", reading(name, hours, -1.0)], [8, 1, 1])[0])
    return values


# Of the last, days three years long, too many for one commit.
@pytest.mark.parametrize(
    ("seed", "apart", "most_days"), [(1, 1, archive.MAX_DAYS_A_COMMIT), (2, 1, archive.MAX_DAYS_A_COMMIT), (3, -720, 2)]
)
def test_kills_at_random_commits_leave_every_record_in_one_table_once(spark, workspace, monkeypatch, seed, apart, most_days):
    chance, real, killed = random.Random(seed), tables.append, []
    monkeypatch.setattr(archive, "MAX_DAYS_A_COMMIT", most_days)
    values = mixture(chance, 120, apart)

    def dies(*args):
        if chance.random() < 0.4:
            if chance.random() < 0.5:
                real(*args)
            killed.append(args)
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(archive.tables, "append", dies)
    for batch in range(6):
        found = records(spark, *values[batch * 20 : batch * 20 + 20], offset=batch * 20)
        parsed = contract.parse(found, VERTICAL).localCheckpoint()
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                keep_events(parsed, Batch("q", batch), deployed(VERTICAL, workspace))
                break
    assert killed
    in_events, in_quarantine = events(spark, workspace), quarantine(spark, workspace)
    offsets = [offset for *_, offset in in_events] + [offset for _, offset, _ in in_quarantine]
    assert sorted(offsets) == list(range(120))
    first_valid = {}
    for offset, value in enumerate(values):
        if value != b"{" and json.loads(value)["watts"] >= 0:
            first_valid.setdefault(json.loads(value)["reading_id"], offset)
    assert {name: offset for name, _, offset in in_events} == first_valid


@pytest.mark.parametrize("is_stricter", [True, False])
@pytest.mark.parametrize("query", ["q", "of a new checkpoint"])
@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_batch_that_is_tried_again_under_another_contract_leaves_every_record_in_one_table(
    spark, workspace, monkeypatch, is_stricter, survived, query
):
    """survived: commits of the first attempt, of which there are two."""
    strict, lax = VERTICAL, SimpleNamespace(**(VERTICAL.__dict__ | {"contract": NOT_NULL}))
    first, second = (lax, strict) if is_stricter else (strict, lax)
    found = records(spark, reading("a"), reading("b", watts=-1.0), b"{", reading("c", watts=-2.0), reading("a"))
    real, commits = tables.append, []

    def dies(*args):
        if len(commits) == survived:
            raise KeyboardInterrupt
        commits.append(args)
        return real(*args)

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(archive.tables, "append", dies)
        keep_events(contract.parse(found, first), Batch("q", 0), deployed(first, workspace))
    for _ in range(2):
        keep_events(contract.parse(found, second), Batch(query, 0), deployed(second, workspace))
    offsets = [offset for *_, offset in events(spark, workspace)] + [offset for _, offset, _ in quarantine(spark, workspace)]
    assert sorted(offsets) == list(range(5))
    # What none of the commits of the first attempt had is judged by the contract of the second.
    if survived == 0:
        assert len(events(spark, workspace)) == (1 if is_stricter else 3)
