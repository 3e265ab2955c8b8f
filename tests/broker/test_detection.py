"""The real-time path over a real broker: modes, versions that change under a running query, stop and resume."""

import math
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread

import orjson
import psutil
import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import tables
from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import ensure_topics, topic_names
from common.published.reference_data import publish_baselines
from common.published.versions import BASELINE, in_force
from common.settings import Settings, load
from common.streaming import stalled_queries
from common.streaming.detection import run_detection
from common.streaming.queries import REAL_TIME
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

VERTICAL = find_vertical("finance_fraud")


@pytest.fixture(scope="module")
def place(broker, tmp_path_factory):
    ensure_topics(broker, VERTICAL, partitions=2)
    data = tmp_path_factory.mktemp("data")
    return broker, Workspace(data, VERTICAL.name), load(Settings, data=data, checkpoint_interval=5)


def send(broker, *amounts, card="c1", prefix="t"):
    """Transactions of one card, minutes apart, of these amounts."""
    start = datetime(2020, 3, 2, 12, tzinfo=UTC).timestamp()
    with Producer(broker, linger=0) as producer:
        for number, amount in enumerate(amounts):
            at = datetime.fromtimestamp(start + 3600 * number, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            event = {
                "transaction_id": f"{prefix}{number}",
                "card_id": card,
                "terminal_id": "m1",
                "amount": amount,
                "event_time": at,
            }
            producer.send(topic_names(VERTICAL).events, card.encode(), orjson.dumps(event))


def publish(spark, workspace, mean):
    card = VERTICAL.baselines["card"].schema
    known = {
        "card_id": "c1",
        "card_count_30d": 30,
        "card_amount_mean_30d": mean,
        "card_log_amount_mean_30d": math.log(mean),
        "card_log_amount_std_30d": 0.1,
    }
    values = {name: known.get(name) for name in card.names}
    frame = spark.createDataFrame([tuple(values.values())], T.StructType([T.StructField(f.name, f.dataType) for f in card]))
    return publish_baselines(
        {"card": frame, "terminal": spark.createDataFrame([], VERTICAL.baselines["terminal"].schema)},
        VERTICAL,
        workspace.tables,
        "2020-03-02",
    ).version


def alerts_for(broker, wanted, seconds=60):
    """Alerts by event id, once `wanted` of them are there; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = {
            alert["event"]: alert
            for alert in map(orjson.loads, (r.value for r in read_all(broker, topic_names(VERTICAL).alerts)))
        }
        if wanted <= found.keys():
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s for {wanted - found.keys()}")


def test_a_new_baseline_reaches_a_running_query_and_a_stopped_one_resumes(spark, place, wait_for_next_batches):
    broker, workspace, settings = place
    start = partial(run_detection, spark, deployed(VERTICAL, workspace, settings=settings, connection=broker))
    first = publish(spark, workspace, mean=50.0)
    with start() as detecting:
        assert {each.mode for each in detecting.running} == {REAL_TIME}
        runs = {each.query.name: each.streaming.runId for each in detecting.running}
        send(broker, 50.0, 500.0, prefix="a")
        alert = alerts_for(broker, {"a1"})["a1"]
        assert (alert["rule"], alert["versions"]["baseline"]) == ("amount_outlier", first)
        assert "a0" not in alerts_for(broker, {"a1"})

        second = publish(spark, workspace, mean=1000.0)
        assert in_force(workspace.tables, BASELINE).version == second
        wait_for_next_batches(detecting)
        send(broker, 500.0, 9000.0, prefix="b")
        found = alerts_for(broker, {"b1"})
        assert found["b1"]["versions"]["baseline"] == second
        assert "b0" not in found, "an amount that the new baseline knows as usual"
        detecting.keep_running()
        assert {each.query.name: each.streaming.runId for each in detecting.running} == runs, "no query was restarted"
        for _ in range(2):  # the batch that judged these ends, and goes on record, and one without events
            wait_for_next_batches(detecting)

    send(broker, 9500.0, prefix="c")  # nobody is there to judge it
    with start():
        assert alerts_for(broker, {"c0"})["c0"]["versions"]["baseline"] == second


def test_every_batch_that_a_query_finished_is_on_record(place):
    _, workspace, _ = place
    rows = tables.read_arrow(workspace.table("judged")).to_pylist()
    recorded = {(row["query"], row["batch"]) for row in rows if row["checkpoint"]}
    finished = {
        (query.name, int(done.name))
        for query in VERTICAL.queries
        for done in Path(workspace.checkpoint(query.name), "commits").iterdir()
        if done.name.isdecimal()
    }
    assert recorded == finished and len(finished) > 2 * len(VERTICAL.queries)


def test_the_versions_that_judged_each_offset_are_on_record(spark, place):
    _, workspace, _ = place
    judged = tables.read(spark, workspace.table("judged")).where("query = 'per_event'")
    assert judged.where(F.col("end_offset") > F.col("start_offset")).select("baseline_version").distinct().count() == 2


def wait_for_file(path):
    """For a task that holds its slot until the file is there."""
    deadline = time.monotonic() + 200
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_queries_that_get_no_task_slots_are_told_and_go_on_when_there_are_some(spark, place, monkeypatch, caplog, tmp_path):
    broker, workspace, settings = place
    publish(spark, workspace, mean=50.0)
    for name in ("PATIENCE_SECONDS", "CHECK_INTERVAL_SECONDS"):  # not STARTING_SECONDS: their tasks are submitted, and wait
        monkeypatch.setattr(stalled_queries, name, 2.0)
    slots, free = spark.sparkContext.defaultParallelism * 20, tmp_path / "free"
    holding = Thread(target=lambda: spark.sparkContext.parallelize(range(slots), slots).foreach(lambda _: wait_for_file(free)))
    holding.start()
    try:
        with run_detection(spark, deployed(VERTICAL, workspace, settings=settings, connection=broker)) as detecting:
            runs = {each.query.name: each.streaming.runId for each in detecting.running}
            send(broker, 9000.0, prefix="f")
            deadline, restarted = time.monotonic() + 150, set()
            while len(restarted) < len(runs):
                detecting.keep_running()
                restarted |= {each.query.name for each in detecting.running if each.streaming.runId != runs[each.query.name]}
                assert time.monotonic() < deadline, restarted
                time.sleep(0.2)
            assert f"query {VERTICAL.queries[0].name} stands still, while events come in" in caplog.text
            monkeypatch.undo()
            free.touch()
            alerts_for(broker, {"f0"})
    finally:
        free.touch()
        holding.join()


# What a client of Kafka says first: a length of 64, and a request of kind 18.
HELLO_OF_KAFKA = bytes.fromhex("00000040 0012 0003") + b"\0" * 60


def greet_every_port(java):
    """As a client does that looks for a broker which was at such a port before."""
    for at in java.net_connections():
        if at.status == psutil.CONN_LISTEN:
            with suppress(OSError), socket.create_connection(("127.0.0.1", at.laddr.port), timeout=2) as stranger:
                stranger.sendall(HELLO_OF_KAFKA)


def test_a_strangers_bytes_at_sparks_ports_lose_nothing(spark, place):
    broker, workspace, settings = place
    java = psutil.Process(spark.sparkContext._gateway.proc.pid)
    with run_detection(spark, deployed(VERTICAL, workspace, settings=settings, connection=broker)) as detecting:
        send(broker, 9000.0, prefix="d")
        alerts_for(broker, {"d0"})
        greet_every_port(java)
        send(broker, 9000.0, prefix="e")
        deadline, there = time.monotonic() + 90, {}
        while "e0" not in there and time.monotonic() < deadline:
            detecting.keep_running()
            there = alerts_for(broker, set())
            time.sleep(0.5)
    assert "e0" in there
