"""Real-time detection killed with SIGKILL under load, windowed state and all: in the end stream and history agree alert by alert."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

KILLS, FOR_SECONDS, RATE = 2, 70, 250


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
    printed = []
    while text not in "".join(printed[-1:]):
        printed.append(process.stdout.readline())
        assert printed[-1], "".join(printed)


def test_alerts_equal_history_after_kills_of_detection_under_load(tmp_path):
    chance = random.Random(20260101)
    broker = start(tmp_path, "broker")
    running = [broker]
    try:
        wait_for(broker, "Kafka at")
        running.append(generator := start(tmp_path, "generate", "finance_fraud", "--for", f"{FOR_SECONDS}s", "--rate", str(RATE)))
        for _ in range(KILLS):
            running.append(detecting := start(tmp_path, "detect", "finance_fraud"))
            wait_for(detecting, "judging")
            time.sleep(chance.uniform(6, 14))
            end(detecting, signal.SIGKILL)
        running.append(detecting := start(tmp_path, "detect", "finance_fraud"))
        wait_for(detecting, "judging")
        assert generator.wait(FOR_SECONDS + 60) == 0
        time.sleep(20)  # the last restart catches up
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
