"""Reading a version of a table: the log names the files, Spark or Arrow reads them."""

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

from common.tables.log import day_column, files_of, open_table, schema_of
from common.tables.statistics import EMPTY_PARTITION

PATTERN = re.compile(r"[?*{}]")  # in a path that Spark is to read, these stand for others unless a backslash is before them


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Between:
    """Rows whose timestamp `column` is of `first` to `last`, both in microseconds since 1970 (which no year is too far for)."""

    column: str
    first: int
    last: int

    def files(self) -> list[tuple[str, str, str]]:
        """For the log: files that may hold one, by the bounds that it has of them."""
        return [(self.column, ">=", _as_text(self.first)), (self.column, "<=", _as_text(self.last))]

    def rows(self) -> Column:
        """For Spark."""
        return F.col(self.column).between(*(F.timestamp_micros(F.lit(end).cast("long")) for end in (self.first, self.last)))


def read(
    spark: SparkSession, path: str | Path, days: Iterable[date] | None = None, columns: Sequence[str] | None = None,
    version: int | None = None, between: Between | None = None,
) -> DataFrame:
    """The rows of the newest version (or of `version`), of all partitions or of those of `days`, or those `between` two times.

    The version is fixed now: later commits, compaction and vacuum do not change what the DataFrame reads. A filter on
    a partition column, here or later, leaves out files.
    """
    table = open_table(path, version)
    schema, partitions = schema_of(table), table.metadata().partition_columns
    wanted = list(columns) if columns is not None else schema.names
    found = files_of(table, days, between.files() if between else ())
    if not found:
        return spark.createDataFrame([], schema).select(*wanted)
    stored = T.StructType([field for field in schema.fields if field.name not in partitions])
    rows = spark.read.schema(stored).parquet(*[PATTERN.sub(r"\\\g<0>", file) for file in found])
    rows = rows.where(between.rows()) if between else rows
    return rows.select(*[_partition_value(schema[name]) if name in partitions else F.col(name) for name in wanted])


def read_arrow(
    path: str | Path, days: Iterable[date] | None = None, columns: Sequence[str] | None = None, version: int | None = None,
    where: Expression | None = None,
) -> pa.Table:
    """The same without Spark, for what fits into memory; those rows for which `where` is true."""
    table = open_table(path, version)
    predicate = None if days is None else [(day_column(table), "in", [str(day) for day in days] or ["0001-01-01"])]
    return table.to_pyarrow_dataset(file_pruning_predicate=predicate).to_table(list(columns) if columns else None, where)


def _as_text(microseconds: int) -> str:
    """Of a time that Python does not know, the nearest that it does: of what lies beyond that, the log has no bounds."""
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return (datetime.max if microseconds > 0 else datetime.min).replace(tzinfo=UTC).isoformat()


def _partition_value(field: T.StructField) -> Column:
    """A partition's value stands in the file's path only; Spark prunes files by a filter on it all the same."""
    after = F.substring_index(F.col("_metadata.file_path"), f"/{field.name}=", -1)
    value = F.substring_index(after, "/", 1)
    if isinstance(field.dataType, T.StringType):
        value = _decoded(_decoded(value))   # once as a part of a path, once as a part of a URI
    return F.when(value != EMPTY_PARTITION, value).cast(field.dataType).alias(field.name)


def _decoded(value: Column) -> Column:
    return F.url_decode(F.replace(value, F.lit("+"), F.lit("%2B")))
