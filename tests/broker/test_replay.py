"""Real card transactions, mapped by their columns' names, and a dirty file go through a real broker whole."""

import json
from datetime import datetime
from itertools import pairwise
from types import SimpleNamespace

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import ensure_topics, topic_names
from common.replay.file_replay import plan_replay, replay_file
from finance_fraud.events import CONTRACT, ENTITY, EVENT_ID, EVENT_SCHEMA, EVENT_TIME

pytestmark = pytest.mark.broker

MAPPING = {
    "transaction_id": "TRANSACTION_ID",
    "card_id": "CUSTOMER_ID",
    "terminal_id": "TERMINAL_ID",
    "amount": "TX_AMOUNT",
    "event_time": "TX_DATETIME",
}


@pytest.fixture
def vertical(vertical_name):
    return SimpleNamespace(
        name=vertical_name,
        event_schema=EVENT_SCHEMA,
        contract=CONTRACT,
        event_id=EVENT_ID,
        entity=ENTITY,
        event_time=EVENT_TIME,
    )


def test_published_transactions_arrive_as_they_are_with_their_labels_a_week_late(broker, vertical, shared_data, tmp_path):
    ensure_topics(broker, vertical, partitions=2)
    days = pq.read_table(shared_data / "finance" / "transactions.parquet")
    days = days.filter(pc.less(days["TX_DATETIME"], datetime(2018, 6, 19))).slice(0, 40_000)
    # Backwards, so that the order of what is sent is the replay's own doing.
    pq.write_table(days.take(list(reversed(range(len(days))))), tmp_path / "days.parquet")
    plan = plan_replay(vertical, tmp_path / "days.parquet", MAPPING, label="TX_FRAUD", scenario="TX_FRAUD_SCENARIO")
    with Producer(broker, linger=0.02) as producer:
        counts = replay_file(plan, producer, run_bytes=4 << 20)
    topics, frauds = topic_names(vertical), days.filter(pc.equal(days["TX_FRAUD"], 1))
    events, labels = read_all(broker, topics.events), read_all(broker, topics.labels)
    assert counts.rows == counts.events == len(events) == 40_000
    assert counts.labels == len(labels) == len(frauds)

    sent = {event["transaction_id"]: event for event in map(json.loads, (record.value for record in events))}
    for row in days.slice(0, 500).to_pylist():
        assert sent[str(row["TRANSACTION_ID"])] == {
            "transaction_id": str(row["TRANSACTION_ID"]),
            "card_id": str(row["CUSTOMER_ID"]),
            "terminal_id": str(row["TERMINAL_ID"]),
            "amount": row["TX_AMOUNT"],
            "currency": None,
            "channel": None,
            "latitude": None,
            "longitude": None,
            "event_time": row["TX_DATETIME"].isoformat(timespec="milliseconds") + "Z",
        }
    for partition in (0, 1):
        times = [json.loads(record.value)["event_time"] for record in events if record.partition == partition]
        assert times and all(earlier <= later for earlier, later in pairwise(times))
    assert {json.loads(record.value)["event_id"] for record in labels} == set(map(str, frauds["TRANSACTION_ID"].to_pylist()))


def test_every_row_of_a_dirty_file_reaches_the_topic(broker, vertical, tmp_path):
    ensure_topics(broker, vertical, partitions=1)
    path = tmp_path / "dirty.csv"
    rows = [b"%d,c-%d,t-1,%d.5,2026-01-01T00:%02d:00Z" % (n, n % 3, n, n % 60) for n in range(1_000)]
    rows[100], rows[200] = b"half,a row", b'201,"c,t,1,2026-01-01'
    rows[300], rows[400] = b"301,c,t,\xff,2026-01-01", b"401,c,t,1,"
    path.write_bytes(b"\n".join([b"transaction_id,card_id,terminal_id,amount,event_time", *rows]))
    with Producer(broker) as producer:
        counts = replay_file(plan_replay(vertical, path, {}), producer)
    values = [record.value for record in read_all(broker, topic_names(vertical).events)]
    assert counts.rows == counts.events == len(values) == 1_000
    assert {b"half,a row", b'201,"c,t,1,2026-01-01'} <= set(values)
    assert sum(b"\xff" in value for value in values) == 1
