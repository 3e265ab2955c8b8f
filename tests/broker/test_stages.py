"""The stages as a user runs them, each a process of its own, over one broker; nothing is left running afterwards."""

import re
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from common import tables
from common.batch.schedule import RUNS_SCHEMA
from common.embedded.ports import HOST, find_free_port, wait_until_listening
from common.installed import find_vertical
from common.workspace import Workspace

pytestmark = pytest.mark.broker

RULES = find_vertical("finance_fraud").rules


@pytest.fixture(scope="module")
def data(stages, tmp_path_factory):
    """A data folder in which `hybrid broker` runs."""
    folder = tmp_path_factory.mktemp("stages")
    broker = stages.start(folder, "broker")
    line = broker.stdout.readline()
    assert "Kafka at 127.0.0.1" in line, line
    started = stages.below(broker)
    yield folder
    broker.send_signal(signal.SIGINT)
    assert broker.wait(30) == 130
    assert stages.wait_for_end(started) == []


def test_what_is_generated_is_archived_once_each(stages, data):
    code, printed = stages.finish(data, "generate", "finance_fraud", "--for", "4s", "--rate", "500")
    assert code == 0, printed
    sent = int(re.search(r"sent ([\d,]+) events", printed)[1].replace(",", ""))
    for _ in range(2):  # a second time there is nothing to do
        code, printed = stages.finish(data, "archive", "finance_fraud", "--until-idle")
        assert code == 0, printed
        workspace = Workspace(data, "finance_fraud")
        kept, refused = (tables.row_count(workspace.table(name)) for name in ("events", "quarantine"))
        assert kept + refused == sent
        assert refused > 0, "the generator sends some dirt"
        assert f"in the tables: {kept:,} events, {refused:,} quarantined records, " in printed


def test_detection_says_how_each_rule_runs_and_what_it_is_blind_to_and_ends_at_a_signal(stages, data):
    detecting = stages.start(data, "detect", "finance_fraud")
    printed = []
    while "judging" not in "".join(printed[-1:]):
        printed.append(detecting.stdout.readline())
        assert printed[-1], "".join(printed)
    assert sum("real-time" in line for line in printed) == len(RULES)
    while "records judged" not in printed[-1]:
        printed.append(detecting.stdout.readline())
        assert printed[-1], "".join(printed)
    said = "".join(printed).partition("judging")[2]
    assert "no baselines yet" in said and "no model yet" in said
    started = stages.below(detecting)
    detecting.send_signal(signal.SIGTERM)
    assert detecting.wait(30) == 128 + signal.SIGTERM
    assert stages.wait_for_end(started) == []


def test_serve_catches_up_a_batch_run_that_was_missed_outlives_its_gateway_and_ends_at_a_signal(stages, data):
    workspace = Workspace(data, "finance_fraud")
    tables.ensure_table(workspace.table("batch_runs"), RUNS_SCHEMA)
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=1)
    row = {"started_at": yesterday, "ended_at": yesterday, "outcome": "done"}
    tables.append_rows([row], RUNS_SCHEMA, workspace.table("batch_runs"))
    serving = stages.start(data, "serve", "finance_fraud", "--http", f"{HOST}:{(port := find_free_port())}", "--open")
    printed = []
    while "batch: " not in "".join(printed[-1:]):
        printed.append(serving.stdout.readline())
        assert printed[-1], "".join(printed)
    assert sum("real-time" in line for line in printed) == len(RULES)
    assert "in force" in printed[-1] and "stream and history agree" in printed[-1], "".join(printed)
    assert tables.row_count(workspace.table("batch_runs")) == 2
    below = [(each, set(each.cmdline())) for each in stages.below(serving)]
    [gateway] = [each for each, words in below if "gateway" in words and "-I" not in words]  # its supervisor has that, too
    gateway.kill()
    while "the gateway ended with status -9" not in (line := serving.stdout.readline()):
        assert line
    wait_until_listening(port, 60)
    started = stages.below(serving)
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(30) == 128 + signal.SIGTERM
    assert stages.wait_for_end(started) == []


def test_a_schedule_that_is_none_is_told(stages, data):
    code, printed = stages.finish(data, "serve", "finance_fraud", "--schedule", "at night")
    assert code == 1 and "five cron fields" in printed


def test_a_second_archive_is_refused_and_a_spark_that_is_killed_is_told_in_words(stages, data):
    archive = stages.start(data, "archive", "finance_fraud")
    while "archiving to" not in (line := archive.stdout.readline()):
        assert line
    code, printed = stages.finish(data, "archive", "finance_fraud", timeout=60)
    assert code == 1 and "archive of finance_fraud runs in" in printed, "a second one is refused"
    java = stages.java_below(archive)
    java.suspend()  # so that a call waits for its answer when the end comes, which py4j reports unlike a call that comes after it
    time.sleep(2)
    java.kill()
    printed, _ = archive.communicate(timeout=60)
    assert archive.returncode == 1, printed
    assert "Java process is gone" in printed and "Traceback" not in printed
