"""A table's log: creating it, what it lists, and committing to it."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, Transaction
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from common.errors import UserError
from common.tables.statistics import rows

COMMIT_ATTEMPTS = 10
# delta-rs decodes %20 twice, takes \\ for /, and ends at brackets, control characters and bytes that are no UTF-8 (1.6.6).
UNUSABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\\\[\]\x00-\x1f\x7f\ud800-\udfff]")
PARTITION_TYPES = (T.DateType, T.IntegerType, T.LongType, T.StringType)
CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    # Whoever opens a table lists its whole log: at a commit a second Delta's default, 30 days, would be millions of files.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.enableDeletionVectors": "false",   # not every reader knows them
}


class UnusableFolder(UserError):
    """Tables cannot lie in this folder; the message says why."""


class OtherTypes(UserError):
    """A table has a column that is wanted as another type; the message says which."""


def ensure_table(
    path: str | Path, schema: T.StructType, partition_by: Sequence[str] | None = None, *, is_made_anew: bool = False
) -> None:
    """Creates the table if there is none; several processes may do so at once. Partitions are dates, integers or texts.

    A table that is there gets the columns of `schema` that it lacks; in its older rows they are null. Raises OtherTypes where
    one that it has is of another type, which whoever writes would have to cast; a table whose rows are all about to be replaced
    (is_made_anew) gets the columns of `schema` then, and its older versions keep theirs.
    """
    if table_exists(path):
        try:
            _check_types(path, schema)
        except OtherTypes:
            if not is_made_anew:
                raise
            columns = to_arrow_schema(_nullable(schema), timezone="UTC")
            write_deltalake(open_table(path), columns.empty_table(), mode="overwrite", schema_mode="overwrite")
        _add_missing(path, schema)
        return
    for name in partition_by or ():
        kind = schema[name].dataType
        if not isinstance(kind, PARTITION_TYPES):
            raise ValueError(f"{path}: partition column {name} is {kind.simpleString()}, not a date, integer or text")
    nullable = Schema.from_json(_nullable(schema).json())
    try:
        # A retried creation would commit the table's definition a second time, as version 1.
        DeltaTable.create(
            uri(path), nullable, mode="ignore", partition_by=list(partition_by or ()), configuration=CONFIGURATION,
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except DeltaError:
        # Another query created it between our look and our commit: then it is there now.
        if not table_exists(path):
            raise


def _check_types(path: str | Path, schema: T.StructType) -> None:
    there = {field.name: field.dataType.simpleString() for field in schema_of(open_table(path)).fields}
    wanted = {field.name: field.dataType.simpleString() for field in _as_stored(schema).fields}
    for name, kind in wanted.items():
        if there.get(name, kind) != kind:
            raise OtherTypes(
                f"{path}: column {name} is {there[name]} in the table, and {kind} is to be written to it: give the column that "
                "type again (a table's older versions are kept), or choose another folder (--data, HYBRID_DATA)"
            )


def _add_missing(path: str | Path, schema: T.StructType) -> None:
    def missing() -> list[Field]:
        there = {field.name for field in open_table(path).schema().fields}
        return [field for field in Schema.from_json(_nullable(schema).json()).fields if field.name not in there]

    if columns := missing():
        try:
            open_table(path).alter.add_columns(columns)
        except DeltaError:
            # Somebody else may have added them between our look and our commit.
            if missing():
                raise


def table_exists(path: str | Path) -> bool:
    """Whether there is a table with at least one version."""
    return DeltaTable.is_deltatable(uri(path))


def open_table(path: str | Path, version: int | None = None) -> DeltaTable:
    """The table's newest version, or version `version`; FileNotFoundError when there is none."""
    try:
        return DeltaTable(uri(path), version=version)
    except TableNotFoundError:
        raise FileNotFoundError(f"no Delta table at {path}") from None


def schema_of(table: DeltaTable) -> T.StructType:
    """The table's columns, partition columns included, as Spark's types."""
    return T.StructType.fromJson(json.loads(table.schema().to_json()))


def files(path: str | Path, days: Iterable[date] | None = None, version: int | None = None) -> list[str]:
    """Absolute paths of the data files, of all partitions or of those of `days`."""
    return files_of(open_table(path, version), days)


