"""The README's commands and those of the examples, run as they stand there, one after the other, in shortened worlds."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.pages import ROOT, fenced_commands, words_of

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(900)]

# What makes a command's world smaller, or its time shorter. A later option of a name counts.
SHORTER = {"backfill": ["--days", "25"], "generate": ["--start", "2020-01-26", "--for", "10s", "--rate", "200"]}
UNTIL_STOPPED = {"broker": "broker at", "detect": "judg", "archive": "archiv"}  # and what they say once they are at work
EXAMPLES = sorted(page for page in ROOT.glob("examples/*/README.md"))


@pytest.fixture
def run(tmp_path):
    """(words) -> status and what was printed; a command that runs until it is stopped is left running, until the end."""
    running = []

    def run(*words):
        command = [sys.executable, "-m", "common.cli", *words, *SHORTER.get(words[0], ())]
        log = tmp_path / f"{len(running)}.log"
        environment = {**os.environ, "COLUMNS": "200", "HYBRID_DATA": str(tmp_path / "data")}
        if words[0] not in UNTIL_STOPPED:
            done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log.open("w"), stderr=subprocess.STDOUT)
        running.append((process, log, words))
        deadline = time.monotonic() + 120
        while not log.read_text().strip() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        return process.poll() or 0, log.read_text()

    yield run
    for process, _, _ in reversed(running):
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_one_stage_at_a_time(run):
    commands = [words_of(line)[1:] for line in fenced_commands(ROOT / "README.md")]
    names = [words[0] for words in commands]
    assert names == ["backfill", "trends", "train", "broker", "detect", "archive", "generate", "reconcile", "evaluate"]
    for words in commands:
        if words[0] == "reconcile":
            time.sleep(30)  # as a reader would: until the archive has what was judged
        code, printed = run(*words)
        assert code == 0, (words, printed)
    assert re.search(r"velocity +\d", printed), printed


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.parent.name)
def test_an_examples_command(run, page):
    [words] = [words_of(line)[1:] for line in fenced_commands(page) if "hybrid examples" in line]
    code, printed = run(*words)
    assert code == 0, printed
