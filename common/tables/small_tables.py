"""Writes small tables from this process, without Spark."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Literal
from uuid import uuid4

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from common.tables.log import absolute_uri, commit_once, open_table, spark_schema, transaction
from common.tables.rewrite_lock import rewrite_lock
from common.tables.writing import check_columns

_OWN_ID = uuid4().hex[:12]
_own_locks: defaultdict[str, Lock] = defaultdict(Lock)
_own_batches: Counter[str] = Counter()


def rewrite(path: str | Path, change: Callable[[pa.Table], pa.Table]) -> int:
    """Replaces a small table's rows by `change(rows)`; returns how many these are.

    Rows that are added meanwhile stay.
    """
    with rewrite_lock(path):
        table = open_table(path)
        rows = change(table.to_pyarrow_table())
        write_deltalake(table, rows, mode="overwrite")
    return int(rows.num_rows)


def append_arrow(
    table: pa.Table,
    path: str | Path,
    query: str | None = None,
    batch: int | None = None,
    mode: Literal["append", "overwrite"] = "append",
) -> int:
    """Adds the rows of a small local table, or replaces all rows by them; a batch counts once however often it is tried."""

    def write(target: DeltaTable) -> int:
        write_deltalake(target, _with_all_columns(table, target), mode=mode, commit_properties=transaction(query, batch))
        return int(table.num_rows)

    with rewrite_lock(path) if mode == "overwrite" else nullcontext():
        return commit_once(path, query, batch, write)


def _with_all_columns(rows: pa.Table, table: DeltaTable) -> pa.Table:
    schema = spark_schema(table)
    check_columns(rows.column_names, table, schema)
    for field in to_arrow_schema(schema, timezone="UTC"):
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows


def append_rows(rows: list[dict[str, Any]], schema: T.StructType, path: str | Path) -> None:
    """Adds a few rows of `schema` to an existing table; columns that a row leaves out are null.

    They are added once, also if the answer to their commit is lost.
    """
    with _own_batch(path) as (query, batch):
        append_arrow(pa.Table.from_pylist(rows, schema=to_arrow_schema(schema, timezone="UTC")), path, query, batch)


def append_row_after(make_row: Callable[[DeltaTable], dict[str, Any]], schema: T.StructType, path: str | Path) -> None:
    """Adds the row `make_row(table)`, made from the table's newest version.

    If another writer commits in between, the row is made again from the version after that; an error of `make_row` ends this.
    """
    with _own_batch(path) as (query, batch):

        def write(table: DeltaTable) -> int:
            row = pa.Table.from_pylist([make_row(table)], schema=to_arrow_schema(schema, timezone="UTC"))
            properties = transaction(query, batch, on_any_version=False)
            write_deltalake(table, _with_all_columns(row, table), mode="append", commit_properties=properties)
            return 1

        commit_once(path, query, batch, write)


@contextmanager
def _own_batch(path: str | Path) -> Iterator[tuple[str, int]]:
    """A query id for this process, and the number of its next batch in that table; one thread of it at a time."""
    location = absolute_uri(path)
    with _own_locks[location]:
        _own_batches[location] += 1
        yield f"process-{_OWN_ID}-{os.getpid()}", _own_batches[location]  # a forked process has the same _OWN_ID
