"""Merges rows of the lineage (table `judged`): of what batch after batch reported, it keeps what readers of the table need.

A busy query ends a batch a second, and reports a row for each partition of each. Merged they are ranges of offsets: one for as
long as the same versions judged under the same watermark. A watermark that moves with every batch would leave all rows: of what
ended a day ago, watermarks within one minute count as the same, the newest of them. So an event of then may be called late that
came less than a minute before it was. Merged rows have the table's own columns, so that they and rows that came since can be
merged again.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import types as T

from common import tables

BEYOND = 1 << 62  # after any offset
EXACT_MICROSECONDS = 86_400_000_000  # before the newest row, within which each watermark stands as it was
STEP_MICROSECONDS = 60_000_000
VERSIONS = ["baseline_version", "model_version", "settings_version"]

JUDGED_SCHEMA = T.StructType(
    [
        T.StructField("query", T.StringType()),
        T.StructField("checkpoint", T.StringType()),
        T.StructField("batch", T.LongType()),
        T.StructField("kafka_partition", T.IntegerType()),
        T.StructField("start_offset", T.LongType()),
        T.StructField("end_offset", T.LongType()),
        T.StructField("baseline_version", T.StringType()),
        T.StructField("model_version", T.StringType()),
        T.StructField("settings_version", T.StringType()),
        T.StructField("watermark", T.TimestampType()),
        T.StructField("ended_at", T.TimestampType()),
    ]
)


def read_rows(path: str | Path, query: str) -> pa.Table:
    """The merged rows of one query; none where there is no table."""
    if not tables.table_exists(path):
        return pa.table({name: [] for name in JUDGED_SCHEMA.names})
    return _merge_query(tables.read_arrow(path, where=pc.field("query") == query))


def merge_rows(rows: pa.Table) -> pa.Table:
    """The whole table's rows, merged query by query."""
    by_query = [rows.filter(pc.equal(rows["query"], query)) for query in rows["query"].unique().to_pylist()]
    return pa.concat_tables([rows.slice(0, 0), *map(_merge_query, by_query)])


def _merge_query(rows: pa.Table) -> pa.Table:
    rows = rows.sort_by([("ended_at", "ascending"), ("batch", "ascending")])
    is_start = pc.is_null(rows["kafka_partition"])
    start_rows, batch_rows = rows.filter(is_start), rows.filter(pc.invert(is_start))
    return pa.concat_tables([start_rows.slice(max(0, start_rows.num_rows - 1)), _ranges(_of_newest_checkpoint(batch_rows))])


def _of_newest_checkpoint(batch_rows: pa.Table) -> pa.Table:
    """The rows of the newest checkpoint: a query with a new checkpoint judges all anew."""
    checkpoints = batch_rows["checkpoint"].drop_null()
    return batch_rows.filter(pc.equal(batch_rows["checkpoint"], checkpoints[-1])) if len(checkpoints) else batch_rows


def _ranges(batch_rows: pa.Table) -> pa.Table:
    """The rows of a checkpoint's batches, in the order in which these ended, as ranges without gaps or overlap from offset 0.

    Of several attempts at a batch the last counts: what was judged from its beginning on is judged again. A batch that ended
    without a report (a kill came between) is taken to be judged as the one after it. A row without an offset of its own is
    kept for its watermark: the last under the same versions.
    """
    rows = _as_numbers(batch_rows).sort_values("kafka_partition", kind="stable")
    partition = rows["kafka_partition"]
    lowest = rows["start_offset"][::-1].groupby(partition[::-1]).cummin()[::-1]
    ends = np.minimum(rows["end_offset"], lowest.groupby(partition).shift(-1, fill_value=BEYOND))
    rows["start_offset"] = ends.groupby(partition).cummax().groupby(partition).shift(fill_value=0)
    rows["end_offset"] = np.maximum(ends, rows["start_offset"])
    is_range = rows["end_offset"] > rows["start_offset"]
    without_offsets = rows[~is_range].drop_duplicates(["kafka_partition", *VERSIONS], keep="last")
    ranges = pd.concat([merge_neighbours(rows[is_range], [*VERSIONS, "watermark_step"]), without_offsets]).sort_index()
    merged_rows = batch_rows.take(pa.array(ranges.index))
    for name in ("start_offset", "end_offset"):
        merged_rows = merged_rows.set_column(merged_rows.column_names.index(name), name, pa.array(ranges[name], pa.int64()))
    return merged_rows


def _as_numbers(batch_rows: pa.Table) -> pd.DataFrame:
    """The columns that make a range, as numbers: each text is replaced by its code, so that no Python objects are needed."""
    columns = {name: batch_rows[name].to_numpy() for name in ("kafka_partition", "start_offset", "end_offset")}
    watermark, ended_at = (batch_rows[name].cast(pa.int64()).to_numpy() for name in ("watermark", "ended_at"))  # nulls are NaN
    is_old = ended_at < np.max(ended_at, initial=0) - EXACT_MICROSECONDS
    columns["watermark_step"] = np.where(is_old, watermark // STEP_MICROSECONDS * STEP_MICROSECONDS, watermark)
    for name in VERSIONS:
        codes = batch_rows[name].combine_chunks().dictionary_encode("encode").indices
        columns[name] = codes.to_numpy(zero_copy_only=False)
    return pd.DataFrame(columns)


def merge_neighbours(ranges: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Ranges, partition by partition in order, with neighbours merged where they have the same values in `columns`.

    A merged range has the last one's values in its other columns, and its index.
    """
    codes = np.column_stack([pd.factorize(ranges[name])[0] for name in ("kafka_partition", *columns)])
    is_other = np.append(True, (codes[1:] != codes[:-1]).any(axis=1))[: len(ranges)]
    is_last = np.append(is_other[1:], True)[: len(ranges)]
    return ranges[is_last].assign(start_offset=ranges["start_offset"].to_numpy()[is_other])