def files_of(
    table: DeltaTable, days: Iterable[date] | None = None, bounds: Sequence[tuple[str, str, str]] = ()
) -> list[str]:
    """Absolute paths of the data files of an opened table, as the file system and Spark have them; URIs in an object store.

    Of the partitions of `days`, and those that may have rows within `bounds`: columns, operators and values.
    """
    wanted = None if days is None else [str(day) for day in days]
    if wanted == []:
        return []
    predicate = [*bounds, *([] if wanted is None else [(day_column(table), "in", wanted)])]
    paths = table.file_uris(file_pruning_predicate=predicate or None)
    # delta-rs quotes the table's own folder as a part of a URI (a blank is %20), and leaves what is below it as it is.
    quoted, folder = urlsplit(table.table_uri).path, place_of(table)
    return [f"{folder}/{path.removeprefix(quoted)}" if path.startswith(quoted) else path for path in paths]


def place_of(table: DeltaTable) -> str:
    """Where an opened table lies: a folder's absolute path as Spark takes it, or the URI as it is."""
    parts = urlsplit(table.table_uri)
    return unquote(parts.path).rstrip("/") if parts.scheme == "file" else table.table_uri.rstrip("/")


def day_column(table: DeltaTable) -> str:
    """The date column that the table is partitioned by; ValueError when there is none."""
    schema = schema_of(table)
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
    wanted = {str(day) for day in days}
    partitions = actions.column(f"partition.{day_column(table)}").to_pylist()
    counts = actions.column("num_records").to_pylist()
    return sum(count for day, count in zip(partitions, counts, strict=True) if str(day) in wanted)


def is_committed(table: DeltaTable, query: str | None, batch: int | None) -> bool:
    """Whether the log has this batch, or a later one, of this query."""
    if query is None or batch is None:
        return False
    last = table.transaction_version(query)
    return last is not None and last >= batch


def once(path: str | Path, query: str | None, batch: int | None, write: Callable[[DeltaTable], int]) -> int:
    """The rows that `write` commits to the newest version; 0, and nothing written, if the batch is in the log already.

    A commit that another writer's got in the way of is tried again, on the version that came of it.
    """
    table = open_table(path)
    for left in reversed(range(COMMIT_ATTEMPTS)):
        if is_committed(table, query, batch):
            return 0
        before = table.version()
        try:
            return write(table)
        except (DeltaError, OSError) as problem:
            table = open_table(path)
            # It is called a conflict, or by other names, as where the log has forgotten the version that the commit began with,
            # or where it was made and only its answer was lost.
            got_on = isinstance(problem, CommitFailedError) or table.version() != before
            if not got_on or not (left or is_committed(table, query, batch)):
                raise
    return 0


def commit(
    path: str | Path, actions: list[AddAction], mode: Literal["append", "overwrite"], query: str | None, batch: int | None
) -> int:
    """Makes the files part of the table; returns their rows, 0 if this batch of the query was there already."""
    def write(table: DeltaTable) -> int:
        partitions, properties = table.metadata().partition_columns, transaction(query, batch)
        table.create_write_transaction(actions, mode, table.schema(), partitions, commit_properties=properties)
        return sum(rows(action) for action in actions)

    return once(path, query, batch, write)


def transaction(query: str | None, batch: int | None, on_any_version: bool = True) -> CommitProperties:
    """The commit's properties: which batch of which query it is, if of any.

    on_any_version: where another writer has committed meanwhile, and nothing that matters to this commit, it goes on top.
    """
    transactions = None if query is None or batch is None else [Transaction(query, batch)]
    return CommitProperties(app_transactions=transactions, max_commit_retries=None if on_any_version else 0)


def uri(path: str | Path) -> str:
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
    if unusable := sorted(set(UNUSABLE.findall(str(path)))):
        raise UnusableFolder(
            f"{path}: tables cannot lie in a folder whose path has {' or '.join(map(repr, unusable))}, "
            "which the library for Delta tables takes for something else: choose another folder (--data, HYBRID_DATA)"
        )


def _as_stored(schema: T.StructType) -> T.StructType:
    """With the types that a Delta table has: it keeps a text of some length as any text."""
    return T.StructType.fromJson(json.loads(Schema.from_json(_nullable(schema).json()).to_json()))


def _nullable(schema: T.StructType) -> T.StructType:
    return T.StructType([T.StructField(field.name, field.dataType) for field in schema.fields])
