"""The stages as a user runs them, each a process of its own, over one broker; nothing is left running afterwards."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from common import tables
from common.processing.schedule import RUNS_SCHEMA
from common.vertical import find_vertical
from common.workspace import Workspace

pytestmark = pytest.mark.broker

RULES = find_vertical("finance_fraud").rules


STARTED = []


@pytest.fixture(autouse=True, scope="module")
def nothing_left_running():
    """A test that fails leaves what it started to this."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def start(data, *words):
    process = subprocess.Popen(
        [sys.executable, "-m", "common.cli", *words, "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    STARTED.append(process)
    return process


def finish(data, *words, timeout=180):
    process = start(data, *words)
    printed, _ = process.communicate(timeout=timeout)
    return process.returncode, printed


def below(process):
    """All processes that it started, however deep."""
    return psutil.Process(process.pid).children(recursive=True)


def java_below(process, *words):
    """The one Java process that it started with these words in its command; workers come and go meanwhile."""
    found = []
    for each in below(process):
        with suppress(psutil.NoSuchProcess):
            if each.name() == "java" and set(words) <= set(each.cmdline()):
                found.append(each)
    [java] = found
    return java


def wait_for_end(processes, seconds=20):
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [process.cmdline() for process in alive]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder in which `hybrid broker` runs."""
    folder = tmp_path_factory.mktemp("stages")
    broker = start(folder, "broker")
    line = broker.stdout.readline()
    assert "Kafka at 127.0.0.1" in line, line
    started = below(broker)
    yield folder
    broker.send_signal(signal.SIGINT)
    assert broker.wait(30) == 130
    assert wait_for_end(started) == []


def test_what_is_generated_is_archived_once_each(data):
    code, printed = finish(data, "generate", "finance_fraud", "--for", "4s", "--rate", "500")
    assert code == 0, printed
    sent = int(re.search(r"sent ([\d,]+) events", printed)[1].replace(",", ""))
    for _ in range(2):  # a second time there is nothing to do
        code, printed = finish(data, "archive", "finance_fraud", "--until-idle")
        assert code == 0, printed
        workspace = Workspace(data, "finance_fraud")
        kept, refused = (tables.row_count(workspace.table(name)) for name in ("events", "quarantine"))
        assert kept + refused == sent
        assert refused > 0, "the generator sends some dirt"


def test_detection_says_how_each_rule_runs_and_ends_at_a_signal(data):
    detecting = start(data, "detect", "finance_fraud")
    printed = []
    while "judging" not in "".join(printed[-1:]):
        printed.append(detecting.stdout.readline())
        assert printed[-1], "".join(printed)
    assert sum("real-time" in line for line in printed) == len(RULES)
    started = below(detecting)
    detecting.send_signal(signal.SIGTERM)
    assert detecting.wait(30) == 128 + signal.SIGTERM
    assert wait_for_end(started) == []


def test_serve_catches_up_a_batch_run_that_was_missed_and_ends_at_a_signal(data):
    workspace = Workspace(data, "finance_fraud")
    tables.ensure_table(workspace.table("batch_runs"), RUNS_SCHEMA)
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=1)
    row = {"started_at": yesterday, "ended_at": yesterday, "outcome": "done"}
    tables.append_rows([row], RUNS_SCHEMA, workspace.table("batch_runs"))
    serving = start(data, "serve", "finance_fraud")
    printed = []
    while "batch: " not in "".join(printed[-1:]):
        printed.append(serving.stdout.readline())
        assert printed[-1], "".join(printed)
    assert sum("real-time" in line for line in printed) == len(RULES)
    assert "in force" in printed[-1] and "stream and history agree" in printed[-1], "".join(printed)
    assert tables.row_count(workspace.table("batch_runs")) == 2
    started = below(serving)
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(30) == 128 + signal.SIGTERM
    assert wait_for_end(started) == []


def test_a_schedule_that_is_none_is_told(data):
    code, printed = finish(data, "serve", "finance_fraud", "--schedule", "at night")
    assert code == 1 and "five cron fields" in printed


def test_a_run_whose_broker_is_taken_away_says_so_and_leaves_nothing_running(tmp_path):
    running = start(tmp_path, "run", "finance_fraud", "--for", "120s", "--history-days", "30")
    printed = []
    while "archive lag" not in "".join(printed[-1:]):
        printed.append(running.stdout.readline())
        assert printed[-1], "".join(printed)
    started = below(running)
    java_below(running, "kafka.Kafka").kill()
    rest, _ = running.communicate(timeout=150)
    assert running.returncode == 1, rest
    assert "Kafka" in rest and "Traceback" not in rest
    assert wait_for_end(started) == []


def test_a_run_that_is_interrupted_leaves_nothing_running(tmp_path):
    running = start(tmp_path, "run", "finance_fraud", "--for", "60s", "--history-days", "30")
    time.sleep(20)
    started = below(running)
    assert started, "a broker and Spark are there by now"
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=60)
    assert running.returncode == 130, printed
    assert wait_for_end(started) == []


def test_a_run_that_is_killed_leaves_nothing_running(tmp_path):
    running = start(tmp_path, "run", "finance_fraud", "--for", "60s", "--history-days", "30")
    time.sleep(20)
    started = below(running)
    running.kill()
    running.wait()
    assert wait_for_end(started, 30) == []


def test_a_second_archive_is_refused_and_a_spark_that_is_killed_is_told_in_words(data):
    archive = start(data, "archive", "finance_fraud")
    while "archiving to" not in (line := archive.stdout.readline()):
        assert line
    code, printed = finish(data, "archive", "finance_fraud", timeout=60)
    assert code == 1 and "archive of finance_fraud runs in" in printed, "a second one is refused"
    java_below(archive).kill()
    printed, _ = archive.communicate(timeout=60)
    assert archive.returncode == 1, printed
    assert "Java process is gone" in printed and "Traceback" not in printed


def test_a_broker_that_goes_away_is_told_in_words(tmp_path):
    broker = start(tmp_path, "broker")
    assert "Kafka at" in broker.stdout.readline()
    archive = start(tmp_path, "archive", "finance_fraud")
    while "archiving to" not in (line := archive.stdout.readline()):
        assert line
    broker.kill()
    broker.wait()
    printed, _ = archive.communicate(timeout=150)
    assert archive.returncode == 1, printed
    assert "127.0.0.1" in printed or "Kafka" in printed
    assert "Traceback" not in printed
