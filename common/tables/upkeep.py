"""Upkeep of tables: joins small files, and removes files that no reader needs any more."""

import contextlib
import logging
import threading
from collections import Counter
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from common.errors import UserError
from common.failures import describe_failure
from common.tables.log import absolute_uri, open_table, table_exists, table_location
from common.tables.rewrite_lock import rewrite_lock
from common.tables.writing import BATCH_FOLDER

LOG = logging.getLogger(__name__)

RETENTION_HOURS = 168
TARGET_BYTES = 64 * 1024 * 1024
LONGEST_WRITE_HOURS = 24  # from a write's first file to its commit; until then its files look like those of a killed write
MAX_PARTITIONS = 20  # compacted by one run
PAUSE_SECONDS = 0.05  # after each, so that a merge that waits for the lock gets it


class UpkeepFailed(UserError):
    """The upkeep of some tables failed; the message says which, and why. They are as they were."""


def compact(path: str | Path, partition: dict[str, str] | None = None, target_bytes: int = TARGET_BYTES) -> int:
    """Joins files smaller than `target_bytes`, of the whole table or of one partition; returns how many files it replaced."""
    filters = [(name, "=", value) for name, value in (partition or {}).items()]
    with rewrite_lock(path):
        metrics = open_table(path).optimize.compact(partition_filters=filters or None, target_size=target_bytes)
    return int(metrics["numFilesRemoved"])


def vacuum(path: str | Path, retention_hours: int = RETENTION_HOURS, orphans: bool = False) -> list[str]:
    """Deletes files that left the table more than `retention_hours` ago; returns their paths.

    orphans: also files of that age that never were in the table (of a killed write); this lists the whole folder. The files of
    a running write look the same but are young: keep the retention above the longest write, and above the longest read.
    """
    table, is_local = open_table(path), "://" not in absolute_uri(path)
    try:
        removed = table.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False, full=orphans)
    except (DeltaError, OSError):
        # delta-rs first writes into the log what it will delete; on a full disk that fails, so room is made without it.
        if not is_local:
            raise
        removed = _delete_vacuumed(table, retention_hours, orphans)
    if is_local:
        _remove_folders(Path(absolute_uri(path)), removed)
    return list(removed)


def maintain(
    path: str | Path,
    min_files: int = 8,
    target_bytes: int = TARGET_BYTES,
    retention_hours: int = RETENTION_HOURS,
    ending: threading.Event | None = None,
) -> int:
    """Vacuums, then compacts the partitions that have `min_files` small files or more; returns how many files it replaced.

    Vacuum comes first, as compaction needs room. One run takes the MAX_PARTITIONS partitions with the most small files, later
    runs the others; once `ending` is set, no further one is begun.
    """
    vacuum(path, retention_hours)
    replaced, ending = 0, ending or threading.Event()
    for partition, count in _small_files(path, target_bytes).most_common(MAX_PARTITIONS):
        if count < min_files or ending.is_set():
            break
        try:
            replaced += compact(path, dict(partition), target_bytes)
        except CommitFailedError as conflict:
            # Another writer rewrote the same files at the same time: the next run compacts them.
            LOG.info("%s: compaction of %s left for later (%s)", path, dict(partition), conflict)
        ending.wait(PAUSE_SECONDS)
    return replaced


def maintain_all(folder: str | Path, retention_hours: int = RETENTION_HOURS) -> int:
    """`maintain` every table in a folder, and remove files of killed writes; returns how many files it replaced.

    A failure of one table does not end the upkeep of the others. Raises UpkeepFailed at the end.
    """
    replaced, problems = 0, []
    for path in sorted(Path(folder).iterdir()) if Path(folder).exists() else []:
        try:
            if table_exists(path):
                replaced += maintain(path, retention_hours=retention_hours)
                vacuum(path, max(retention_hours, LONGEST_WRITE_HOURS), orphans=True)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as problem:  # a panic of delta-rs is no Exception
            problems.append(f"{path}: {describe_failure(problem)}")
    if problems:
        raise UpkeepFailed(f"no upkeep of {'; '.join(problems)}")
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


def _delete_vacuumed(table: DeltaTable, retention_hours: int, orphans: bool) -> list[str]:
    """Delete what vacuum would delete, without an entry in the log."""
    removed = table.vacuum(retention_hours, dry_run=True, enforce_retention_duration=False, full=orphans)
    for name in removed:
        Path(table_location(table), name).unlink(missing_ok=True)
    return list(removed)


def _remove_folders(table: Path, removed: list[str]) -> None:
    """Remove empty folders of vacuumed batches, with Hadoop's hidden checksums; only file systems have them."""
    for folder in sorted({(table / name).parent for name in removed if name.startswith(f"{BATCH_FOLDER}/")}):
        for checksum in folder.glob(".*.crc"):
            if not folder.joinpath(checksum.name[1:].removesuffix(".crc")).exists():
                checksum.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: a file in it is still needed
            # The query's own folder stays: its next batch may be creating a folder in it at this moment.
            while len(folder.relative_to(table).parts) > 2:
                folder.rmdir()
                folder = folder.parent
