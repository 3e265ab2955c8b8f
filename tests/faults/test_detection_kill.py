"""Real-time detection killed with SIGKILL under load, windowed state and all: in the end stream and history agree."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from common import tables
from common.ingestion.connection import Connection
from common.ingestion.topics import end_offsets
from common.workspace import Workspace
from finance_fraud.detector import QUERIES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

KILLS, RATE = 2, 250


def start(data, *words):
    environment = {**os.environ, "COLUMNS": "200", "HYBRID_CHECKPOINT_INTERVAL": "5"}
    command = [sys.executable, "-m", "common.cli", *words, "--data", str(data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(data, *words):
    process = start(data, *words)
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def end(process, number=signal.SIGTERM):
    if process.poll() is None:
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.wait(60)
        _, alive = psutil.wait_procs(below, timeout=30)
        assert not alive


def wait_for(process, text):
    """The first line that it prints with `text` in it."""
    printed = []
    while text not in "".join(printed[-1:]):
        printed.append(process.stdout.readline())
        assert printed[-1], "".join(printed)
    return printed[-1]


def judged(data):
    """By query and partition, the offset up to which batches have ended."""
    path = Workspace(data, "finance_fraud").table("judged")
    if not tables.table_exists(path):
        return {}
    rows = [row for row in tables.read_arrow(path).to_pylist() if row["end_offset"] is not None]
    return {(row["query"], row["kafka_partition"]): row["end_offset"] for row in sorted(rows, key=lambda row: row["end_offset"])}


def wait_until(condition, what, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{seconds} s, and not yet: {what}"
        time.sleep(1)


def test_alerts_equal_history_after_kills_of_detection_under_load(tmp_path):
    chance = random.Random(20260101)
    broker = start(tmp_path, "broker")
    running = [broker]
    try:
        servers = re.search(r"Kafka at (\S+);", wait_for(broker, "Kafka at"))[1]
        running.append(generator := start(tmp_path, "generate", "finance_fraud", "--rate", str(RATE)))
        for kill in range(KILLS + 1):
            running.append(detecting := start(tmp_path, "detect", "finance_fraud"))
            wait_for(detecting, "judging")
            before = judged(tmp_path)
            wait_until(lambda before=before: judged(tmp_path) != before, "a batch of detection ends")
            if kill < KILLS:
                time.sleep(chance.uniform(0, 8))
                end(detecting, signal.SIGKILL)
        end(generator)
        ends = end_offsets(Connection(servers), "finance_fraud.events")
        everything = {(query.name, partition): end for query in QUERIES for partition, end in ends.items()}
        wait_until(lambda: judged(tmp_path) == everything, "all is judged")
        end(detecting)
        code, printed = finish(tmp_path, "archive", "finance_fraud", "--until-idle")
        assert code == 0, printed
        code, printed = finish(tmp_path, "reconcile", "finance_fraud")
        assert code == 0, printed
        equal = re.findall(r"^(?:velocity|card_testing|impossible_travel)\s+(\d+)", printed, re.MULTILINE)
        assert sum(map(int, equal)) > 20, printed
    finally:
        for process in reversed(running):
            end(process)
