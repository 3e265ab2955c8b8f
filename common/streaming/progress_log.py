"""Writes the lineage of running queries: a row in table `judged` for each partition of each batch that they finish.

From time to time rows that say the same of neighbouring offsets are merged (`lineage_rows`).

Progress is fetched from Spark rather than sent by it: a listener gets it through a queue, which is minutes long where the cores
are busy and is thrown away with the query, and every listener turns every query's progress into Python objects.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

import pyarrow.compute as pc
from py4j.protocol import Py4JError
from pyspark.sql.streaming import StreamingQuery

from common import tables
from common.clock import now_after
from common.spark.session import java_is_gone
from common.streaming.behind_watermark import WatermarkWatch
from common.streaming.lineage_rows import JUDGED_SCHEMA, merge_rows
from common.streaming.progress import QueryProgress
from common.tables.upkeep import RETENTION_HOURS
from common.thresholds import THRESHOLDS

LOG = logging.getLogger(__name__)

# Spark remembers 100 batches of a query: looking less often, the log would miss some.
INTERVAL_SECONDS = 1.0
GRACE_SECONDS = 5.0
MERGE_EVERY_COMMITS = 500  # each leaves a file, which every reader of the table opens
MAX_REPLACED_HOURS = 24  # that replaced files stay: a busy query leaves tens of thousands a day


class ProgressLog:
    """Records what the queries that it follows report, until it is closed: close it after they have stopped.

    progress: by query, how far it is by the same reports. vacuum_hours: age at which replaced files are removed.
    """

    def __init__(self, path: str, vacuum_hours: int = RETENTION_HOURS):
        self._vacuum_hours = vacuum_hours
        self.watermarks = WatermarkWatch()
        self._path = path
        self._ended_at: dict[str, datetime] = {}
        self._followed: list[_FollowedQuery] = []
        self.progress: dict[str, QueryProgress] = {}
        self._unwritten: list[dict[str, Any]] = []
        self._commits = 0
        self._rows_since_merge, self._merged_rows = 0, 0
        self._closing = Event()
        self._thread = Thread(target=self._work, name="progress log", daemon=True)

    def start(self, names: Iterable[str]) -> None:
        """Record that the queries start, and from when on they read what is in force: their first report may take minutes."""
        newest = pc.max(tables.read_arrow(self._path, columns=["ended_at"])["ended_at"]).as_py()
        self._ended_at = dict.fromkeys(sorted(names), now_after(newest))
        self._unwritten += [{"query": name, "ended_at": started_at} for name, started_at in self._ended_at.items()]
        self._write()
        self._thread.start()

    def follow(self, name: str, streaming: StreamingQuery) -> None:
        """Record the batches of `streaming`, which is the query `name`."""
        self._followed.append(_FollowedQuery(name, streaming))
        self.progress.setdefault(name, QueryProgress())

    def close(self) -> None:
        """Write what is unwritten, within GRACE_SECONDS: a JVM that is in trouble may not answer."""
        self._closing.set()
        self._thread.join(GRACE_SECONDS)
        if self._unwritten:
            LOG.error("which versions judged %d batches is not known: %s could not be written", len(self._unwritten), self._path)

    def _work(self) -> None:
        while not self._closing.wait(INTERVAL_SECONDS):
            self._record()
            self._merge()
        self._record()

    def _record(self) -> None:
        for followed in list(self._followed):
            try:
                has_ended = not followed.streaming.isActive
                for report in followed.new_reports():
                    self.progress[followed.name].update(report)
                    self.watermarks.update(followed.name, report)
                    self._unwritten += self._rows(followed.name, report)
            except (Py4JError, OSError) as problem:  # looked at again in a second, unless the JVM has ended
                LOG.info("progress of %s cannot be read: %s", followed.name, str(problem).partition("\n")[0])
                has_ended = java_is_gone()
            if has_ended:
                self._followed.remove(followed)
        self._write()

    def _write(self) -> None:
        rows = self._unwritten
        if not rows:
            return
        try:
            tables.append_rows(rows, JUDGED_SCHEMA, self._path)
            self._unwritten = self._unwritten[len(rows) :]
            self._commits += 1
            self._rows_since_merge += len(rows)
        except Exception as problem:  # tried again: a full disk may have room later
            LOG.warning("which versions judged %d batches waits to be written: %s", len(rows), str(problem).partition("\n")[0])

    def _merge(self) -> None:
        """Merge rows; or, where few have come since, files: a watermark that moves leaves most of the rows.

        And remove files that were replaced long ago: no other upkeep may run on this folder for months.
        """
        if self._commits < MERGE_EVERY_COMMITS:
            return
        self._commits = 0
        try:
            tables.vacuum(self._path, min(MAX_REPLACED_HOURS, self._vacuum_hours))  # first, as the rest needs room
            if self._rows_since_merge >= self._merged_rows:
                self._merged_rows, self._rows_since_merge = tables.rewrite(self._path, merge_rows), 0
            else:
                tables.compact(self._path)
        except Exception as problem:  # there is a next time, and files that are many are no reason to record nothing
            LOG.info("rows of %s were not merged: %s", self._path, str(problem).partition("\n")[0])

    def _rows(self, name: str, progress: dict[str, Any]) -> Iterator[dict[str, Any]]:
        metrics = progress.get("observedMetrics", {})
        versions, watermark = metrics.get("versions") or {}, progress.get("eventTime", {}).get("watermark")
        ended_at = datetime.fromisoformat(progress["timestamp"]) + timedelta(milliseconds=progress["batchDuration"])
        # Strictly increasing, even if the machine's clock was set back.
        self._ended_at[name] = max(ended_at, self._ended_at[name] + timedelta(microseconds=1))
        row = {
            "query": name,
            "checkpoint": progress["id"],
            "batch": progress["batchId"],
            "baseline_version": versions.get("baseline_version"),
            "model_version": versions.get("model_version"),
            "settings_version": (metrics.get(THRESHOLDS) or {}).get("settings_version"),
            "watermark": datetime.fromisoformat(watermark) if watermark else None,
            "ended_at": self._ended_at[name],
        }
        for source in progress["sources"]:
            for offsets in _offsets(source.get("startOffset"), source.get("endOffset")):
                yield row | offsets


class _FollowedQuery:
    """A running query and how far its progress was read."""

    def __init__(self, name: str, streaming: StreamingQuery):
        self.name, self.streaming = name, streaming
        self._last_read: tuple[int, str] | None = None

    def new_reports(self) -> list[dict[str, Any]]:
        """Progress since the last call, oldest first, as Spark's JSON."""
        # PySpark's own property would turn all of the hundred into Python objects, at a hundred calls to the JVM each.
        java = self.streaming._jsq
        newest = java.lastProgress()
        if newest is None or _key(newest) == self._last_read:
            return []
        recent, unread = java.recentProgress(), []
        for progress in (recent[index] for index in reversed(range(len(recent)))):
            if _key(progress) == self._last_read:
                break
            unread.append(progress)
        self._last_read = _key(unread[0])
        return [json.loads(progress.json()) for progress in reversed(unread)]


def _key(progress: Any) -> tuple[int, str]:
    return progress.batchId(), progress.timestamp()


def _offsets(start: Any, end: Any) -> Iterator[dict[str, int]]:
    """Per partition, the offsets between two of a Kafka source's positions; none where it is unknown."""
    starts = start if isinstance(start, dict) else {}
    for topic, ends in (end if isinstance(end, dict) else {}).items():
        for partition, offset in ends.items():
            start_offset = starts.get(topic, {}).get(partition, 0)
            yield {"kafka_partition": int(partition), "start_offset": start_offset, "end_offset": offset}
