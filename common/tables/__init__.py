"""Delta tables on Spark without a Spark connector.

Neither Delta's nor Iceberg's connector runs on Spark 4.3 yet. So Spark's executors write plain Parquet files into a
folder of the table, named after query and batch, and delta-rs commits them to the table's log: with partition values,
statistics, and the pair (query, batch) as an application transaction, which makes each batch count once however often
it is tried. Files are never renamed nor changed by us, so object stores will do. What is not committed does not exist
for a reader; vacuum removes it. DuckDB, Polars and Databricks read the same tables.

A path is a folder or a URI that both Spark and delta-rs understand (`s3a://bucket/table`).
"""

from common.tables.log import (
    OtherTypes,
    UnusableFolder,
    check_folder,
    ensure_table,
    files,
    is_committed,
    open_table,
    row_count,
    table_exists,
)
from common.tables.reading import Between, read, read_arrow
from common.tables.small import append_arrow, append_row_after, append_rows, rewrite
from common.tables.upkeep import compact, maintain, maintain_all, vacuum
from common.tables.writing import Newest, append, overwrite, query_of, upsert

__all__ = [
    "Between", "Newest", "OtherTypes", "UnusableFolder", "append", "append_arrow", "append_row_after", "append_rows",
    "check_folder", "compact", "ensure_table", "files", "is_committed", "maintain", "maintain_all", "open_table", "overwrite",
    "query_of", "read", "read_arrow", "rewrite", "row_count", "table_exists", "upsert", "vacuum",
]
