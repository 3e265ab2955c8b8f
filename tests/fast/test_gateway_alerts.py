"""Alerts over HTTP: pages of the table that a walk sees as they were, and what arrives on the topic at once."""

import base64
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql.pandas.types import to_arrow_schema

from common import tables
from common.alerts import ALERT_SCHEMA
from common.archive.archive_tables import ALERTS_SCHEMA, PARTITION
from common.gateway.alert_pages import MAX_PAGES_PER_CLIENT
from common.gateway.alert_stream import MAX_QUEUED_ALERTS, Listener
from common.gateway.stored_alerts import BATCH_ROWS, MAX_PAGE_BYTES, AlertFile, AlertFilter, Cursor, read_page
from common.gateway.tokens import TokenFile
from common.kafka.producers import Producer
from common.kafka.reader import read_all
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


def test_without_a_table_that_is_told_and_an_empty_one_has_no_alerts(gateway, tmp_path):
    status, told, _ = gateway.ask("GET", PATH)
    assert status == 404 and "--data" in told["detail"]
    store(tmp_path, [])
    assert gateway.ask("GET", PATH)[:2] == (200, {"alerts": [], "next": None})


def test_pages_hold_every_alert_once_in_order_of_time(gateway, tmp_path):
    store(tmp_path, [alert(number) for number in reversed(range(101))])
    assert walk(gateway, "limit=25") == ([f"a{number:03d}" for number in range(101)], 5)
    assert walk(gateway, "limit=101")[1] == 1
    _, page, _ = gateway.ask("GET", f"{PATH}?limit=1")
    [first] = page["alerts"]
    assert (first["event_time"], first["score"], first["versions"]["baseline"]) == ("2020-03-01T23:30:00Z", 0.0, "1")


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


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "since=yesterday",
        "severity=bad",
        "cursor=x",
        "cursor=W10",
        "cursor=%00",
        "cursor=WzEsIjIwMjAtMDEtMDEiLCJhIl0",
    ],
)
def test_what_cannot_be_asked_for(gateway, query):
    assert gateway.ask("GET", f"{PATH}?{query}")[0] == 422


def test_a_cursor_of_a_version_that_is_gone_is_told(gateway, tmp_path):
    store(tmp_path, [alert(number) for number in range(3)])
    _, page, _ = gateway.ask("GET", f"{PATH}?limit=1")
    for file in (tmp_path / "finance_fraud" / "tables" / "alerts").rglob("*.parquet"):
        file.unlink()
    assert gateway.ask("GET", f"{PATH}?cursor={page['next']}")[0] == 410


def cut_short(file):
    file.write_bytes(file.read_bytes()[:100])


def emptied(file):
    file.write_bytes(b"")


def gone(file):
    file.unlink()


@pytest.mark.parametrize(("pattern", "harm", "status_with_cursor"), [
    ("*.parquet", cut_short, 503), ("*.parquet", emptied, 503), ("*.parquet", gone, 410), ("00*1.json", cut_short, 410),
])  # fmt: skip
def test_a_table_that_cannot_be_read_is_told_in_json(gateway, tmp_path, caplog, pattern, harm, status_with_cursor):
    store(tmp_path, [alert(number) for number in range(3)])
    _, page, _ = gateway.ask("GET", f"{PATH}?limit=1")
    for file in [*(tmp_path / "finance_fraud" / "tables" / "alerts").rglob(pattern)]:
        harm(file)
    status, told, headers = gateway.ask("GET", PATH)
    assert status == 503 and "log" in told["detail"] and int(headers["retry-after"]) > 0
    assert "finance_fraud cannot be read" in caplog.text
    assert gateway.ask("GET", f"{PATH}?cursor={page['next']}")[0] == status_with_cursor


@pytest.mark.parametrize("version", [2, 10**8])
def test_a_cursor_of_a_version_that_never_was_is_told_at_once(gateway, tmp_path, version):
    store(tmp_path, [alert(number) for number in range(3)])
    began = time.monotonic()
    assert gateway.ask("GET", f"{PATH}?cursor={Cursor(version, START, 'a')}")[0] == 410
    assert time.monotonic() - began < 1, "delta-rs looks for every number up to it, and cannot be stopped"


