"""A driver killed with SIGKILL at random moments, and its JVM alone too: no record is lost, none is kept twice."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common import tables
from common.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

FILES, RECORDS_A_FILE, KILLS = 14, 150, 2
START = datetime(2026, 1, 1, 22, tzinfo=UTC)
DRIVER = Path(__file__).with_name("archive_driver.py")
RECORD = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)


def value(chance, number):
    """A reading over two days; one in ten repeats an earlier one, one in ten is broken."""
    if chance.random() < 0.1:
        return b"{broken"
    name = chance.randrange(number + 1) if chance.random() < 0.1 else number
    seen = START + timedelta(seconds=name)
    text = seen.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"reading_id": f"r{name}", "meter_id": "m", "event_time": text}).encode()


def write_input(folder, values):
    folder.mkdir()
    for file in range(FILES):
        span = range(file * RECORDS_A_FILE, (file + 1) * RECORDS_A_FILE)
        rows = [
            {"key": b"m", "value": values[n], "topic": "t", "partition": 0, "offset": n, "timestamp": START + timedelta(days=1)}
            for n in span
        ]
        path = folder / f"{file:03d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD), path)
        os.utime(path, (1_700_000_000 + file,) * 2)  # the order in which Spark takes the files


def start(folder):
    with (folder / "driver.log").open("ab") as log:
        return subprocess.Popen([sys.executable, DRIVER, folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def commits(workspace):
    return len(list(Path(workspace.table("events"), "_delta_log").glob("*.json")))


def kill_after(driver, workspace, new_commits, seconds, jvm_only):
    """SIGKILL once the run has made some commits; returns whether it still ran, with nothing of it left behind."""
    seen = commits(workspace)
    while commits(workspace) < seen + new_commits:
        if driver.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(seconds)
    family = psutil.Process(driver.pid).children(recursive=True)
    running = driver.poll() is None
    for victim in family if jvm_only else [driver]:
        with suppress(psutil.NoSuchProcess):  # Java starts some for a moment
            victim.kill()
    driver.wait(60)
    _, alive = psutil.wait_procs(family, timeout=60)
    for process in alive:
        process.kill()
    assert not alive, "a JVM outlived its driver"
    return running


def test_a_killed_archive_loses_and_doubles_nothing(tmp_path):
    chance = random.Random(11)
    values = [value(chance, number) for number in range(FILES * RECORDS_A_FILE)]
    write_input(tmp_path / "in", values)
    workspace = Workspace(tmp_path / "data", "meters")
    killed = 0
    for attempt in range(KILLS):
        killed += kill_after(start(tmp_path), workspace, chance.randint(1, 5), chance.random(), jvm_only=attempt == 1)
    last = start(tmp_path)
    assert last.wait(600) == 0, (tmp_path / "driver.log").read_text()[-3000:]
    assert killed == KILLS

    events = tables.read_arrow(workspace.table("events")).to_pylist()
    quarantine = tables.read_arrow(workspace.table("quarantine")).to_pylist()
    offsets = [row["kafka_offset"] for row in events + quarantine]
    assert sorted(offsets) == list(range(len(values)))
    first = {}
    for offset, bytes_ in enumerate(values):
        if bytes_ != b"{broken":
            first.setdefault(json.loads(bytes_)["reading_id"], offset)
    assert {row["reading_id"]: row["kafka_offset"] for row in events} == first
    assert {row["kafka_offset"] for row in quarantine if row["reason"] != "duplicate"} == {
        offset for offset, bytes_ in enumerate(values) if bytes_ == b"{broken"
    }
