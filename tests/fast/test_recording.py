"""The record of running queries: a row for each partition of each batch, in few files however long the queries run."""

import json
import time
from datetime import UTC, datetime

from common import tables
from common.processing import recording
from common.processing.judged import JUDGED_SCHEMA
from common.processing.recording import Recorder


class Progress:
    """As Spark's, of a batch of ten records of a topic's one partition."""

    def __init__(self, number):
        self.number, self.at = number, datetime.now(UTC).isoformat()

    def batchId(self):
        return self.number

    def timestamp(self):
        return self.at

    def json(self):
        places = {f"{end}Offset": {"t": {"0": 10 * (self.number + after)}} for after, end in enumerate(("start", "end"))}
        return json.dumps({"id": "c", "batchId": self.number, "timestamp": self.at, "batchDuration": 1, "sources": [places]})


class Busy:
    """A query that has finished one batch more each time it is asked."""

    isActive = True

    def __init__(self):
        self._jsq, self.progress = self, []

    def lastProgress(self):
        self.progress.append(Progress(len(self.progress)))
        return self.progress[-1]

    def recentProgress(self):
        return self.progress


def test_what_is_recorded_batch_by_batch_comes_to_lie_in_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "EVERY", 0.01)
    monkeypatch.setattr(recording, "COMPACT_EVERY", 5)
    path, query = str(tmp_path / "judged"), Busy()
    tables.ensure_table(path, JUDGED_SCHEMA)
    recorder = Recorder(path)
    recorder.start(["q"])
    recorder.follow("q", query)
    deadline = time.monotonic() + 60
    while len(query.progress) < 23 and time.monotonic() < deadline:
        time.sleep(0.01)
    recorder.close()
    rows = [row for row in tables.read_arrow(path).sort_by("ended_at").to_pylist() if row["batch"] is not None]
    assert [row["end_offset"] for row in rows] == [10 * (number + 1) for number in range(len(query.progress))]
    assert len(rows) >= 23 and len(tables.files(path)) <= 1 + 5
