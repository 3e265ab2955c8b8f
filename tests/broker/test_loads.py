"""locust, as a user starts it, over a real broker: what it says was acknowledged is there, and its exit code says what held."""

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pytest

from common.embedded.kafka import EmbeddedKafka
from common.ingestion.connection import Connection
from common.ingestion.reader import read_all
from common.vertical import find_vertical

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
VERTICAL = find_vertical("finance_fraud")


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory):
    """Not the shared one: other tests use the vertical's topics, too."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), partitions=2) as kafka:
        yield Connection(kafka.bootstrap_servers)


def load(connection, folder, objectives, *words):
    (folder / "objectives.toml").write_text(objectives)
    given = {"--objectives": folder / "objectives.toml", "--data": folder, "--bootstrap-servers": connection.bootstrap_servers,
             "--csv": folder / "load", "--vertical": VERTICAL.name, "--rate": 200, "--settle": "1s"}
    options = [str(word) for pair in given.items() for word in pair]
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", *options, *words]
    environment = {**os.environ, "PYTHONPATH": str(LOCUSTFILE.parents[1]), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    rows = list(csv.DictReader((folder / "load_stats.csv").open()))
    return done.returncode, done.stdout + done.stderr, {(row["Type"], row["Name"]): row for row in rows}


def test_every_acknowledged_record_is_on_the_topic_once_and_a_second_load_goes_on_behind_the_first(own_broker, tmp_path):
    code, printed, rows = load(own_broker, tmp_path, "[default]\nerror_share = 0\n", "--duration", "4s", "--processes", "2")
    assert code == 0, printed
    assert "all objectives held" in printed
    acknowledged = int(rows["KAFKA", "finance_fraud.events"]["Request Count"])
    assert ("SEEN", "alerts") in rows
    first = [record.value for record in read_all(own_broker, "finance_fraud.events")]
    assert len(first) == acknowledged > 200
    assert max(Counter(first).values()) <= 2  # the generator repeats one in a hundred, once
    labelled = {orjson.loads(record.value)["event_id"] for record in read_all(own_broker, "finance_fraud.labels")}
    # A label comes when the simulation reaches its event's time; an event that is late may not have arrived by the end.
    assert len(labelled & ids(first)) >= 0.7 * len(labelled) > 0

    code, printed, rows = load(own_broker, tmp_path, "[finance_fraud]\nalert_p99_ms = 0.001\n", "--duration", "2s")
    assert code == 1, printed
    assert "objective missed: alert_p99_ms: not measured, at most 0.001 asked" in printed
    both = [record.value for record in read_all(own_broker, "finance_fraud.events")]
    second = Counter(both) - Counter(first)
    assert second.total() == int(rows["KAFKA", "finance_fraud.events"]["Request Count"]) > 0
    assert not ids(first) & ids(second)


def ids(values):
    """Event ids of what can be read; the generator breaks one in two hundred."""
    found = set()
    for value in values:
        try:
            found.add(orjson.loads(value)[VERTICAL.event_id])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return found
