"""A disk that fills up while the archive runs: it ends with a message, and once there is room nothing is missing or twice."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import tables
from common.embedded.kafka import EmbeddedKafka
from common.ingestion.connection import Connection
from common.ingestion.topics import end_offsets

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

DRIVER = Path(__file__).with_name("full_disk_driver.py")


def test_an_archive_whose_disk_fills_up_says_so_and_loses_nothing(tmp_path):
    disk, copy = tmp_path / "disk", tmp_path / "tables"
    disk.mkdir()
    with EmbeddedKafka(tmp_path / "kafka", partitions=2) as broker:
        servers = broker.bootstrap_servers
        generate = [sys.executable, "-m", "common.cli", "generate", "finance_fraud", "--rate", "300", "--for", "60s"]
        generator = subprocess.Popen([*generate, "--bootstrap-servers", servers], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        time.sleep(2)
        try:
            command = ["unshare", "-rm", sys.executable, str(DRIVER), str(disk), servers, str(copy)]
            driver = subprocess.run(command, capture_output=True, text=True, timeout=500)
            assert driver.returncode == 0, driver.stderr
            told = json.loads(driver.stdout.splitlines()[-1])
            assert told["code"] == 1, told["printed"]
            assert re.search("No space left|disk is full", told["printed"]), told["printed"]
            assert "Traceback" not in told["printed"]
            assert told["code_again"] == 0, told["printed_again"]
        finally:
            sent, _ = generator.communicate(timeout=120)
        assert generator.returncode == 0, sent
        came = sum(end_offsets(Connection(servers), "finance_fraud.events").values())
    places = [
        (row["kafka_partition"], row["kafka_offset"])
        for name in ("events", "quarantine")
        for row in tables.read_arrow(str(copy / name)).to_pylist()
        if name == "events" or row["topic"] == "finance_fraud.events"
    ]
    assert len(places) == len(set(places)), "kept twice"
    assert len(places) == came
