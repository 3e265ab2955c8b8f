"""Writes rows to tables: Spark's executors write the files, and one commit makes them part of the table."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction
from pyarrow import fs
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.errors import UserError
from common.tables.log import (
    absolute_uri,
    commit,
    commit_once,
    is_committed,
    open_table,
    spark_schema,
    table_location,
    transaction,
)
from common.tables.rewrite_lock import rewrite_lock
from common.tables.statistics import describe_file, recorded_rows

LOG = logging.getLogger(__name__)

BATCH_FOLDER = "batches"
TIMESTAMP_SETTING = "spark.sql.parquet.outputTimestampType"
_warned_columns: set[tuple[str, frozenset[str]]] = set()  # tables, and columns of which a warning said that they stay null


class RowsLost(UserError):
    """Rows that executors wrote are not in the folder that the driver sees; the message names it."""


def append(frame: DataFrame, path: str | Path, query: str | None = None, batch: int | None = None) -> int:
    """Adds the rows as batch `batch` (a number that only grows) of `query`; returns how many, 0 if it is committed already.

    A batch that was killed half-way is written again into another folder, as executors of the killed driver may still be
    writing into the first. Their files are never committed; `upkeep.maintain_all` removes them.
    """
    table = open_table(path)
    if is_committed(table, query, batch):
        return 0
    actions = _write_frame(frame, table, query, batch)
    return commit(path, actions, "append", query, batch) if actions else 0


def query_id(batch: DataFrame) -> str:
    """The id of the micro-batch's streaming query, as in the query's checkpoint.

    By its name a query with a new checkpoint would be taken for the old one, and its batches for committed ones.
    """
    query = batch.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
    if not query:  # with one id for all queries, one query's commits would be taken for another's
        raise RuntimeError("Spark does not say which query a batch is of: sql.streaming.queryId is not set")
    return query


def overwrite(frame: DataFrame, path: str | Path) -> int:
    """Replaces all rows of the table by these, in one commit; returns how many these are."""
    actions = _write_frame(frame, open_table(path), "overwrite", None)
    with rewrite_lock(path):
        return commit(path, actions, "overwrite", None, None)


@dataclass(frozen=True)
class Recency:
    """The columns by which one row is newer than another with the same keys.

    growing: columns whose values only grow; the first of them that differs decides. If all are equal, the higher `offset` decides
    within one `partition`, as clocks may be set back and offsets are not. Between partitions, whose offsets cannot be compared,
    the later `time` decides.
    """

    growing: tuple[str, ...]
    partition: str
    offset: str
    time: str

    def condition(self, newer: str, older: str) -> str:
        """SQL: whether the row `newer` is newer than the row `older`."""

        def compare(column: str, operator: str) -> str:
            return f"{newer}.{column} {operator} {older}.{column}"

        in_one_partition = f"({compare(self.partition, '=')} AND {compare(self.offset, '>')})"
        condition = f"({in_one_partition} OR ({compare(self.partition, '<>')} AND {compare(self.time, '>')}))"
        for name in reversed(self.growing):
            condition = f"({compare(name, '>')} OR ({compare(name, '=')} AND {condition}))"
        return condition


@dataclass(frozen=True)
class MergeRule:
    """Which row stays of several with the same `keys`: the newest, by one column that grows or by a `Recency`.

    The columns `earliest` keep the lowest value that any row with these keys ever had.
    """

    keys: Sequence[str]
    newest: str | Recency
    earliest: Sequence[str] = ()

    def condition(self, newer: str, older: str) -> str:
        """SQL: whether the row `newer` is newer than the row `older`."""
        if isinstance(self.newest, Recency):
            return self.newest.condition(newer, older)
        return f"{newer}.{self.newest} > {older}.{self.newest}"

    def merge_rows(self, rows: pa.Table) -> pa.Table:
        """One row of those with the same keys."""
        if not isinstance(self.newest, Recency):
            return _newest_rows(rows, self.keys, [self.newest], self.earliest)
        growing, partition = self.newest.growing, self.newest.partition
        by_partition = _newest_rows(rows, [*self.keys, partition], [*growing, self.newest.offset], self.earliest)
        return _newest_rows(by_partition, self.keys, [*growing, self.newest.time], self.earliest)


def upsert(
    source: DataFrame | pa.Table, path: str | Path, rule: MergeRule, query: str | None = None, batch: int | None = None
) -> int:
    """Inserts rows with new keys, and replaces stored rows that are older than the incoming row, by `rule`.

    The incoming rows pass through the driver: for alerts and the like, not for events. Returns how many rows were inserted.
    """
    incoming = source if isinstance(source, pa.Table) else source.toArrow()
    if incoming.num_rows == 0:
        return 0
    incoming = rule.merge_rows(incoming)
    is_same_row = " AND ".join(f"target.{key} = source.{key}" for key in rule.keys)
    updates = {name: f"source.{name}" for name in incoming.column_names} | {
        name: f"CASE WHEN target.{name} < source.{name} THEN target.{name} ELSE source.{name} END" for name in rule.earliest
    }

    def write(table: DeltaTable) -> int:
        merge = (
            table.merge(
                incoming, is_same_row, source_alias="source", target_alias="target", commit_properties=transaction(query, batch)
            )
            .when_matched_update(updates, rule.condition("source", "target"))
            .when_not_matched_insert_all()
        )
        return int(merge.execute()["num_target_rows_inserted"])

    with rewrite_lock(path):
        return commit_once(path, query, batch, write)


def _write_frame(frame: DataFrame, table: DeltaTable, query: str | None, batch: int | None) -> list[AddAction]:
    """Write the frame's rows as files; returns their log entries. Raises RowsLost where the driver does not see all rows."""
    observation = Observation()
    folder = write_files(frame.observe(observation, F.count(F.lit(1)).alias("rows")), table, query, batch)
    actions = add_actions(table.table_uri, folder)
    written_count, visible_count = observation.get["rows"], sum(recorded_rows(action) for action in actions)
    if visible_count != written_count:
        raise RowsLost(
            f"{table_location(table)}: {written_count:,} rows were written to its folder {folder}, and {visible_count:,} are "
            "seen there: nothing was committed. All executors and the driver must see one and the same folder (HYBRID_DATA)"
        )
    return actions


