"""locust, as a user starts it, over a real broker: what it says was acknowledged is there, and its exit code says what held."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

import orjson
import pytest

from common.embedded.kafka import EmbeddedKafka
from common.embedded.ports import HOST, find_free_port, wait_until_listening
from common.embedded.supervise import start_supervised
from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.reader import read_all

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
VERTICAL = find_vertical("finance_fraud")

# A server that takes everything, and writes down how many events each request had.
NOTING = """
async def app(scope, receive, send):
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    with open("events", "a") as file:
        print(len(body.splitlines()), file=file)
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
"""


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory):
    """Not the shared one: other tests use the vertical's topics, too."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), partitions=2) as kafka:
        yield Connection(kafka.bootstrap_servers)


def load(connection, folder, objectives, *words):
    (folder / "objectives.toml").write_text(objectives)
    options = {
        "--objectives": folder / "objectives.toml",
        "--data": folder,
        "--bootstrap-servers": connection.bootstrap_servers,
        "--csv": folder / "load",
        "--vertical": VERTICAL.name,
        "--rate": 200,
        "--settle": "1s",
    }
    option_words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", *option_words, *words]
    environment = {**os.environ, "PYTHONPATH": str(LOCUSTFILE.parents[1]), "COLUMNS": "200"}
    run = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rows = list(csv.DictReader((folder / "load_stats.csv").open()))
    return run.returncode, run.stdout, {(row["Type"], row["Name"]): row for row in rows}


def test_every_acknowledged_record_is_on_the_topic_once_and_a_second_load_goes_on_behind_the_first(own_broker, tmp_path):
    code, printed, rows = load(own_broker, tmp_path, "[default]\nerror_share = 0\n", "--duration", "4s", "--processes", "2")
    assert code == 0, printed
    assert printed.rstrip().splitlines()[-1].startswith("PASS: all objectives held: error_share: 0"), printed
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
    assert printed.rstrip().splitlines()[-1].startswith("FAIL: alert_p99_ms: not measured"), printed
    both = [record.value for record in read_all(own_broker, "finance_fraud.events")]
    second = Counter(both) - Counter(first)
    assert second.total() == int(rows["KAFKA", "finance_fraud.events"]["Request Count"]) > 0
    assert not ids(first) & ids(second)


@pytest.mark.parametrize("batch", [1, 3])
def test_over_http_a_request_has_as_many_events_as_are_asked_for_whatever_is_a_process_s_own(tmp_path, batch):
    (tmp_path / "noting.py").write_text(NOTING)
    port = find_free_port()
    server = [sys.executable, "-m", "uvicorn", "noting:app", "--port", str(port), "--lifespan", "off"]
    slash = "/" * (batch > 1)  # as an address is often copied
    http = ["--via", "http", "--host", f"http://{HOST}:{port}{slash}", "--no-watch", "--batch", str(batch), "--processes", "2"]
    with start_supervised(server, tmp_path / "server.log", tmp_path):
        wait_until_listening(port, 60)
        no_broker = Connection(f"{HOST}:{find_free_port()}")
        code, printed, rows = load(no_broker, tmp_path, "[default]\nerror_share = 0\n", *http, "--duration", "4s")
    assert code == 0, printed
    event_counts = (tmp_path / "events").read_text().split()
    requests = sum(int(row["Request Count"]) for (kind, _), row in rows.items() if kind == "POST")
    assert requests > 20 and set(event_counts) == {str(batch)}  # the pace counts requests


def test_locust_s_page_is_for_who_has_its_password_and_for_no_other_site_s_page(tmp_path):
    port = find_free_port()
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--via", "null", "--no-watch", "--web-port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(LOCUSTFILE.parents[1]), "LOAD_PASSWORD": "open sesame"}

    def ask(method, path, body=None, **headers):
        connection = HTTPConnection(HOST, port, timeout=30)
        try:
            form = {"content-type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, form | {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    with start_supervised(command, tmp_path / "locust.log", tmp_path, environment):
        wait_until_listening(port, 60)
        start = ("POST", "/swarm", "user_count=1&spawn_rate=1")
        for method, path, body in (start, ("GET", "/stats/requests", None), ("GET", "/", None), ("GET", "/system", None)):
            status, headers, _ = ask(method, path, body)
            assert status == 302 and "/login" in headers["location"], path
        assert "/log-in" in ask("GET", "/login")[2]
        status, headers, _ = ask("POST", "/log-in", "password=guess")
        assert "/login" in headers["location"]
        status, headers, _ = ask("POST", "/log-in", "password=open+sesame")
        cookie = headers["set-cookie"]
        assert "SameSite=Strict" in cookie and "HttpOnly" in cookie
        own = {"cookie": cookie.partition(";")[0]}
        assert ask("GET", "/system", **own)[0] == 200
        for foreign in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"sec_fetch_site": "cross-site"},
            {"origin": f"http://{HOST}:{port + 1}", "sec_fetch_site": "same-site"},
            {"host": f"evil.example:{port}"},
        ):
            assert ask(*start, **own, **foreign)[0] == 403, foreign
        assert json.loads(ask("GET", "/stats/requests", **own)[2])["state"] == "ready", "nobody started a load"
        status, _, answer = ask(*start, **own, origin=f"http://{HOST}:{port}", sec_fetch_site="same-origin")
        assert status == 200 and json.loads(answer)["success"]


def ids(values):
    """Event ids of what can be read; the generator breaks one in two hundred."""
    event_ids = set()
    for value in values:
        try:
            event_ids.add(orjson.loads(value)[VERTICAL.event_id])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return event_ids
