"""One embedded broker for the tests that share it; a topic of its own name for each test that asks."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from uuid import uuid4

import psutil
import pytest

from common.embedded.kafka import EmbeddedKafka
from common.kafka.connection import Connection


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """The connection to a broker that all tests of the session share."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), partitions=2) as kafka:
        yield Connection(kafka.bootstrap_servers)


@pytest.fixture
def vertical_name():
    """A vertical's name that no other test uses, so that its topics are this test's alone."""
    return f"test_{uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def wait_for_next_batches():
    """(detection) -> returns once each query is in a batch that began after the call: it reads what was in force by then.

    What an earlier batch judged is on record by then, or will be when the detection ends.
    """

    def finished(detecting):
        return {each.query.name: (each.streaming.lastProgress or {"batchId": -1})["batchId"] for each in detecting.running}

    def wait(detecting, seconds=90):
        before, deadline = finished(detecting), time.monotonic() + seconds
        while any(number <= before[name] for name, number in finished(detecting).items()):
            detecting.keep_running()
            assert time.monotonic() < deadline, (before, finished(detecting))
            time.sleep(0.2)

    return wait


class Stages:
    """Commands of `hybrid`, each a process of its own, and what they start in turn."""

    def __init__(self):
        self.started = []

    def start(self, data, *words):
        command = [sys.executable, "-m", "common.cli", *words, "--data", str(data)]
        environment = {**os.environ, "COLUMNS": "200"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        self.started.append(process)
        return process

    def finish(self, data, *words, timeout=180):
        process = self.start(data, *words)
        printed, _ = process.communicate(timeout=timeout)
        return process.returncode, printed

    @staticmethod
    def below(process):
        """All processes that it started, however deep."""
        return psutil.Process(process.pid).children(recursive=True)

    def java_below(self, process, *words):
        """The one Java process that it started with these words in its command; workers come and go meanwhile."""
        found = []
        for each in self.below(process):
            with suppress(psutil.NoSuchProcess):
                if each.name() == "java" and set(words) <= set(each.cmdline()):
                    found.append(each)
        [java] = found
        return java

    @staticmethod
    def wait_for_end(processes, seconds=20):
        _, alive = psutil.wait_procs(processes, timeout=seconds)
        return [process.cmdline() for process in alive]


@pytest.fixture(scope="module")
def stages():
    """Starts commands; a test that fails leaves what it started to this."""
    stages = Stages()
    yield stages
    for process in stages.started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
