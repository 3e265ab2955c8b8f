"""Appended rows are in the table once, also where the answer to a commit is lost or another writer commits in between."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake.exceptions import CommitFailedError
from pyspark.sql import types as T

from common import tables
from common.tables import small_tables

SCHEMA = T.StructType().add("number", "long")


@pytest.fixture
def path(tmp_path):
    tables.ensure_table(tmp_path / "t", SCHEMA)
    return tmp_path / "t"


def numbers(path):
    return sorted(tables.read_arrow(path)["number"].to_pylist())


@pytest.mark.parametrize("answer", [CommitFailedError("conflict"), OSError("connection reset")])
def test_a_commit_whose_answer_is_lost_is_not_made_again(path, monkeypatch, answer):
    def lost(*arguments, **options):
        monkeypatch.undo()
        small_tables.write_deltalake(*arguments, **options)
        raise answer

    for number, append in enumerate(
        (
            lambda: tables.append_rows([{"number": 0}], SCHEMA, path),
            lambda: tables.append_row_after(lambda table: {"number": table.version()}, SCHEMA, path),
        )
    ):
        monkeypatch.setattr(small_tables, "write_deltalake", lost)
        append()
        assert numbers(path) == [*range(number + 1)]


def test_what_fails_without_being_committed_is_told(path, monkeypatch):
    def fails(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(small_tables, "write_deltalake", fails)
    with pytest.raises(OSError, match="no space left"):
        tables.append_rows([{"number": 0}], SCHEMA, path)
    monkeypatch.undo()
    tables.append_rows([{"number": 1}], SCHEMA, path)
    assert numbers(path) == [1]


def test_threads_that_append_at_once_lose_nothing(path):
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(tables.append_rows, [{"number": number}], SCHEMA, path) for number in range(10)]:
            done.result()
    assert numbers(path) == [*range(10)]


def test_processes_that_append_leave_a_transaction_each_and_not_one_for_each_row(path):
    for number in range(5):
        tables.append_rows([{"number": number}], SCHEMA, path)
    log = "".join(file.read_text() for file in (path / "_delta_log").glob("*.json"))
    assert len(set(re.findall(r'"appId":"([^"]+)"', log))) == 1
