"""Upkeep: small files become larger ones, and files that no reader needs any more are removed."""

import contextlib
import logging
from collections import Counter
from pathlib import Path

from deltalake.exceptions import CommitFailedError, DeltaError

from common.tables.log import open_table, table_exists, uri
from common.tables.rewriting import rewriting
from common.tables.writing import FOLDER

LOG = logging.getLogger(__name__)

RETENTION_HOURS = 168
TARGET_BYTES = 64 * 1024 * 1024
MOST_PARTITIONS = 500  # that one run compacts
LONGEST_WRITE_HOURS = 24  # from a write's first file to its commit; until then its files look like those of a killed one


def compact(path: str | Path, partition: dict[str, str] | None = None, target_bytes: int = TARGET_BYTES) -> int:
    """Joins files smaller than `target_bytes`, of the whole table or of one partition; returns how many files it replaced."""
    filters = [(name, "=", value) for name, value in (partition or {}).items()]
    with rewriting(path):
        metrics = open_table(path).optimize.compact(partition_filters=filters or None, target_size=target_bytes)
    return int(metrics["numFilesRemoved"])


def vacuum(path: str | Path, retention_hours: int = RETENTION_HOURS, orphans: bool = False) -> list[str]:
    """Deletes files that left the table more than `retention_hours` ago; returns their paths.

    orphans: also files that never were in it (of a write that was killed) when they are as old, which lists the whole
    folder. The files of a running write look the same but are young: keep the retention above the longest write, and
    above the longest read.
    """
    table = open_table(path)
    removed = table.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False, full=orphans)
    if "://" not in uri(path):
        _remove_folders(Path(uri(path)), removed)
    return list(removed)


def maintain(
    path: str | Path, min_files: int = 8, target_bytes: int = TARGET_BYTES, retention_hours: int = RETENTION_HOURS
) -> int:
    """Compacts the partitions that have `min_files` small files or more, then vacuums; returns how many files it replaced.

    Of very many partitions those with the most such files have their turn, and the others at another time.
    """
    replaced = 0
    for partition, count in _small_files(path, target_bytes).most_common(MOST_PARTITIONS):
        if count < min_files:
            continue
        try:
            replaced += compact(path, dict(partition), target_bytes)
        except CommitFailedError as conflict:
            # Somebody rewrote the same files at this moment, which is fine: there is a next time.
            LOG.info("%s: compaction of %s left for later (%s)", path, dict(partition), conflict)
    vacuum(path, retention_hours)
    return replaced


def maintain_all(folder: str | Path, retention_hours: int = RETENTION_HOURS) -> int:
    """`maintain` of every table in a folder, each also rid of what killed writes left; returns how many files it replaced.

    One that fails keeps no other from its upkeep; what the first to fail raised is raised at the end.
    """
    replaced, problems = 0, []
    for path in sorted(Path(folder).iterdir()) if Path(folder).exists() else []:
        try:
            if table_exists(path):
                replaced += maintain(path, retention_hours=retention_hours)
                vacuum(path, max(retention_hours, LONGEST_WRITE_HOURS), orphans=True)
        except (DeltaError, OSError) as problem:
            LOG.warning("%s: no upkeep: %s", path, problem)
            problems.append(problem)
    if problems:
        raise problems[0]
    return replaced


def _small_files(path: str | Path, target_bytes: int) -> Counter[tuple[tuple[str, str], ...]]:
    table = open_table(path)
    actions = table.get_add_actions(flatten=True)
    names = table.metadata().partition_columns
    values = [actions.column(f"partition.{name}").to_pylist() for name in names]
    partitions = zip(*values, strict=True) if names else [()] * actions.num_rows
    sized = zip(partitions, actions.column("size_bytes").to_pylist(), strict=True)
    return Counter(
        tuple((name, str(value)) for name, value in zip(names, partition, strict=True))
        for partition, size in sized
        if size < target_bytes and None not in partition
    )


def _remove_folders(table: Path, removed: list[str]) -> None:
    """A file system keeps the folders of vacuumed batches, with Hadoop's hidden checksums in them; object stores have none."""
    for folder in sorted({(table / name).parent for name in removed if name.startswith(f"{FOLDER}/")}):
        for checksum in folder.glob(".*.crc"):
            if not folder.joinpath(checksum.name[1:].removesuffix(".crc")).exists():
                checksum.unlink(missing_ok=True)
        with contextlib.suppress(OSError):      # not empty: something in it is still needed
            # The query's own folder stays: its next batch may be making its folder in it at this moment.
            while len(folder.relative_to(table).parts) > 2:
                folder.rmdir()
                folder = folder.parent
