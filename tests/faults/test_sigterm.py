"""SIGTERM at any moment, start-up included: a stage ends within what service managers wait for, and leaves nothing running."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from common.embedded.kafka import EmbeddedKafka

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

GRACE = 10  # seconds: what `supervise` and container runtimes give before they kill
MOMENTS = 4
ENDED = (128 + signal.SIGTERM, -signal.SIGTERM)  # the latter while Python still imports


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), partitions=2) as broker:
        yield broker.bootstrap_servers


@pytest.mark.parametrize("stage", ["archive", "detect"])
def test_a_stage_ends_at_sigterm_whatever_it_is_doing(kafka, tmp_path, stage):
    chance = random.Random(stage)
    generate = [sys.executable, "-m", "common.cli", "generate", "finance_fraud", "--bootstrap-servers", kafka]
    command = [sys.executable, "-m", "common.cli", stage, "finance_fraud", "--bootstrap-servers", kafka, "--data", str(tmp_path)]
    generator = subprocess.Popen(generate, stdout=subprocess.DEVNULL, env=os.environ | {"HYBRID_DATA": str(tmp_path)})
    try:
        for number in range(MOMENTS):
            running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(3 + (number + chance.random()) * 6)  # from imports and Spark's start to work
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
    finally:
        generator.send_signal(signal.SIGTERM)
        generator.wait(GRACE)
