"""Upkeep: fewer files, the same rows, and nothing pulled from under a reader or a writer."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError
from pyspark.sql import types as T

from common import tables
from common.tables import upkeep, writing
from common.tables.rewrite_lock import LOCK_FILE
from common.tables.upkeep import UpkeepFailed

pytestmark = pytest.mark.files

SCHEMA = T.StructType().add("number", "long").add("event_day", "date")
DAYS = [date(2026, 1, day) for day in (1, 2, 3)]


@pytest.fixture
def path(tmp_path):
    tables.ensure_table(tmp_path / "t", SCHEMA, ["event_day"])
    return tmp_path / "t"


def fill(spark, path, day, batches, query="q"):
    for batch in range(batches):
        rows = spark.createDataFrame([(batch * 10 + n, day) for n in range(10)], SCHEMA)
        tables.append(rows.coalesce(1), path, f"{query}-{day}", batch)


def parquet(path):
    return {file for file in Path(path).rglob("*.parquet") if "_delta_log" not in file.parts}


def aged(files, days):
    for file in files:
        os.utime(file, (time.time() - days * 86_400,) * 2)


def everything(path):
    return [each for each in Path(path).rglob("*") if each.is_file() and "_delta_log" not in each.parts]


def numbers(spark, path):
    return sorted(row.number for row in tables.read(spark, path).collect())


def test_maintain_compacts_the_partitions_with_many_small_files(spark, path):
    fill(spark, path, DAYS[0], 5)
    fill(spark, path, DAYS[1], 2)
    assert tables.maintain(path, min_files=4) == 5
    assert len(tables.files(path, [DAYS[0]])) == 1 and len(tables.files(path, [DAYS[1]])) == 2
    assert tables.maintain(path, min_files=4) == 0
    assert sorted(row.number for row in tables.read(spark, path, [DAYS[0]]).collect()) == list(range(50))


def test_of_very_many_partitions_those_with_the_most_small_files_have_their_turn_first(spark, path, monkeypatch):
    monkeypatch.setattr(upkeep, "MAX_PARTITIONS", 1)
    for day, batches in zip(DAYS, (2, 3, 2), strict=True):
        fill(spark, path, day, batches)
    assert [tables.maintain(path, min_files=2) for _ in range(4)] == [3, 2, 2, 0]


def test_a_file_as_large_as_wanted_is_left_alone(spark, path):
    fill(spark, path, DAYS[0], 4)
    assert tables.maintain(path, min_files=2, target_bytes=100) == 0
    assert len(tables.files(path)) == 4


def test_a_reader_that_began_before_compaction_and_vacuum_ends_well(spark, path):
    fill(spark, path, DAYS[0], 4)
    reader = tables.read(spark, path)
    assert tables.maintain(path, min_files=2) == 4
    assert reader.count() == 40
    assert tables.vacuum(path, retention_hours=0)
    assert tables.read(spark, path).count() == 40
    assert len(parquet(path)) == 1


def test_vacuum_takes_replaced_files_only_after_the_retention_and_their_folders_too(spark, path):
    fill(spark, path, DAYS[0], 3)
    tables.compact(path)
    assert tables.vacuum(path) == [] and len(parquet(path)) == 4
    assert len(tables.vacuum(path, retention_hours=0)) == 3
    assert [folder.name for folder in (path / "batches").rglob("*")] == [f"q-{DAYS[0]}"]


def test_vacuum_leaves_files_of_a_write_that_has_not_committed_yet(spark, path):
    fill(spark, path, DAYS[0], 2)
    folder = writing.write_files(spark.createDataFrame([(99, DAYS[0])], SCHEMA), tables.open_table(path), "running", 0)
    tables.compact(path)
    tables.vacuum(path, retention_hours=0)
    tables.vacuum(path, orphans=True)
    actions = writing.add_actions(path, folder)
    assert writing.commit(path, actions, "append", "running", 0) == 1
    assert tables.read(spark, path).count() == 21


def test_vacuum_with_orphans_removes_what_a_killed_write_left_long_ago(spark, path):
    fill(spark, path, DAYS[0], 1)
    writing.write_files(spark.createDataFrame([(99, DAYS[0])], SCHEMA), tables.open_table(path), "killed", 0)
    aged(parquet(path), days=8)
    assert tables.vacuum(path) == []
    assert len(tables.vacuum(path, orphans=True)) == 1
    assert tables.read(spark, path).count() == 10 and len(parquet(path)) == 1


def test_upkeep_of_a_folder_leaves_each_table_few_files_and_all_its_rows(spark, tmp_path):
    judged, trend = str(tmp_path / "judged"), str(tmp_path / "trend_x")
    schema = T.StructType().add("number", "long")
    for path in (judged, trend):
        tables.ensure_table(path, schema)
    for number in range(30):
        tables.append_rows([{"number": number}], schema, judged)
    for rows in (5, 7):
        tables.overwrite(spark.range(rows).toDF("number"), trend)
    writing.write_files(spark.range(3).toDF("number"), tables.open_table(trend), "killed", 0)
    (tmp_path / "no table").mkdir()
    reader = tables.read(spark, judged)

    assert tables.maintain_all(tmp_path, retention_hours=168) == 30
    assert len(tables.files(judged)) == 1 and len(parquet(judged)) == 31, "what was replaced stays for readers"
    assert reader.count() == 30 and numbers(spark, judged) == [*range(30)]

    aged(everything(tmp_path), days=8)
    assert tables.maintain_all(tmp_path, retention_hours=0) == 0
    assert len(parquet(judged)) == 1 and len(parquet(trend)) == len(tables.files(trend))
    assert numbers(spark, judged) == [*range(30)] and numbers(spark, trend) == [*range(7)]
    assert (tmp_path / "judged" / LOCK_FILE).exists(), "whoever waits for its turn holds this file"


def test_upkeep_of_a_folder_leaves_a_write_that_takes_longer_than_the_retention(spark, path, tmp_path):
    fill(spark, path, DAYS[0], 9)
    folder = writing.write_files(spark.createDataFrame([(99, DAYS[0])], SCHEMA), tables.open_table(path), "running", 0)
    aged(everything(path), days=0.5)
    tables.maintain_all(tmp_path, retention_hours=1)
    assert writing.commit(path, writing.add_actions(path, folder), "append", "running", 0) == 1
    assert numbers(spark, path) == [*range(90), 99]


def test_a_table_whose_upkeep_fails_keeps_no_other_from_its_own_and_is_told(spark, path, tmp_path):
    fill(spark, path, DAYS[0], 9)
    broken = tmp_path / "broken" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / "00000000000000000000.json").write_text("{")
    with pytest.raises(UpkeepFailed, match=f"no upkeep of {tmp_path / 'broken'}: DeltaError"):
        tables.maintain_all(tmp_path)
    assert len(tables.files(path)) == 1


def test_a_log_forgets_commits_of_hours_ago_and_the_table_nothing(tmp_path):
    path, schema = tmp_path / "t", T.StructType().add("number", "long")
    tables.ensure_table(path, schema)

    def commits():
        return {file.stem for file in (path / "_delta_log").glob("*.json")}

    for number in range(50):
        tables.append_rows([{"number": number}], schema, path)
    before = commits()
    aged((path / "_delta_log").iterdir(), days=0.5)
    for number in range(50, 100):
        tables.append_rows([{"number": number}], schema, path)
    assert len(before & commits()) <= 2, "whoever opens the table lists them all"
    assert sorted(tables.read_arrow(path)["number"].to_pylist()) == [*range(100)]


def test_appends_and_compaction_at_once_lose_and_double_nothing(spark, path):
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(fill, spark, path, DAYS[0], 10, query) for query in ("x", "y")]
        while not all(writer.done() for writer in writers):
            tables.maintain(path, min_files=2)
        for writer in writers:
            writer.result()
    assert sorted(row.number for row in tables.read(spark, path).collect()) == sorted([*range(100)] * 2)


def test_who_rewrites_the_same_files_at_once_doubles_nothing(spark, path):
    fill(spark, path, DAYS[0], 12)
    wanted, rows = sorted(range(120)), pa.table({"number": pa.array([5]), "event_day": [DAYS[0]]})
    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            at_once = [pool.submit(tables.compact, path) for _ in range(3)]
            at_once.append(pool.submit(tables.upsert, rows, path, tables.MergeRule(["number"], "number")))
        for each in at_once:
            with suppress(CommitFailedError):
                each.result()
        assert sorted(row.number for row in tables.read(spark, path).collect()) == wanted
        fill(spark, path, DAYS[1], 8, query="more")
        wanted = sorted(row.number for row in tables.read(spark, path).collect())


def test_readers_see_whole_batches_while_there_is_writing_compaction_and_vacuum(spark, path):
    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(fill, spark, path, DAYS[0], 10)
        upkeep = pool.submit(keep_up, path, writer)
        while not writer.done():
            numbers = sorted(row.number for row in tables.read(spark, path).collect())
            assert numbers == [*range(len(numbers))] and len(numbers) % 10 == 0
        writer.result()
        assert upkeep.result() > 0, "compacted meanwhile"
    assert sorted(row.number for row in tables.read(spark, path).collect()) == [*range(100)]


def keep_up(path, writer):
    replaced = 0
    while not writer.done():
        replaced += tables.maintain(path, min_files=2, retention_hours=1)
    return replaced
