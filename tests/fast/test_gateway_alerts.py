"""Alerts over HTTP: pages of the table that a walk sees as they were, and what arrives on the topic at once."""

import http.client
import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from common import tables
from common.gateway.stream import WAITING, Listener
from common.ingestion.producers import Producer
from common.ingestion.stored import ALERTS_SCHEMA, PARTITION
from common.workspace import Workspace

START = datetime(2020, 3, 1, 23, 30, tzinfo=UTC)
PATH = "/v1/finance_fraud/alerts"


def alert(number, **given):
    time = START + timedelta(minutes=number // 2)  # two at a time
    return {
        "alert_id": f"a{number:03d}", "vertical": "finance_fraud", "rule": ("velocity", "amount")[number % 2],
        "entity_id": f"c{number % 5}", "event_time": time, "severity": "major", "score": float(number), "threshold": 1.0,
        "reasons": "", "versions": {"baseline": "1", "model": None, "rules": "r"}, "event": "e", "ingest_time": time,
        "first_event_time": time, "alert_time": time, "topic": "t", "kafka_partition": 0, "kafka_offset": number,
        PARTITION: time.date(),
    } | given  # fmt: skip


def store(folder, alerts):
    path = Workspace(folder, "finance_fraud").table("alerts")
    tables.ensure_table(path, ALERTS_SCHEMA, [PARTITION])
    tables.append_rows(alerts, ALERTS_SCHEMA, path)


def walk(gateway, query=""):
    """The ids of all pages, and how many pages there were."""
    ids, pages, cursor = [], 0, ""
    while cursor is not None:
        status, page, _ = gateway.ask("GET", f"{PATH}?{query}{cursor and f'&cursor={cursor}'}")
        assert status == 200, page
        ids, pages, cursor = ids + [each["alert_id"] for each in page["alerts"]], pages + 1, page["next"]
    return ids, pages


def test_without_a_table_there_are_none(gateway):
    assert gateway.ask("GET", PATH)[:2] == (200, {"alerts": [], "next": None})


def test_pages_hold_every_alert_once_in_order_of_time(gateway, tmp_path):
    store(tmp_path, [alert(number) for number in reversed(range(101))])
    assert walk(gateway, "limit=25") == ([f"a{number:03d}" for number in range(101)], 5)
    assert walk(gateway, "limit=101")[1] == 1
    _, page, _ = gateway.ask("GET", f"{PATH}?limit=1")
    [first] = page["alerts"]
    assert (first["event_time"], first["score"], first["versions"]["baseline"]) == ("2020-03-01T23:30:00+00:00", 0.0, "1")


def test_a_walk_reads_the_version_in_which_it_began(gateway, tmp_path):
    store(tmp_path, [alert(number) for number in range(10)])
    _, page, _ = gateway.ask("GET", f"{PATH}?limit=4")
    store(tmp_path, [alert(5, alert_id="new")])
    _, rest, _ = gateway.ask("GET", f"{PATH}?limit=20&cursor={page['next']}")
    assert [each["alert_id"] for each in rest["alerts"]] == [f"a{number:03d}" for number in range(4, 10)]
    assert len(walk(gateway)[0]) == 11


@pytest.mark.parametrize(("query", "expected"), [
    ("since=2020-03-01T23:35:00Z", range(10, 101)), ("since=2020-03-02T00:35:00%2B01:00", range(10, 101)),
    ("since=2020-03-01T23:35:00", range(10, 101)), ("since=2020-03-02T00:05:00Z", range(70, 101)),
    ("entity=c3", range(3, 101, 5)), ("rule=amount", range(1, 101, 2)),
    ("rule=amount&entity=c3&since=2020-03-01T23:35:00Z", range(13, 101, 10)),
    ("severity=critical", [100]), ("rule=none", []),
])  # fmt: skip
def test_what_is_asked_for(gateway, tmp_path, query, expected):
    store(tmp_path, [alert(number, severity="critical" if number == 100 else "major") for number in range(101)])
    assert walk(gateway, f"{query}&limit=7")[0] == [f"a{number:03d}" for number in expected]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "since=yesterday", "severity=bad", "cursor=x", "cursor=W10",
                                   "cursor=%00", "cursor=WzEsIjIwMjAtMDEtMDEiLCJhIl0"])
def test_what_cannot_be_asked_for(gateway, query):
    assert gateway.ask("GET", f"{PATH}?{query}")[0] == 422


def test_a_cursor_of_a_version_that_is_gone_is_told(gateway, tmp_path):
    store(tmp_path, [alert(number) for number in range(3)])
    _, page, _ = gateway.ask("GET", f"{PATH}?limit=1")
    for file in (tmp_path / "finance_fraud" / "tables" / "alerts").rglob("*.parquet"):
        file.unlink()
    assert gateway.ask("GET", f"{PATH}?cursor={page['next']}")[0] == 410


@contextmanager
def listening(gateway):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.request("GET", f"{PATH}/stream")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert answer.readline() == b": listening\n"
    yield answer
    connection.close()


def next_alert(answer):
    while not (line := answer.readline()).startswith(b"data: "):
        assert line
    return json.loads(line[6:])


def test_every_listener_hears_what_arrives_from_then_on(gateway, mortal_kafka):
    def raise_alerts(*numbers):
        with Producer(mortal_kafka.connection) as producer:
            for number in numbers:
                producer.send("finance_fraud.alerts", b"k", b'{"alert_id": %d}' % number)

    raise_alerts(0)
    with listening(gateway) as first, listening(gateway) as second:
        raise_alerts(1, 2)
        assert [next_alert(each)["alert_id"] for each in (first, second, first, second)] == [1, 1, 2, 2]
    with listening(gateway) as later:
        with Producer(mortal_kafka.connection) as producer:
            producer.send("finance_fraud.alerts", b"k", None)  # a tombstone
        raise_alerts(3)
        assert next_alert(later)["alert_id"] == 3


def test_a_listener_that_is_too_slow_is_dropped_and_told_so():
    import asyncio

    from common.gateway.stream import server_sent

    async def hear():
        listener = Listener()
        listener.put([b"%d" % number for number in range(WAITING + 5)])
        return [event async for event in server_sent(listener, lambda: False)]

    events = asyncio.run(hear())
    assert len(events) == WAITING + 2
    assert events[-2] == b"event: alert\ndata: %d\n\n" % (WAITING - 1)
    assert events[-1].startswith(b"event: dropped\n")
