"""Delta tables on Spark without a Spark connector.

Neither Delta's nor Iceberg's connector runs on Spark 4.3 yet. So Spark's executors write plain Parquet files into a
folder of the table, named after query and batch, and delta-rs commits them to the table's log: with partition values,
statistics, and the pair (query, batch) as an application transaction, which makes each batch count once however often
it is tried. Files are never renamed nor changed, so object stores will do. Readers do not see files that are not committed;
vacuum removes them. DuckDB, Polars and Databricks read the same tables.

A path is a folder or a URI that both Spark and delta-rs understand (`s3a://bucket/table`).
"""

from common.tables.log import (
    ColumnTypesDiffer,
    UnusableFolder,
    check_folder,
    ensure_table,
    files,
    is_committed,
    newest_time,
    open_table,
    row_count,
    table_exists,
)
from common.tables.reading import TimeRange, read, read_arrow
from common.tables.small_tables import append_arrow, append_row_after, append_rows, rewrite
from common.tables.upkeep import compact, maintain, maintain_all, vacuum
from common.tables.writing import MergeRule, Recency, append, overwrite, query_id, upsert

__all__ = [
    "ColumnTypesDiffer",
    "MergeRule",
    "Recency",
    "TimeRange",
    "UnusableFolder",
    "append",
    "append_arrow",
    "append_row_after",
    "append_rows",
    "check_folder",
    "compact",
    "ensure_table",
    "files",
    "is_committed",
    "maintain",
    "maintain_all",
    "newest_time",
    "open_table",
    "overwrite",
    "query_id",
    "read",
    "read_arrow",
    "rewrite",
    "row_count",
    "table_exists",
    "upsert",
    "vacuum",
]
