"""Writing: Spark's executors write the files, one commit makes them part of the table."""

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
from common.tables.log import commit, is_committed, once, open_table, place_of, schema_of, transaction, uri
from common.tables.rewriting import rewriting
from common.tables.statistics import describe, rows

LOG = logging.getLogger(__name__)

FOLDER = "batches"
TIMESTAMPS = "spark.sql.parquet.outputTimestampType"
_warned_of: set[tuple[str, frozenset[str]]] = set()  # tables and columns of which it was said that they stay null


class RowsLost(UserError):
    """Rows that executors wrote are not where the driver looks for them; the message says where."""


def append(frame: DataFrame, path: str | Path, query: str | None = None, batch: int | None = None) -> int:
    """Adds the rows as batch `batch` (a number that only grows) of `query`; returns how many were added, 0 if it was there.

    A batch that was killed half-way is written again into a folder of its own, because the executors of the killed
    driver may still be writing into the first; what they left is never committed and goes with `upkeep.maintain_all`.
    """
    table = open_table(path)
    if is_committed(table, query, batch):
        return 0
    actions = _written(frame, table, query, batch)
    return commit(path, actions, "append", query, batch) if actions else 0


def query_of(batch: DataFrame) -> str:
    """The id of the streaming query that a micro-batch is of, as it stands in the query's checkpoint.

    A name would make a query with a new checkpoint pass for one that was here before.
    """
    query = batch.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
    if not query:  # under one id for all, what one query has committed would be taken for what another has
        raise RuntimeError("Spark does not say which query a batch is of: sql.streaming.queryId is not set")
    return query


def overwrite(frame: DataFrame, path: str | Path) -> int:
    """Puts the rows in the place of all there were, in one commit; returns how many they are."""
    actions = _written(frame, open_table(path), "overwrite", None)
    with rewriting(path):
        return commit(path, actions, "overwrite", None, None)


@dataclass(frozen=True)
class Newest:
    """By which columns one row is newer than another of the same keys: by `grows`, which grow with what the row is about.

    The first of them that differs decides. Where all are equal, by `offset` within one `partition`: clocks are set back, offsets
    are not. Offsets of two partitions say nothing, as of a topic that was given more of them: between those it is `time`.
    """

    grows: tuple[str, ...]
    partition: str
    offset: str
    time: str

    def condition(self, newer: str, older: str) -> str:
        """SQL: whether the row `newer` is newer than the row `older`."""
        def compare(column: str, operator: str) -> str:
            return f"{newer}.{column} {operator} {older}.{column}"

        same, other = compare(self.partition, "="), compare(self.partition, "<>")
        said = f"(({same} AND {compare(self.offset, '>')}) OR ({other} AND {compare(self.time, '>')}))"
        for name in reversed(self.grows):
            said = f"({compare(name, '>')} OR ({compare(name, '=')} AND {said}))"
        return said


def upsert(
    source: DataFrame | pa.Table, path: str | Path, keys: Sequence[str], newest: str | Newest, query: str | None = None,
    batch: int | None = None, earliest: Sequence[str] = (),
) -> int:
    """Inserts rows with new keys and replaces those that are older than the incoming row: by column `newest`, or as it says.

    The columns `earliest` keep the lowest value that any row of the same keys ever had.

    Of several incoming rows with the same keys the newest counts. The incoming rows pass
    through the driver: for alerts and the like, not for events. Returns how many rows were inserted.
    """
    incoming = source if isinstance(source, pa.Table) else source.toArrow()
    if incoming.num_rows == 0:
        return 0
    if isinstance(newest, Newest):
        of_partitions = _newest(incoming, [*keys, newest.partition], [*newest.grows, newest.offset], earliest)
        incoming = _newest(of_partitions, keys, [*newest.grows, newest.time], earliest)
        is_newer = newest.condition("source", "target")
    else:
        incoming = _newest(incoming, keys, [newest], earliest)
        is_newer = f"source.{newest} > target.{newest}"
    same = " AND ".join(f"target.{key} = source.{key}" for key in keys)
    updates = {name: f"source.{name}" for name in incoming.column_names} | {
        name: f"CASE WHEN target.{name} < source.{name} THEN target.{name} ELSE source.{name} END" for name in earliest}

    def write(table: DeltaTable) -> int:
        merge = table.merge(
            incoming, same, source_alias="source", target_alias="target", commit_properties=transaction(query, batch)
        ).when_matched_update(updates, is_newer).when_not_matched_insert_all()
        return int(merge.execute()["num_target_rows_inserted"])

    with rewriting(path):
        return once(path, query, batch, write)


