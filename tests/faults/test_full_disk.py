"""A disk that fills up: archive, detection and compaction say so, and once there is room nothing is missing or twice."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common import tables
from common.embedded.kafka import EmbeddedKafka
from common.kafka.connection import Connection
from common.kafka.topics import end_offsets

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

DRIVER = Path(__file__).with_name("full_disk_driver.py")


def test_what_works_on_a_disk_that_fills_up_says_so_and_loses_nothing(tmp_path, program):
    disk, copy = tmp_path / "disk", tmp_path / "tables"
    disk.mkdir()
    with EmbeddedKafka(tmp_path / "kafka", partitions=2) as broker:
        servers = broker.bootstrap_servers
        generate = [sys.executable, "-m", "common.cli", "generate", "finance_fraud", "--rate", "100"]
        generator = subprocess.Popen([*generate, "--bootstrap-servers", servers], stdout=subprocess.DEVNULL, cwd=tmp_path)
        try:
            apart = [program("unshare", "util-linux"), "-rm"]
            command = [*apart, sys.executable, str(DRIVER), str(disk), servers, str(copy), str(generator.pid)]
            driver = subprocess.run(command, capture_output=True, text=True, timeout=900)
        finally:
            generator.terminate()
            generator.wait(60)
        assert driver.returncode == 0, driver.stderr
        came = sum(end_offsets(Connection(servers), "finance_fraud.events").values())
    told = json.loads(driver.stdout.splitlines()[-1])
    for stage in ("archive", "detect"):
        assert told[stage]["code"] == 1, told[stage]
        assert re.search("No space left|disk is full", told[stage]["printed"]), told[stage]
        assert "Traceback" not in told[stage]["printed"]
    for stage in ("detect again", "archive again", "reconcile"):
        assert told[stage]["code"] == 0, told[stage]
    compacted = told["compact"]
    assert "No space left" in compacted["said"], compacted
    assert compacted["readable"] and compacted["kept"] and compacted["replaced"] > 1, compacted
    places = [
        (row["kafka_partition"], row["kafka_offset"])
        for name in ("events", "quarantine")
        for row in tables.read_arrow(str(copy / name)).to_pylist()
        if name == "events" or row["topic"] == "finance_fraud.events"
    ]
    assert len(places) == len(set(places)), "kept twice"
    assert len(places) == came
