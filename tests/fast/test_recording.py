"""The record of running queries: what judged each offset, in few rows and files however long the queries run."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import tables
from common.streaming import progress_log
from common.streaming.lineage_rows import JUDGED_SCHEMA
from common.streaming.progress_log import ProgressLog


class Progress:
    """As Spark's, of a batch of ten records of a topic's one partition."""

    def __init__(self, number, watermark):
        self.number, self.at, self.watermark = number, datetime.now(UTC).isoformat(), watermark

    def batchId(self):
        return self.number

    def timestamp(self):
        return self.at

    def json(self):
        places = {f"{end}Offset": {"t": {"0": 10 * (self.number + after)}} for after, end in enumerate(("start", "end"))}
        return json.dumps(
            {
                "id": "c",
                "batchId": self.number,
                "timestamp": self.at,
                "batchDuration": 1,
                "sources": [places],
                "eventTime": {"watermark": self.watermark},
            }
        )


class Busy:
    """A query that has finished one batch more each time it is asked."""

    isActive = True

    def __init__(self, moves):
        self._jsq, self.progress, self.moves = self, [], moves

    def lastProgress(self):
        self.progress.append(Progress(len(self.progress), datetime.now(UTC).isoformat() if self.moves else None))
        return self.progress[-1]

    def recentProgress(self):
        return self.progress


@pytest.mark.parametrize("moves", [False, True], ids=["no watermark", "watermark moves"])
def test_what_is_recorded_batch_by_batch_comes_to_lie_in_few_files_and_rows_where_they_say_the_same(tmp_path, monkeypatch, moves):
    monkeypatch.setattr(progress_log, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(progress_log, "MERGE_EVERY_COMMITS", 5)
    monkeypatch.setattr(progress_log, "MAX_REPLACED_HOURS", 0)
    path, query = str(tmp_path / "judged"), Busy(moves)
    tables.ensure_table(path, JUDGED_SCHEMA)
    recorder = ProgressLog(path)
    recorder.start(["q"])
    recorder.follow("q", query)
    deadline = time.monotonic() + 60
    while len(query.progress) < 23 and time.monotonic() < deadline:
        time.sleep(0.01)
    recorder.close()
    rows = [row for row in tables.read_arrow(path).sort_by("ended_at").to_pylist() if row["batch"] is not None]
    ends = [row["end_offset"] for row in rows]
    assert [row["start_offset"] for row in rows] == [0, *ends[:-1]]
    assert len(query.progress) >= 23 and ends[-1] == 10 * len(query.progress)
    assert len(rows) == len(query.progress) if moves else len(rows) <= 1 + 5
    assert len(tables.files(path)) <= 1 + 5
    assert len([*Path(path).rglob("*.parquet")]) <= 2 * (1 + 5) + 1, "replaced files, those of the last time apart"
