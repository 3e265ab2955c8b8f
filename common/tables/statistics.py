"""What a Delta log says of a file, from the Parquet file's footer: rows, smallest and largest values, nulls."""

import json
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyarrow import fs

TEXT_LIMIT = 64     # characters; a longer smallest or largest text is left out, not cut
EMPTY_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def describe(files: fs.FileSystem, info: fs.FileInfo) -> AddAction:
    """The log's entry for one Parquet file, its path relative to the table's folder."""
    footer = pq.read_metadata(info.path, filesystem=files)
    return AddAction(
        path=info.path,
        size=info.size,
        partition_values=_partition(info.path),
        modification_time=int(info.mtime_ns // 1_000_000),
        data_change=True,
        stats=json.dumps(statistics(footer)),
    )


def rows(action: AddAction) -> int:
    """How many rows the file has."""
    return int(json.loads(action.stats)["numRecords"])


def statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """numRecords, minValues, maxValues and nullCount over all row groups; nested columns are left out."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index in range(footer.num_columns):
        chunks = [footer.row_group(group).column(index) for group in range(footer.num_row_groups)]
        name = footer.schema.column(index).path
        found = [chunk.statistics for chunk in chunks]
        if "." in name or not found or any(each is None for each in found):
            continue
        if all(each.has_null_count for each in found):
            nulls[name] = sum(each.null_count for each in found)
        bounded = [each for each in found if each.num_values > 0]
        if not bounded or not all(each.has_min_max for each in bounded):
            continue
        try:
            smallest, largest = min(each.min for each in bounded), max(each.max for each in bounded)
        except (OverflowError, ValueError):  # a date beyond Python's; bounds are for speed, and may be left out
            continue
        if _can_be_bound(smallest) and _can_be_bound(largest):
            low[name], high[name] = _as_json(smallest), _as_json(largest)
    return {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}


def _can_be_bound(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= TEXT_LIMIT
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    return isinstance(value, int | date) and not isinstance(value, bool)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"  # strftime writes year 1 as "1"
    return value.isoformat() if isinstance(value, date) else value


def _partition(path: str) -> dict[str, str | None]:
    pairs = [part.split("=", 1) for part in path.split("/")[:-1] if "=" in part]
    return {name: None if value == EMPTY_PARTITION else unquote(value) for name, value in pairs}