@pytest.mark.parametrize("zone", ["+14:00", "-14:00", "Z", ""])
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_the_edges_of_the_calendar_are_times_as_others_are(gateway, tmp_path, time, zone):
    store(tmp_path, [alert(number) for number in range(3)])
    status, page, _ = gateway.ask("GET", f"{PATH}?since={quote(time + zone)}")
    assert (status, len(page["alerts"])) == (200, 3 if time.startswith("0001") else 0)
    cursor = base64.urlsafe_b64encode(json.dumps([1, time + zone, "a"]).encode()).decode().rstrip("=")
    assert gateway.ask("GET", f"{PATH}?cursor={cursor}")[0] in (200, 422)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_pages_are_those_of_a_sorted_table_however_it_lies_in_files(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("alerts")
    numbers = data.draw(st.lists(st.integers(0, 3_000), min_size=1, max_size=60, unique=True))
    parts = data.draw(st.integers(1, 5))
    for part in range(parts):
        if rows := [alert(number) for number in numbers[part::parts]]:
            store(folder, rows)
    wanted = AlertFilter(
        since=data.draw(st.none() | st.integers(0, 3_000).map(lambda number: alert(number)["event_time"])),
        entity=data.draw(st.none() | st.sampled_from(["c1", "none"])),
    )
    expected = [
        each["alert_id"]
        for each in sorted(map(alert, numbers), key=lambda each: (each["event_time"], each["alert_id"]))
        if (wanted.since is None or each["event_time"] >= wanted.since) and wanted.entity in (None, each["entity_id"])
    ]
    path, limit = Workspace(folder, "finance_fraud").table("alerts"), data.draw(st.integers(1, 20))
    ids, cursor = [], None
    while True:
        page = read_page(path, wanted, limit, cursor)
        assert len(page["alerts"]) <= limit
        ids += [each["alert_id"] for each in page["alerts"]]
        if page["next"] is None:
            break
        assert len(page["alerts"]) == limit
        cursor = Cursor.parse(page["next"])
    assert ids == expected


def test_a_page_costs_its_rows_and_not_the_table(tmp_path, monkeypatch):
    path, rows, days = Workspace(tmp_path, "finance_fraud").table("alerts"), 20_000, 3
    tables.ensure_table(path, ALERTS_SCHEMA, [PARTITION])
    schema = to_arrow_schema(ALERTS_SCHEMA, timezone="UTC")
    for day in range(days):
        few = [alert(0, event_time=START + timedelta(days=day)) | {PARTITION: (START + timedelta(days=day)).date()}]
        one = pa.Table.from_pylist(few, schema=schema)
        columns = {name: pa.repeat(one[name][0], rows) for name in schema.names}
        columns["alert_id"] = pa.array([f"{number:032x}" for number in range(rows)])
        columns["reasons"] = pa.array([f"{number:0200d}" for number in range(rows)])
        tables.append_arrow(pa.table(columns, schema=schema), path)
    read = []
    batches = AlertFile.batches

    def counted(self, columns, only=None):
        for batch in batches(self, columns, only):
            read.append((len(columns), batch.num_rows))
            yield batch

    monkeypatch.setattr(AlertFile, "batches", counted)
    page = read_page(path, AlertFilter(), 10, None)
    assert [each["alert_id"] for each in page["alerts"]] == [f"{number:032x}" for number in range(10)]
    assert sum(number for columns, number in read if columns == 2) == rows, "the keys of the first day's file"
    assert sum(number for columns, number in read if columns > 2) == 10
    assert max(number for _, number in read) <= BATCH_ROWS, "a little at a time"


def test_a_client_may_ask_for_so_many_pages(start_gateway, tmp_path):
    store(tmp_path, [alert(0)])
    gateway = start_gateway(gateway_pages=1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.ask("GET", PATH), range(8)))
    statuses = [status for status, _, _ in answers]
    assert {200, 429} == set(statuses) and statuses.count(429) >= 4, statuses
    assert all(int(headers["retry-after"]) >= 1 for status, _, headers in answers if status == 429)


def test_pages_that_wait_keep_nobody_from_sending(gateway, monkeypatch, generated_events):
    going_on = threading.Event()
    monkeypatch.setattr("common.gateway.alert_pages.read_page", lambda *given: going_on.wait(20) and {})
    try:
        with ThreadPoolExecutor(40) as pool:
            asked = [pool.submit(gateway.ask, "GET", PATH) for _ in range(40)]
            refused = [each.result()[0] for each in islice(as_completed(asked), 40 - MAX_PAGES_PER_CLIENT)]
            assert refused == [429] * len(refused)
            assert gateway.post(generated_events("finance_fraud", 1))[0] == 202
            assert gateway.ask("GET", "/readyz")[0] == 200
            going_on.set()
            assert sorted(each.result()[0] for each in asked) == [200] * MAX_PAGES_PER_CLIENT + refused
    finally:
        going_on.set()


