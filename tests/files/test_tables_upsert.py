"""Upsert: one row per key, the newest."""

import random
from datetime import date

import pytest
from pyspark.sql import types as T

from common import tables

pytestmark = pytest.mark.files

SCHEMA = (
    T.StructType().add("key", "string").add("score", "double").add("place", T.StructType().add("lat", "double"))
    .add("kafka_offset", "long").add("event_day", "date")
)
DAY, NEXT = date(2026, 1, 1), date(2026, 1, 2)


@pytest.fixture
def path(tmp_path):
    tables.ensure_table(tmp_path / "t", SCHEMA, ["event_day"])
    return tmp_path / "t"


def update(key, offset, day=DAY):
    return key, offset / 10, (1.0,), offset, day


def test_the_highest_offset_wins_within_a_batch_and_across(spark, path):
    def put(batch, *rows):
        return tables.upsert(spark.createDataFrame(rows, SCHEMA), path, ["key"], "kafka_offset", "q", batch)

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
        rows = spark.createDataFrame(updates[batch * 20:batch * 20 + 20], SCHEMA)
        for _ in range(2):
            tables.upsert(rows, path, ["key"], "kafka_offset", "q", batch)
        tables.upsert(rows, path, ["key"], "kafka_offset")
    found = [(row.key, row.kafka_offset) for row in tables.read(spark, path).collect()]
    assert sorted(found) == sorted(expected.items())


def test_nothing_to_do_commits_nothing(spark, path):
    assert tables.upsert(spark.createDataFrame([], SCHEMA), path, ["key"], "kafka_offset", "q", 0) == 0
    assert tables.open_table(path).version() == 0


def test_upsert_goes_on_beside_compaction(spark, path):
    for batch in range(12):
        rows = spark.createDataFrame([update("a", batch), update(f"b{batch}", batch)], SCHEMA)
        tables.upsert(rows, path, ["key"], "kafka_offset", "q", batch)
        tables.maintain(path, min_files=2)
    assert {row.key: row.kafka_offset for row in tables.read(spark, path).collect()}["a"] == 11
    assert tables.row_count(path) == 13


def test_a_column_may_keep_its_earliest_value(spark, path):
    def put(batch, *rows):
        tables.upsert(spark.createDataFrame(rows, SCHEMA), path, ["key"], "kafka_offset", "q", batch, ["score"])

    put(0, ("a", 2.0, (1.0,), 2, DAY), ("a", 1.5, (1.0,), 1, DAY))
    put(1, ("a", 3.0, (3.0,), 3, DAY), ("b", 9.0, (9.0,), 9, DAY))
    found = {row.key: (row.score, row.place.lat) for row in tables.read(spark, path).collect()}
    assert found == {"a": (1.5, 3.0), "b": (9.0, 9.0)}
