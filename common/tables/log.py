"""Reads and writes a table's log: creates tables, lists their files, commits to them."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, Transaction
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from common.errors import UserError
from common.tables.statistics import recorded_rows

COMMIT_ATTEMPTS = 10
BEFORE_ALL_TIMES = -(1 << 62)  # microseconds
BOUND_MICROSECONDS = 1_000  # a log's bounds of times are cut to milliseconds
# delta-rs decodes %20 twice, takes \\ for /, and ends at brackets, control characters and bytes that are no UTF-8 (1.6.6).
UNUSABLE_CHARACTERS = re.compile(r"%[0-9A-Fa-f]{2}|[\\\[\]\x00-\x1f\x7f\ud800-\udfff]")
PARTITION_TYPES = (T.DateType, T.IntegerType, T.LongType, T.StringType)
CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    # Opening a table lists its whole log: with a commit every second, Delta's default of 30 days would be millions of files.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.enableDeletionVectors": "false",  # not every reader knows them
}


class UnusableFolder(UserError):
    """Tables cannot be in this folder; the message says why."""


class ColumnTypesDiffer(UserError):
    """A table has a column of another type than the rows to be written; the message names it."""


def ensure_table(
    path: str | Path, schema: T.StructType, partition_by: Sequence[str] | None = None, *, is_overwritten: bool = False
) -> None:
    """Creates the table if there is none; several processes may do so at once. Partitions are dates, integers or texts.

    An existing table gets the columns of `schema` that it lacks; in its older rows they are null. Raises ColumnTypesDiffer where
    a column of the table has another type: a writer would have to cast. A table all of whose rows the caller replaces next
    (is_overwritten) gets the columns of `schema` instead, and its older versions keep theirs.
    """
    if table_exists(path):
        try:
            _check_types(path, schema)
        except ColumnTypesDiffer:
            if not is_overwritten:
                raise
            columns = to_arrow_schema(_nullable_schema(schema), timezone="UTC")
            write_deltalake(open_table(path), columns.empty_table(), mode="overwrite", schema_mode="overwrite")
        _add_missing(path, schema)
        return
    for name in partition_by or ():
        data_type = schema[name].dataType
        if not isinstance(data_type, PARTITION_TYPES):
            raise ValueError(f"{path}: partition column {name} is {data_type.simpleString()}, not a date, integer or text")
    columns = Schema.from_json(_nullable_schema(schema).json())
    try:
        # A retried creation would commit the table's definition a second time, as version 1.
        DeltaTable.create(
            absolute_uri(path),
            columns,
            mode="ignore",
            partition_by=list(partition_by or ()),
            configuration=CONFIGURATION,
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except DeltaError:
        # Another query may have created it between the check above and this commit.
        if not table_exists(path):
            raise


def _check_types(path: str | Path, schema: T.StructType) -> None:
    stored_types = {field.name: field.dataType.simpleString() for field in spark_schema(open_table(path)).fields}
    new_types = {field.name: field.dataType.simpleString() for field in _stored_schema(schema).fields}
    for name, type_name in new_types.items():
        if stored_types.get(name, type_name) != type_name:
            raise ColumnTypesDiffer(
                f"{path}: column {name} is {stored_types[name]} in the table, and {type_name} is to be written to it: give the "
                "column that type again (a table's older versions are kept), or choose another folder (--data, HYBRID_DATA)"
            )


def _add_missing(path: str | Path, schema: T.StructType) -> None:
    def missing() -> list[Field]:
        stored_names = {field.name for field in open_table(path).schema().fields}
        return [field for field in Schema.from_json(_nullable_schema(schema).json()).fields if field.name not in stored_names]

    if columns := missing():
        try:
            open_table(path).alter.add_columns(columns)
        except DeltaError:
            # Another process may have added them between the check and this commit.
            if missing():
                raise


def table_exists(path: str | Path) -> bool:
    """Whether there is a table with at least one version."""
    return DeltaTable.is_deltatable(absolute_uri(path))


def open_table(path: str | Path, version: int | None = None) -> DeltaTable:
    """The table's newest version, or version `version`; FileNotFoundError when there is none."""
    try:
        return DeltaTable(absolute_uri(path), version=version)
    except TableNotFoundError:
        raise FileNotFoundError(f"no Delta table at {path}") from None


def spark_schema(table: DeltaTable) -> T.StructType:
    """The table's columns, partition columns included, as Spark's types."""
    return T.StructType.fromJson(json.loads(table.schema().to_json()))


def files(path: str | Path, days: Iterable[date] | None = None, version: int | None = None) -> list[str]:
    """Absolute paths of the data files, of all partitions or of those of `days`."""
    return files_of_table(open_table(path, version), days)


def files_of_table(
    table: DeltaTable, days: Iterable[date] | None = None, bounds: Sequence[tuple[str, str, str]] = ()
) -> list[str]:
    """Absolute paths of the data files of an opened table, as the file system and Spark have them; URIs in an object store.

    Only those in the partitions of `days`, and that may have rows within `bounds`: (column, operator, value) each.
    """
    day_texts = None if days is None else [str(day) for day in days]
    if day_texts == []:
        return []
    predicate = [*bounds, *([] if day_texts is None else [(day_column(table), "in", day_texts)])]
    paths = table.file_uris(file_pruning_predicate=predicate or None)
    # delta-rs quotes the table's own folder as in a URI (a blank is %20), and the path below it not.
    quoted_folder, folder = urlsplit(table.table_uri).path, table_location(table)
    return [f"{folder}/{path.removeprefix(quoted_folder)}" if path.startswith(quoted_folder) else path for path in paths]


