"""Describes a Parquet file for the Delta log, from its footer: rows, smallest and largest values, nulls."""

import json
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyarrow import fs

TEXT_LIMIT = 64  # characters; a longer smallest or largest text is left out, not cut
EMPTY_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def describe_file(files: fs.FileSystem, file: fs.FileInfo) -> AddAction:
    """The log's entry for one Parquet file, its path relative to the table's folder."""
    footer = pq.read_metadata(file.path, filesystem=files)
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values=_partition_values(file.path),
        modification_time=int(file.mtime_ns // 1_000_000),
        data_change=True,
        stats=json.dumps(file_statistics(footer)),
    )


def recorded_rows(action: AddAction) -> int:
    """How many rows the file has, by its entry's statistics."""
    return int(json.loads(action.stats)["numRecords"])


def file_statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """numRecords, minValues, maxValues and nullCount over all row groups; nested columns are left out."""
    minima: dict[str, Any] = {}
    maxima: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index in range(footer.num_columns):
        chunks = [footer.row_group(group).column(index) for group in range(footer.num_row_groups)]
        name = footer.schema.column(index).path
        columns = [chunk.statistics for chunk in chunks]
        if "." in name or not columns or any(column is None for column in columns):
            continue
        if all(column.has_null_count for column in columns):
            nulls[name] = sum(column.null_count for column in columns)
        with_values = [column for column in columns if column.num_values > 0]
        if not with_values or not all(column.has_min_max for column in with_values):
            continue
        try:
            smallest, largest = min(column.min for column in with_values), max(column.max for column in with_values)
        except (OverflowError, ValueError):  # a date that Python cannot hold; bounds only save time, and may be left out
            continue
        if _can_be_bound(smallest) and _can_be_bound(largest):
            minima[name], maxima[name] = _json_value(smallest), _json_value(largest)
    return {"numRecords": footer.num_rows, "minValues": minima, "maxValues": maxima, "nullCount": nulls}


def _can_be_bound(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= TEXT_LIMIT
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    return isinstance(value, int | date) and not isinstance(value, bool)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"  # strftime writes year 1 as "1"
    return value.isoformat() if isinstance(value, date) else value


def _partition_values(path: str) -> dict[str, str | None]:
    pairs = [part.split("=", 1) for part in path.split("/")[:-1] if "=" in part]
    return {name: None if value == EMPTY_PARTITION else unquote(value) for name, value in pairs}