def test_a_client_that_waits_for_pages_keeps_no_other_from_its_own(gateway, monkeypatch, tmp_path):
    monkeypatch.setattr("common.gateway.tokens.RELOAD_SECONDS", 0)
    file = TokenFile(tmp_path)
    one, other = (file.add(name, ["finance_fraud:read"], ["finance_fraud"]) for name in ("one", "other"))
    going_on = threading.Event()
    monkeypatch.setattr("common.gateway.alert_pages.read_page", lambda *given: going_on.wait(20) and {})
    try:
        with ThreadPoolExecutor(40) as pool:
            asked = [pool.submit(gateway.ask, "GET", PATH, authorization=f"Bearer {one}") for _ in range(30)]
            [each.result() for each in islice(as_completed(asked), 30 - MAX_PAGES_PER_CLIENT)]
            others = pool.submit(gateway.ask, "GET", PATH, authorization=f"Bearer {other}")
            going_on.set()
            assert others.result()[0] == 200
            assert {each.result()[0] for each in asked} == {200, 429}
    finally:
        going_on.set()


def test_a_page_of_large_alerts_has_fewer_of_them(gateway, tmp_path):
    large = 60_000
    store(tmp_path, [alert(number, event="e" * (large if number % 3 else 10)) for number in range(300)])
    status, page, _ = gateway.ask("GET", f"{PATH}?limit=1000")
    assert status == 200 and page["next"] and 90 <= len(page["alerts"]) < 150
    assert len(json.dumps(page)) <= 1.1 * MAX_PAGE_BYTES
    ids, pages = walk(gateway, "limit=1000")
    assert ids == [f"a{number:03d}" for number in range(300)] and pages == 4
    assert len(walk(gateway, "limit=40")[0]) == 300


def test_one_alert_is_a_page_however_large(tmp_path, monkeypatch):
    monkeypatch.setattr("common.gateway.stored_alerts.MAX_PAGE_BYTES", 10)
    store(tmp_path, [alert(number, event="e" * 100) for number in range(3)])
    page = read_page(Workspace(tmp_path, "finance_fraud").table("alerts"), AlertFilter(), 2, None)
    assert [each["alert_id"] for each in page["alerts"]] == ["a000"] and page["next"]


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

    from common.gateway.alert_stream import server_sent_events

    async def hear():
        listener = Listener()
        listener.put([b"%d" % number for number in range(MAX_QUEUED_ALERTS + 5)])
        return [event async for event in server_sent_events(listener, lambda: False)]

    events = asyncio.run(hear())
    assert len(events) == MAX_QUEUED_ALERTS + 2
    assert events[-2] == b"event: alert\ndata: %d\n\n" % (MAX_QUEUED_ALERTS - 1)
    assert events[-1].startswith(b"event: dropped\n")


def test_an_alert_has_one_shape_in_the_table_and_on_the_topic(gateway, tmp_path, mortal_kafka):
    rows = [alert(0), alert(1, event='["t1", "t2"]', versions={"baseline": None, "model": None, "rules": None})]
    with listening(gateway) as answer:
        with Producer(mortal_kafka.connection) as producer:
            for row in rows:
                written = {name: row[name] for name in ALERT_SCHEMA.names}
                written["event_time"] = written["ingest_time"] = "2020-03-01T23:30:00.000Z"
                written["versions"] = {name: value for name, value in row["versions"].items() if value is not None}
                producer.send("finance_fraud.alerts", b"k", json.dumps(written).encode())
        streamed = [next_alert(answer) for _ in rows]
    times = [
        datetime.fromtimestamp(record.timestamp / 1_000, UTC)
        for record in read_all(mortal_kafka.connection, "finance_fraud.alerts")
    ]
    store(tmp_path, [row | {"alert_time": time} for row, time in zip(rows, sorted(times), strict=True)])
    _, page, _ = gateway.ask("GET", PATH)
    assert page["alerts"] == streamed
    assert [each["events"] for each in streamed] == [["e"], ["t1", "t2"]]
    assert streamed[0]["versions"] == {"baseline": "1", "model": None, "rules": "r"}


def test_what_is_no_alert_on_the_topic_is_passed_over(gateway, mortal_kafka):
    with listening(gateway) as answer, Producer(mortal_kafka.connection) as producer:
        for value in (b"{", b"[]", b"1", b'{"event_time": "soon"}', b'{"versions": 1, "alert_id": 0}', b'{"alert_id": 4}'):
            producer.send("finance_fraud.alerts", b"k", value)
        assert next_alert(answer)["alert_id"] == 4