def write_files(frame: DataFrame, table: DeltaTable, query: str | None, batch: int | None) -> str:
    """Writes the frame as Parquet files below the table; returns their folder, relative to the table's.

    Columns that the table has and the frame lacks are null in its rows.
    """
    if frame.sparkSession.conf.get(TIMESTAMP_SETTING) != "TIMESTAMP_MICROS":
        raise ValueError(f"{TIMESTAMP_SETTING} must be TIMESTAMP_MICROS. Delta forbids the default, which has no statistics")
    schema = spark_schema(table)
    check_columns(frame.columns, table, schema)
    name = re.sub(r"[^\w-]", "-", query or "append")
    folder = "/".join([BATCH_FOLDER, name, f"{0 if batch is None else batch}-{uuid4().hex[:12]}"])
    columns = [
        (F.col(field.name) if field.name in frame.columns else F.lit(None)).cast(field.dataType).alias(field.name)
        for field in schema.fields
    ]
    (
        frame.select(*columns)
        .write.option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .partitionBy(*table.metadata().partition_columns)
        .parquet(f"{table_location(table)}/{folder}")
    )
    return folder


def check_columns(columns: Sequence[str], table: DeltaTable, schema: T.StructType) -> None:
    """Raises ValueError where rows with these columns do not fit the table; warns, once, of columns that will be null."""
    location, partitions = table_location(table), table.metadata().partition_columns
    if unknown := sorted(set(columns) - set(schema.names)):
        raise ValueError(f"{location}: columns {unknown} are in the rows and not in the table")
    missing = {field.name for field in schema.fields} - set(columns)
    if required := sorted(name for name in missing if name in partitions or not schema[name].nullable):
        raise ValueError(f"{location}: columns {required}, which cannot be null, are in the table and not in the rows")
    if missing and (location, frozenset(missing)) not in _warned_columns:
        _warned_columns.add((location, frozenset(missing)))
        LOG.warning("%s has columns that this version does not know, and leaves null in new rows: %s", location, sorted(missing))


def add_actions(path: str | Path, folder: str) -> list[AddAction]:
    """Log entries of the Parquet files that Spark wrote into `folder`; files without rows are left out."""
    store = fs.PyFileSystem(DeltaStorageHandler(absolute_uri(path)))
    # If no partition had a row, there is no folder.
    entries = store.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    data_files = [file for file in entries if file.is_file and file.base_name.startswith("part-")]
    return [action for action in (describe_file(store, file) for file in data_files) if recorded_rows(action) > 0]


def _newest_rows(table: pa.Table, keys: Sequence[str], newest: Sequence[str], earliest: Sequence[str]) -> pa.Table:
    """Of rows with the same keys the last in the order of the columns `newest`, with the lowest value of each of `earliest`."""
    ordered = table.sort_by([(name, "ascending") for name in newest])
    rank = pa.array(range(ordered.num_rows), pa.int64())
    grouped = ordered.select([*keys, *earliest]).append_column("rank", rank).group_by(list(keys))
    newest_ranks = grouped.aggregate([("rank", "max"), *((name, "min") for name in earliest)])
    newest_rows = ordered.take(newest_ranks["rank_max"])
    for name in earliest:
        newest_rows = newest_rows.set_column(newest_rows.column_names.index(name), name, newest_ranks[f"{name}_min"])
    return newest_rows
