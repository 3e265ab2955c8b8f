"""SIGTERM at any moment, start-up included: a stage ends within what service managers wait for, and leaves nothing running."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from common import tables
from common.batch.schedule import CUT_SHORT, RUNS_SCHEMA
from common.embedded.kafka import EmbeddedKafka
from common.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

GRACE = 10  # seconds: what `supervise` and container runtimes give before they kill
ENDED = (128 + signal.SIGTERM, -signal.SIGTERM)  # the latter while Python still imports


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), partitions=2) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="module")
def generating(kafka, tmp_path_factory):
    """Events come for as long as the tests last."""
    generate = [sys.executable, "-m", "common.cli", "generate", "finance_fraud", "--bootstrap-servers", kafka]
    environment = os.environ | {"HYBRID_DATA": str(tmp_path_factory.mktemp("generator"))}
    generator = subprocess.Popen(generate, stdout=subprocess.DEVNULL, env=environment)
    yield
    generator.send_signal(signal.SIGTERM)
    generator.wait(GRACE)


def started(stage, kafka, data, *words):
    command = [sys.executable, "-m", "common.cli", stage, "finance_fraud", "--bootstrap-servers", kafka, "--data", str(data)]
    return subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(running):
    """What it printed, after a SIGTERM by which it ended in time."""
    below = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        running.wait(GRACE)
    _, alive = psutil.wait_procs(below, timeout=GRACE)
    left = [process.cmdline() for process in alive]
    for process in alive:
        process.kill()
    running.kill()
    printed, _ = running.communicate()
    assert left == [], printed
    assert running.returncode in ENDED, printed
    assert "Traceback" not in printed
    return printed


@pytest.mark.parametrize("moments", [3, pytest.param(12, marks=pytest.mark.long)])
@pytest.mark.parametrize("stage", ["archive", "detect"])
def test_a_stage_ends_at_sigterm_whatever_it_is_doing(kafka, generating, tmp_path, stage, moments):
    chance = random.Random(stage)
    for number in range(moments):
        running = started(stage, kafka, tmp_path)
        time.sleep(2 + (number + chance.random()) * 20 / moments)  # from imports and Spark's start to work
        ended(running)


def test_serve_ends_at_sigterm_while_batch_is_at_work_which_is_no_failure(kafka, generating, tmp_path):
    runs = Workspace(tmp_path, "finance_fraud").table("batch_runs")
    tables.ensure_table(runs, RUNS_SCHEMA)
    long_ago = datetime.now(UTC) - timedelta(days=2)  # so that a run was missed, and begins at once
    tables.append_rows([{"started_at": long_ago, "ended_at": long_ago, "outcome": "done"}], RUNS_SCHEMA, runs)
    running = started("serve", kafka, tmp_path)
    while "batch begins" not in (line := running.stdout.readline()):
        assert line, "it ended by itself"
    time.sleep(3)
    assert "batch: cut short" in ended(running)
    assert tables.read_arrow(runs).sort_by("started_at")["outcome"].to_pylist() == ["done", CUT_SHORT]
