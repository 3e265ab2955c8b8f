"""Upsert: one row per key, the newest."""

import random
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from common import tables

pytestmark = pytest.mark.files

SCHEMA = (
    T.StructType()
    .add("key", "string")
    .add("score", "double")
    .add("place", T.StructType().add("lat", "double"))
    .add("kafka_offset", "long")
    .add("event_day", "date")
)
DAY, NEXT = date(2026, 1, 1), date(2026, 1, 2)
BY_OFFSET = tables.MergeRule(["key"], "kafka_offset")


@pytest.fixture
def path(tmp_path):
    tables.ensure_table(tmp_path / "t", SCHEMA, ["event_day"])
    return tmp_path / "t"


def update(key, offset, day=DAY):
    return key, offset / 10, (1.0,), offset, day


def test_the_highest_offset_wins_within_a_batch_and_across(spark, path):
    def put(batch, *rows):
        return tables.upsert(spark.createDataFrame(rows, SCHEMA), path, BY_OFFSET, "q", batch)

    assert put(0, update("a", 1), update("a", 3), update("a", 2), update("b", 4)) == 2
    assert put(1, update("a", 2), update("b", 9, NEXT), update("c", 8)) == 1
    found = {row.key: (row.kafka_offset, row.score, row.event_day) for row in tables.read(spark, path).collect()}
    assert found == {"a": (3, 0.3, DAY), "b": (9, 0.9, NEXT), "c": (8, 0.8, DAY)}


def test_batches_in_any_order_and_again_end_the_same(spark, path):
    chance = random.Random(5)
    updates = [update(f"k{chance.randrange(20)}", offset, chance.choice([DAY, NEXT])) for offset in range(200)]
    expected = {row[0]: row[3] for row in updates}
    chance.shuffle(updates)
    for batch in range(10):
        rows = spark.createDataFrame(updates[batch * 20 : batch * 20 + 20], SCHEMA)
        for _ in range(2):
            tables.upsert(rows, path, BY_OFFSET, "q", batch)
        tables.upsert(rows, path, BY_OFFSET)
    found = [(row.key, row.kafka_offset) for row in tables.read(spark, path).collect()]
    assert sorted(found) == sorted(expected.items())


def test_nothing_to_do_commits_nothing(spark, path):
    assert tables.upsert(spark.createDataFrame([], SCHEMA), path, BY_OFFSET, "q", 0) == 0
    assert tables.open_table(path).version() == 0


def test_upsert_goes_on_beside_compaction(spark, path):
    for batch in range(12):
        rows = spark.createDataFrame([update("a", batch), update(f"b{batch}", batch)], SCHEMA)
        tables.upsert(rows, path, BY_OFFSET, "q", batch)
        tables.maintain(path, min_files=2)
    assert {row.key: row.kafka_offset for row in tables.read(spark, path).collect()}["a"] == 11
    assert tables.row_count(path) == 13


def test_a_column_may_keep_its_earliest_value(spark, path):
    def put(batch, *rows):
        tables.upsert(spark.createDataFrame(rows, SCHEMA), path, tables.MergeRule(["key"], "kafka_offset", ["score"]), "q", batch)

    put(0, ("a", 2.0, (1.0,), 2, DAY), ("a", 1.5, (1.0,), 1, DAY))
    put(1, ("a", 3.0, (3.0,), 3, DAY), ("b", 9.0, (9.0,), 9, DAY))
    found = {row.key: (row.score, row.place.lat) for row in tables.read(spark, path).collect()}
    assert found == {"a": (1.5, 3.0), "b": (9.0, 9.0)}


NEWEST = tables.Recency(growing=("event_time", "came"), partition="partition", offset="offset", time="time")
PLACED = (
    T.StructType()
    .add("key", "string")
    .add("number", "integer")
    .add("event_time", "timestamp")
    .add("partition", "integer")
    .add("offset", "long")
    .add("time", "timestamp")
    .add("came", "timestamp")
)


@pytest.mark.parametrize("seed", range(6))
def test_of_two_updates_the_newer_is_told_by_what_grows_with_them_not_by_offsets_of_two_partitions(tmp_path, seed):
    """Of a topic that is given more partitions and is made anew, while the clock of who writes is set back now and then."""
    tables.ensure_table(tmp_path / "t", PLACED)
    chance, at = random.Random(seed), datetime(2026, 1, 1, tzinfo=UTC)
    partitions, offsets, clock, times = 1, {}, at, dict.fromkeys("abc", at)
    came, rows, expected, batch = dict.fromkeys("abc", at), [], {}, 0
    for number in range(120):
        moved = chance.random()
        if moved < 0.03:
            partitions += 1
        elif moved < 0.05:
            offsets, clock = {}, max(clock, *came.values())  # made anew
        elif moved < 0.10:
            clock -= timedelta(hours=1) if partitions == 1 else timedelta(0)
        clock += timedelta(seconds=1)
        key = chance.choice("abc")
        times[key] += timedelta(minutes=chance.choice([0, 0, 1]))  # a late event leaves it as it was
        came[key] = max(came[key], clock)
        partition = ord(key) % partitions
        offsets[partition] = offsets.get(partition, -1) + 1
        rows.append(
            {
                "key": key,
                "number": number,
                "event_time": times[key],
                "partition": partition,
                "offset": offsets[partition],
                "time": clock,
                "came": came[key],
            }
        )
        expected[key] = number
        if chance.random() < 0.3:
            table = pa.Table.from_pylist(chance.sample(rows, len(rows)), schema=to_arrow_schema(PLACED, timezone="UTC"))
            for _ in range(chance.choice([1, 2])):
                tables.upsert(table, tmp_path / "t", tables.MergeRule(["key"], NEWEST))
            rows, batch = rows[-1:] if chance.random() < 0.3 else [], batch + 1
            assert {row["key"]: row["number"] for row in tables.read_arrow(tmp_path / "t").to_pylist()} == expected
    assert batch > 10
