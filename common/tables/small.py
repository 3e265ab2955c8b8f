"""Small tables, written from this process without Spark."""

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

from common.tables.log import once, open_table, schema_of, transaction, uri
from common.tables.rewriting import rewriting
from common.tables.writing import check_columns

_OWN_ID = uuid4().hex[:12]
_own_turns: defaultdict[str, Lock] = defaultdict(Lock)
_own_batches: Counter[str] = Counter()


def rewrite(path: str | Path, change: Callable[[pa.Table], pa.Table]) -> int:
    """Puts what `change` makes of a small table's rows in their place, without Spark; returns how many these are.

    Rows that are added meanwhile stay.
    """
    with rewriting(path):
        table = open_table(path)
        rows = change(table.to_pyarrow_table())
        write_deltalake(table, rows, mode="overwrite")
    return int(rows.num_rows)


def append_arrow(table: pa.Table, path: str | Path, query: str | None = None, batch: int | None = None,
                 mode: Literal["append", "overwrite"] = "append") -> int:
    """Adds (or overwrites with) a small local table, without Spark; as often as it is tried, a batch counts once."""
    def write(target: DeltaTable) -> int:
        write_deltalake(target, _with_all_columns(table, target), mode=mode, commit_properties=transaction(query, batch))
        return int(table.num_rows)

    with rewriting(path) if mode == "overwrite" else nullcontext():
        return once(path, query, batch, write)


def _with_all_columns(rows: pa.Table, table: DeltaTable) -> pa.Table:
    schema = schema_of(table)
    check_columns(rows.column_names, table, schema)
    for field in to_arrow_schema(schema, timezone="UTC"):
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows


def append_rows(rows: list[dict[str, Any]], schema: T.StructType, path: str | Path) -> None:
    """Adds a few rows of `schema` to the table, which is there; columns that a row leaves out are null.

    They are added once, also where the answer to their commit is lost.
    """
    with _own_batch(path) as (query, batch):
        append_arrow(pa.Table.from_pylist(rows, schema=to_arrow_schema(schema, timezone="UTC")), path, query, batch)


def append_row_after(make: Callable[[DeltaTable], dict[str, Any]], schema: T.StructType, path: str | Path) -> None:
    """Adds the row that `make` makes of the table as it is.

    Where somebody else commits in between it is made anew, of the table as it is then; what `make` raises ends that.
    """
    with _own_batch(path) as (query, batch):
        def write(table: DeltaTable) -> int:
            row = pa.Table.from_pylist([make(table)], schema=to_arrow_schema(schema, timezone="UTC"))
            properties = transaction(query, batch, on_any_version=False)
            write_deltalake(table, _with_all_columns(row, table), mode="append", commit_properties=properties)
            return 1

        once(path, query, batch, write)


@contextmanager
def _own_batch(path: str | Path) -> Iterator[tuple[str, int]]:
    """A name of this process as a query, and the number of its next batch in that table; its threads take turns."""
    place = uri(path)
    with _own_turns[place]:
        _own_batches[place] += 1
        yield f"process-{_OWN_ID}-{os.getpid()}", _own_batches[place]  # a forked one has our id
