"""A run over events that name people, broken ones among them: nothing that it wrote, printed or sent on names one of them."""

import base64
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from common import tables
from common.batch.schedule import RUNS_SCHEMA
from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import ensure_topics, topic_names
from common.privacy.keys import Key
from common.workspace import Workspace

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

NAME, NUMBER = "Ottilie Quastenflosser", "943-476-5919"
PLANTED = (NAME.encode(), NUMBER.encode())
KEY = hashlib.sha256(b"a planted key").digest()
SECRETS = (KEY, bytes(byte ^ 0x36 for byte in KEY), bytes(byte ^ 0x5C for byte in KEY), Key(KEY).encryption_key)
EVENTS = 2_000


def planted(raw, number):
    """A generated message about someone who is named, and the key by which it is sent."""
    patient = f"{NAME} {NUMBER} {number % 40}"
    try:
        event = orjson.loads(raw)
        event["patient_id"] = patient
        return patient.encode(), orjson.dumps(event)
    except (orjson.JSONDecodeError, TypeError):
        return patient.encode(), raw + patient.encode()


def counted(workspace):
    return {name: tables.row_count(workspace.table(name)) for name in ("events", "quarantine", "alerts")}


def is_done(counts):
    """Batch may be done before the streams are."""
    return counts["events"] + counts["quarantine"] >= EVENTS and counts["alerts"] > 5


@pytest.fixture(scope="module")
def after(broker, tmp_path_factory):
    """The data folder of a run with a batch job in it, what it printed, and its vertical."""
    data, vertical = tmp_path_factory.mktemp("named"), find_vertical("health_monitoring")
    ensure_topics(broker, vertical)
    chunks = vertical.generate(1, date(2020, 3, 1), 5, vertical.population(**vertical.small), True)
    raw = [value for chunk in chunks if chunk.messages is not None for value in chunk.messages.values][:EVENTS]
    with Producer(broker) as producer:
        for number, value in enumerate(raw):
            producer.send(topic_names(vertical).events, *planted(value, number))
    path = Workspace(data, vertical.name).table("batch_runs")
    tables.ensure_table(path, RUNS_SCHEMA)
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=1)
    tables.append_rows([{"started_at": yesterday, "ended_at": yesterday, "outcome": "done"}], RUNS_SCHEMA, path)
    command = [sys.executable, "-m", "common.cli", "serve", vertical.name, "--data", str(data)]
    environment = {**os.environ, "HYBRID_CHECKPOINT_INTERVAL": "5", "HYBRID_PSEUDONYM_KEY": base64.b64encode(KEY).decode()}
    serving = subprocess.Popen(
        [*command, "--bootstrap-servers", broker.bootstrap_servers],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    printed = []
    while not re.search(r"batch: |^$", "".join(printed[-1:])) or not printed:
        printed.append(serving.stdout.readline())
    workspace, deadline = Workspace(data, vertical.name), time.monotonic() + 180
    while not is_done(counted(workspace)) and serving.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)
    serving.send_signal(signal.SIGTERM)
    rest, _ = serving.communicate(timeout=60)
    return data, "".join(printed) + rest, vertical


def contents(path):
    """The bytes of a file, and of what is packed or compressed in it."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield repr(pq.read_table(path).to_pylist()).encode()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield from (packed.read(name) for name in packed.namelist())


def test_the_run_did_its_work(after):
    data, printed, vertical = after
    workspace = Workspace(data, vertical.name)
    assert "in force" in printed and "batch: failed" not in printed, printed
    assert "real-time mode refuses" not in printed, printed
    counts = counted(workspace)
    assert is_done(counts), counts
    assert counts["events"] + counts["quarantine"] == EVENTS
    assert counts["quarantine"] > 5, counts


def test_no_file_of_the_run_names_a_patient(after):
    data, printed, _ = after
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) > 50
    naming = {path.relative_to(data) for path in files for content in contents(path) for each in PLANTED if each in content}
    assert naming == set()
    assert NAME not in printed and NUMBER not in printed


def test_no_file_of_the_run_has_the_key(after, shown):
    data, printed, _ = after
    contents_of = {path: list(contents(path)) for path in data.rglob("*") if path.is_file()}
    contents_of[Path("printed")] = [printed.encode()]
    having = {(path.name, form) for path, parts in contents_of.items() for part in parts for secret in SECRETS
              for form in shown(secret, part)}  # fmt: skip
    assert having == set()


def test_no_topic_that_the_run_wrote_names_a_patient(after, broker):
    _, _, vertical = after
    topics = topic_names(vertical)
    for topic in (topics.alerts, topics.dead_letter):
        records = read_all(broker, topic)
        assert records, topic
        assert not any(each in repr(records).encode() for each in PLANTED), topic