def table_location(table: DeltaTable) -> str:
    """An opened table's location: a folder's absolute path as Spark takes it, or the URI as it is."""
    parts = urlsplit(table.table_uri)
    return unquote(parts.path).rstrip("/") if parts.scheme == "file" else table.table_uri.rstrip("/")


def day_column(table: DeltaTable) -> str:
    """The date column that the table is partitioned by; ValueError when there is none."""
    schema = spark_schema(table)
    for name in table.metadata().partition_columns:
        if isinstance(schema[name].dataType, T.DateType):
            return str(name)
    raise ValueError(f"{table.table_uri} is not partitioned by a date")


def row_count(path: str | Path, days: Iterable[date] | None = None) -> int:
    """Rows, from the log's statistics: no data file is opened."""
    table = open_table(path)
    if days is None:
        return table.count()
    actions = table.get_add_actions(flatten=True)
    day_texts = {str(day) for day in days}
    partitions = actions.column(f"partition.{day_column(table)}").to_pylist()
    counts = actions.column("num_records").to_pylist()
    return sum(count for day, count in zip(partitions, counts, strict=True) if str(day) in day_texts)


def newest_time(path: str | Path, column: str) -> int | None:
    """Epoch microseconds after which no row of the table has a value in `column`, from the log's statistics.

    A number before all times for an empty table; None where the log has no bound of some file.
    """
    actions = pa.table(open_table(path).get_add_actions(flatten=True))
    if actions.num_rows == 0:
        return BEFORE_ALL_TIMES
    if f"max.{column}" not in actions.column_names:
        return None
    bounds = actions[f"max.{column}"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return None if bounds.null_count else int(pc.max(bounds).as_py()) + BOUND_MICROSECONDS


def is_committed(table: DeltaTable, query: str | None, batch: int | None) -> bool:
    """Whether the log has this batch of the query, or a later one."""
    if query is None or batch is None:
        return False
    last_batch = table.transaction_version(query)
    return last_batch is not None and last_batch >= batch


def commit_once(path: str | Path, query: str | None, batch: int | None, write: Callable[[DeltaTable], int]) -> int:
    """Call `write` on the newest version, for one commit; returns the rows that it committed, 0 if the log has the batch already.

    A commit that conflicts with another writer's is tried again, on the version after that.
    """
    table = open_table(path)
    for attempts_left in reversed(range(COMMIT_ATTEMPTS)):
        if is_committed(table, query, batch):
            return 0
        version = table.version()
        try:
            return write(table)
        except (DeltaError, OSError) as problem:
            table = open_table(path)
            # A conflict is not always reported as one: the log may have dropped the version that the commit was based on, or the
            # commit was made and only the answer to it was lost.
            is_conflict = isinstance(problem, CommitFailedError) or table.version() != version
            if not is_conflict or not (attempts_left or is_committed(table, query, batch)):
                raise
    return 0


def commit(
    path: str | Path, actions: list[AddAction], mode: Literal["append", "overwrite"], query: str | None, batch: int | None
) -> int:
    """Makes the files part of the table; returns their rows, 0 if this batch of the query is committed already."""

    def write(table: DeltaTable) -> int:
        partitions, properties = table.metadata().partition_columns, transaction(query, batch)
        table.create_write_transaction(actions, mode, table.schema(), partitions, commit_properties=properties)
        return sum(recorded_rows(action) for action in actions)

    return commit_once(path, query, batch, write)


def transaction(query: str | None, batch: int | None, on_any_version: bool = True) -> CommitProperties:
    """The commit's properties: the query and batch that it belongs to, if any.

    on_any_version: the commit may follow another writer's commit that does not conflict with it; else that is an error.
    """
    transactions = None if query is None or batch is None else [Transaction(query, batch)]
    return CommitProperties(app_transactions=transactions, max_commit_retries=None if on_any_version else 0)


def absolute_uri(path: str | Path) -> str:
    """An absolute path (Spark and delta-rs must mean the same folder), or the URI as it is.

    Raises UnusableFolder where delta-rs would take the path for another.
    """
    text = str(path)
    if "://" in text:
        return text
    absolute = str(Path(text).absolute())
    check_folder(absolute)
    return absolute


def check_folder(path: str | Path) -> None:
    """Raises UnusableFolder where delta-rs would take this absolute path for another."""
    if unusable := sorted(set(UNUSABLE_CHARACTERS.findall(str(path)))):
        raise UnusableFolder(
            f"{path}: tables cannot lie in a folder whose path has {' or '.join(map(repr, unusable))}, "
            "which the library for Delta tables takes for something else: choose another folder (--data, HYBRID_DATA)"
        )


def _stored_schema(schema: T.StructType) -> T.StructType:
    """The schema with the types that a Delta table stores: text of a fixed length becomes any text."""
    return T.StructType.fromJson(json.loads(Schema.from_json(_nullable_schema(schema).json()).to_json()))


def _nullable_schema(schema: T.StructType) -> T.StructType:
    return T.StructType([T.StructField(field.name, field.dataType) for field in schema.fields])
