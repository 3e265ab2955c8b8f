"""What a subscriber counts and times: alerts of what came since it began to look, and no others."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from common.monitoring.alert_watch import AlertWatch

TOPIC = "x.alerts"
NAMES = ("alert_id", "rule", "entity_id", "severity", "reasons")
ALERT = dict.fromkeys(NAMES, "odd") | dict.fromkeys(("event_time", "ingest_time"), "2026-01-01T00:00:00.000Z")


@pytest.fixture
def send(mock_kafka):
    """(id, how long ago its newest event came in) -> an alert on the topic."""
    producer = Producer(mock_kafka.client_options())

    def send(alert_id, ago=timedelta(0), rule="velocity", entity="c1"):
        came = (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
        alert = {"alert_id": alert_id, "rule": rule, "entity_id": entity, "severity": "major", "ingest_time": came}
        alert |= {"event_time": came, "reasons": "many at once"}
        producer.produce(TOPIC, json.dumps(alert).encode(), key=entity.encode())
        assert producer.flush(10) == 0

    return send


def wait_for(watch, updates):
    deadline = time.monotonic() + 20
    while watch.tally.updates < updates:
        assert time.monotonic() < deadline, watch.tally
        time.sleep(0.01)


def test_alerts_from_before_it_began_are_neither_counted_nor_timed(mock_kafka, send):
    for number in range(30):
        send(f"old{number}", timedelta(minutes=10))
    with AlertWatch(mock_kafka, TOPIC) as watch:
        send("new1")
        send("new1")
        send("new2", rule="spree", entity="c2")
        wait_for(watch, 3)
        latency = watch.latency()
    assert watch.tally.alerts == {"velocity": 1, "spree": 1}
    assert (watch.tally.updates, latency.count) == (3, 3)
    assert latency.p99 is not None and latency.p99 < 60_000


def test_what_is_raised_now_of_events_that_came_before_is_told_apart_and_not_timed(mock_kafka, send):
    send("before")
    with AlertWatch(mock_kafka, TOPIC) as watch:
        send("again", timedelta(minutes=10))
        send("again", timedelta(minutes=9))
        send("now")
        wait_for(watch, 3)
        latency = watch.latency()
    assert (watch.tally.alerts.total(), watch.tally.earlier, latency.count) == (1, 1, 1)
    assert {alert["alert_id"] for alert in watch.tally.newest} == {"again", "now"}


ODD = [None, b"", b"\xff\xfe", b"null", b"7", b"[]", b"{}", b"[" * 20_000, b'"text"'] + [
    json.dumps(odd).encode() for odd in (
        {name: value for name, value in ALERT.items() if name != "reasons"},
        ALERT | {"ingest_time": "now"}, ALERT | {"ingest_time": None}, ALERT | {"event_time": None},
        ALERT | {"rule": 7}, ALERT | {"severity": ["major"]}, ALERT | {"entity_id": {}},
    )
]  # fmt: skip


@pytest.mark.parametrize("value", ODD)
def test_no_record_that_is_no_alert_ends_the_watch(mock_kafka, send, value):
    producer = Producer(mock_kafka.client_options())
    with AlertWatch(mock_kafka, TOPIC) as watch:
        producer.produce(TOPIC, value)
        assert producer.flush(10) == 0
        send("after")
        wait_for(watch, 1)
    assert watch.tally.alerts == {"velocity": 1} and watch.tally.unreadable == 1
