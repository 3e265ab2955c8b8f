"""Reads a version of a table: the log lists the files, Spark or Arrow reads them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from pyarrow.compute import Expression
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.tables.log import day_column, files_of_table, open_table, spark_schema
from common.tables.statistics import EMPTY_PARTITION

GLOB_CHARACTERS = re.compile(r"[?*{}]")  # wildcards in a path that Spark reads, unless a backslash is before them
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimeRange:
    """Rows whose timestamp `column` is from `first` to `last`, in microseconds since 1970 (Python's own times end in 9999)."""

    column: str
    first: int
    last: int

    def file_bounds(self) -> list[tuple[str, str, str]]:
        """For `files_of_table`: bounds of the files that may have such rows, by the log's statistics."""
        return [(self.column, ">=", _iso_time(self.first)), (self.column, "<=", _iso_time(self.last))]

    def condition(self) -> Column:
        """For Spark: whether a row is in the range."""
        return F.col(self.column).between(*(F.timestamp_micros(F.lit(end).cast("long")) for end in (self.first, self.last)))


def read(
    spark: SparkSession,
    path: str | Path,
    days: Iterable[date] | None = None,
    columns: Sequence[str] | None = None,
    version: int | None = None,
    between: TimeRange | None = None,
) -> DataFrame:
    """The rows of the newest version (or of `version`), of all partitions or of those of `days`, and `between` two times.

    The version is fixed by this call: later commits, compaction and vacuum do not change what the DataFrame reads. A filter on
    a partition column, here or later, skips files.
    """
    table = open_table(path, version)
    schema, partitions = spark_schema(table), table.metadata().partition_columns
    names = list(columns) if columns is not None else schema.names
    paths = files_of_table(table, days, between.file_bounds() if between else ())
    if not paths:
        return spark.createDataFrame([], schema).select(*names)
    file_schema = T.StructType([field for field in schema.fields if field.name not in partitions])
    rows = spark.read.schema(file_schema).parquet(*[GLOB_CHARACTERS.sub(r"\\\g<0>", file) for file in paths])
    rows = rows.where(between.condition()) if between else rows
    return rows.select(*[_partition_value(schema[name]) if name in partitions else F.col(name) for name in names])


def read_arrow(
    path: str | Path,
    days: Iterable[date] | None = None,
    columns: Sequence[str] | None = None,
    version: int | None = None,
    where: Expression | None = None,
) -> pa.Table:
    """The same without Spark, for rows that fit into memory; only those for which `where` is true."""
    table = open_table(path, version)
    predicate = None if days is None else [(day_column(table), "in", [str(day) for day in days] or ["0001-01-01"])]
    return table.to_pyarrow_dataset(file_pruning_predicate=predicate).to_table(list(columns) if columns else None, where)


def _iso_time(microseconds: int) -> str:
    """As ISO 8601; beyond Python's years the nearest time that it has, as the log has no bounds beyond that."""
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return (datetime.max if microseconds > 0 else datetime.min).replace(tzinfo=UTC).isoformat()


def _partition_value(field: T.StructField) -> Column:
    """A partition column, read from the file's path, which alone holds it; Spark still skips files by a filter on it."""
    tail = F.substring_index(F.col("_metadata.file_path"), f"/{field.name}=", -1)
    value = F.substring_index(tail, "/", 1)
    if isinstance(field.dataType, T.StringType):
        value = _url_decode(_url_decode(value))  # once as a part of a path, once as a part of a URI
    return F.when(value != EMPTY_PARTITION, value).cast(field.dataType).alias(field.name)


def _url_decode(value: Column) -> Column:
    return F.url_decode(F.replace(value, F.lit("+"), F.lit("%2B")))
