"""Upkeep beside streams: what goes wrong is said and ends nothing, and its end is waited for by nobody."""

import logging
import shutil
import threading
import time

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyspark.sql import types as T

from common import tables
from common.archive.upkeep import upkeep
from common.tables import upkeep as table_upkeep
from common.tables.log import commit_once
from common.tables.rewrite_lock import rewrite_lock

SCHEMA = T.StructType().add("number", "long")
BY_DAY = T.StructType().add("number", "long").add("day", "string")


@pytest.fixture
def path(tmp_path):
    return str(filled(tmp_path / "t"))


def filled(path, files=9, schema=SCHEMA, rows=1, **more):
    tables.ensure_table(path, schema, list(more) or None)
    for number in range(files):
        tables.append_rows([{"number": number} | more] * rows, schema, path)
    return path


def parquet(path):
    return {file.name for file in path.glob("*.parquet")}


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_tables_are_looked_after_while_the_block_lasts(path):
    with upkeep([path], 168, interval=0.05):
        assert wait_until(lambda: len(tables.files(path)) == 1)
        filled(path)
        assert wait_until(lambda: len(tables.files(path)) <= 2)
    filled(path)
    assert len(tables.files(path)) >= 9


def test_whatever_is_wrong_with_a_table_is_said_once_and_the_others_are_looked_after(path, tmp_path, caplog):
    broken, removed = filled(tmp_path / "broken", 1), filled(tmp_path / "gone", 1)
    for commit in (broken / "_delta_log").glob("*.json"):
        commit.write_text("{")
    shutil.rmtree(removed)
    with caplog.at_level(logging.WARNING), upkeep([str(broken), str(removed), path], 168, interval=0.02):
        assert wait_until(lambda: len(tables.files(path)) == 1)
        time.sleep(0.3)  # a dozen more times
        filled(removed)
        assert wait_until(lambda: len(tables.files(removed)) < 9), "it goes on with one that is well again"
    warnings = [record.getMessage() for record in caplog.records if "no upkeep of" in record.getMessage()]
    assert [message.split(",")[0] for message in warnings] == [f"no upkeep of {broken}", f"no upkeep of {removed}"]


def test_a_library_that_breaks_down_ends_no_upkeep(path, tmp_path, monkeypatch):
    class Panic(BaseException):
        """As pyo3's, which is no Exception."""

    def panics(table):
        if str(table) == "panics":
            raise Panic("index out of bounds")
        return real(table)

    real = table_upkeep.open_table
    monkeypatch.setattr(table_upkeep, "open_table", panics)
    with upkeep(["panics", path], 168):
        assert wait_until(lambda: len(tables.files(path)) == 1)


def test_the_end_does_not_wait_for_what_upkeep_waits_for(path):
    with rewrite_lock(path):
        started = time.monotonic()
        with upkeep([path], 168):
            time.sleep(0.1)
        assert time.monotonic() - started < 3
    assert wait_until(lambda: not any(thread.name == "upkeep" for thread in threading.enumerate()))


def test_a_full_disk_is_freed_of_what_was_replaced_long_ago(tmp_path, no_room):
    path = filled(tmp_path / "t", rows=1000)
    tables.compact(path)
    assert len(parquet(path)) == 10
    with no_room():
        assert len(tables.vacuum(path, retention_hours=0)) == 9
    assert len(parquet(path)) == 1
    assert tables.read_arrow(path).num_rows == 9000


def test_on_a_full_disk_upkeep_frees_before_it_needs_room(tmp_path, no_room):
    path = filled(tmp_path / "t", rows=1000)
    tables.compact(path)
    filled(path, rows=1000)
    with no_room(), pytest.raises((OSError, DeltaError)):
        tables.maintain(path, retention_hours=0)
    assert len(parquet(path)) == 10, "what was replaced is gone, what could not be compacted is there"
    assert tables.read_arrow(path).num_rows == 18_000


def test_nobody_who_adds_rows_waits_for_a_compaction(path):
    with rewrite_lock(path):
        filled(path, 1)


def test_one_run_compacts_so_many_partitions_and_the_next_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(table_upkeep, "MAX_PARTITIONS", 2)
    for day, files in (("a", 2), ("b", 4), ("c", 3)):
        filled(tmp_path / "t", files, BY_DAY, day=day)
    assert [tables.maintain(tmp_path / "t", min_files=2) for _ in range(3)] == [7, 2, 0]


def test_once_it_is_to_end_no_further_partition_is_begun(tmp_path):
    ending = threading.Event()
    ending.set()
    assert tables.maintain(filled(tmp_path / "t"), ending=ending) == 0


def test_a_commit_whose_beginning_the_log_has_forgotten_is_made_on_the_newest_version(tmp_path):
    """As after a write that took longer than the log is kept."""
    path = tmp_path / "t"
    write_deltalake(path, pa.table({"number": [0]}), configuration={"delta.logRetentionDuration": "interval 0 seconds"})
    stale = []

    def write(table):
        stale.append(table)
        if len(stale) == 1:
            for number in range(1, 4):
                write_deltalake(path, pa.table({"number": [number]}), mode="append")
            DeltaTable(path).create_checkpoint()
            time.sleep(1.1)  # the log is kept by whole seconds
            DeltaTable(path).cleanup_metadata()
        write_deltalake(table, pa.table({"number": [9]}), mode="append")
        return 1

    assert commit_once(path, None, None, write) == 1
    assert len(stale) == 2 and sorted(tables.read_arrow(path)["number"].to_pylist()) == [0, 1, 2, 3, 9]


def test_a_table_that_breaks_the_library_keeps_no_other_from_its_upkeep(tmp_path, monkeypatch):
    class Panic(BaseException):
        """As delta-rs raises one."""

    maintained = []

    def breaks(path, **options):
        maintained.append(path.name)
        if path.name == "a":
            raise Panic("index out of bounds")
        return 0

    for name in "abc":
        filled(tmp_path / name, 1)
    monkeypatch.setattr(table_upkeep, "maintain", breaks)
    with pytest.raises(table_upkeep.UpkeepFailed, match=r"no upkeep of \S+a: Panic: index"):
        tables.maintain_all(tmp_path)
    assert maintained == ["a", "b", "c"]
