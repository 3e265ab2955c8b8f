"""A run that is interrupted or killed, or whose broker goes away: it says so, and nothing is left running."""

import signal
import time
from contextlib import suppress

import psutil
import pytest

pytestmark = pytest.mark.broker


def test_a_run_whose_broker_is_taken_away_says_so_and_leaves_nothing_running(stages, tmp_path):
    running = stages.start(tmp_path, "run", "finance_fraud", "--for", "120s", "--history-days", "30")
    printed = []
    while "archive lag" not in "".join(printed[-1:]):
        printed.append(running.stdout.readline())
        assert printed[-1], "".join(printed)
    started = stages.below(running)
    stages.java_below(running, "kafka.Kafka").kill()
    rest, _ = running.communicate(timeout=150)
    assert running.returncode == 1, rest
    assert "Kafka" in rest and "Traceback" not in rest
    assert stages.wait_for_end(started) == []


def all_started(stages, running):
    """What a run has started, once its broker and its Spark have been there for a moment."""
    deadline = time.monotonic() + 60
    wanted = {"kafka.Kafka", "org.apache.spark.deploy.SparkSubmit"}
    while not wanted <= {word for each in commands(stages, running) for word in each}:
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.2)
    time.sleep(3)
    return stages.below(running)


def commands(stages, running):
    for each in stages.below(running):
        with suppress(psutil.NoSuchProcess):
            yield each.cmdline()


def test_a_run_that_is_interrupted_leaves_nothing_running(stages, tmp_path):
    running = stages.start(tmp_path, "run", "finance_fraud", "--for", "60s", "--history-days", "30")
    started = all_started(stages, running)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=60)
    assert running.returncode == 130, printed
    assert stages.wait_for_end(started) == []


def test_a_run_that_is_killed_leaves_nothing_running(stages, tmp_path):
    running = stages.start(tmp_path, "run", "finance_fraud", "--for", "60s", "--history-days", "30")
    started = all_started(stages, running)
    running.kill()
    running.wait()
    assert stages.wait_for_end(started, 30) == []


def test_a_broker_that_goes_away_is_told_in_words(stages, tmp_path):
    broker = stages.start(tmp_path, "broker")
    assert "Kafka at" in broker.stdout.readline()
    archive = stages.start(tmp_path, "archive", "finance_fraud")
    while "archiving to" not in (line := archive.stdout.readline()):
        assert line
    broker.kill()
    broker.wait()
    printed, _ = archive.communicate(timeout=150)
    assert archive.returncode == 1, printed
    assert "127.0.0.1" in printed or "Kafka" in printed
    assert "Traceback" not in printed