def _written(frame: DataFrame, table: DeltaTable, query: str | None, batch: int | None) -> list[AddAction]:
    """Log entries of the frame's rows, written as files. Raises RowsLost when not all that executors wrote is seen here."""
    counted = Observation()
    folder = write_files(frame.observe(counted, F.count(F.lit(1)).alias("rows")), table, query, batch)
    actions = add_actions(table.table_uri, folder)
    seen = sum(rows(action) for action in actions)
    if seen != counted.get["rows"]:
        raise RowsLost(
            f"{place_of(table)}: {counted.get['rows']:,} rows were written to its folder {folder}, and {seen:,} are seen there: "
            "nothing was committed. All executors and the driver must see one and the same folder (HYBRID_DATA)"
        )
    return actions


def write_files(frame: DataFrame, table: DeltaTable, query: str | None, batch: int | None) -> str:
    """Writes the frame as Parquet files below the table; returns their folder, relative to the table's.

    Columns that the table has and the frame lacks are null in its rows.
    """
    if frame.sparkSession.conf.get(TIMESTAMPS) != "TIMESTAMP_MICROS":
        raise ValueError(f"{TIMESTAMPS} must be TIMESTAMP_MICROS: the default has no statistics and Delta does not allow it")
    schema = schema_of(table)
    check_columns(frame.columns, table, schema)
    name = re.sub(r"[^\w-]", "-", query or "append")
    folder = "/".join([FOLDER, name, f"{0 if batch is None else batch}-{uuid4().hex[:12]}"])
    columns = [
        (F.col(field.name) if field.name in frame.columns else F.lit(None)).cast(field.dataType).alias(field.name)
        for field in schema.fields
    ]
    (
        frame.select(*columns).write
        .option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .partitionBy(*table.metadata().partition_columns)
        .parquet(f"{place_of(table)}/{folder}")
    )
    return folder


def check_columns(columns: Sequence[str], table: DeltaTable, schema: T.StructType) -> None:
    """Raises ValueError where rows with these columns cannot be the table's; says, once, which columns will be null."""
    place, partitions = place_of(table), table.metadata().partition_columns
    if unknown := sorted(set(columns) - set(schema.names)):
        raise ValueError(f"{place}: columns {unknown} are in the rows and not in the table")
    lacking = {field.name for field in schema.fields} - set(columns)
    if needed := sorted(name for name in lacking if name in partitions or not schema[name].nullable):
        raise ValueError(f"{place}: columns {needed}, which cannot be null, are in the table and not in the rows")
    if lacking and (place, frozenset(lacking)) not in _warned_of:
        _warned_of.add((place, frozenset(lacking)))
        LOG.warning("%s has columns that this version does not know, and leaves null in new rows: %s", place, sorted(lacking))


def add_actions(path: str | Path, folder: str) -> list[AddAction]:
    """Log entries of the Parquet files that Spark wrote into `folder`; files without rows are left out."""
    store = fs.PyFileSystem(DeltaStorageHandler(uri(path)))
    # Nothing is there either where no partition had a row.
    listed = store.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    data = [info for info in listed if info.is_file and info.base_name.startswith("part-")]
    return [action for action in (describe(store, info) for info in data) if rows(action) > 0]


def _newest(table: pa.Table, keys: Sequence[str], newest: Sequence[str], earliest: Sequence[str]) -> pa.Table:
    """Of the rows with the same keys the last by the columns `newest`, with the lowest of their `earliest`."""
    ordered = table.sort_by([(name, "ascending") for name in newest])
    rank = pa.array(range(ordered.num_rows), pa.int64())
    grouped = ordered.select([*keys, *earliest]).append_column("rank", rank).group_by(list(keys))
    last = grouped.aggregate([("rank", "max"), *((name, "min") for name in earliest)])
    rows = ordered.take(last["rank_max"])
    for name in earliest:
        rows = rows.set_column(rows.column_names.index(name), name, last[f"{name}_min"])
    return rows
