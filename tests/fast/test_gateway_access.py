"""Who gets in: by token and scope, and into an open gateway this machine only. No secret is kept, shown or logged."""

import http.client
import json
import socket
import stat
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from common.commands.gateway import list_tokens
from common.gateway import tokens as module
from common.gateway.address import Address
from common.gateway.app import MAX_QUERY_BYTES
from common.gateway.limits import REFUSAL_DELAY_SECONDS, RateLimiter
from common.gateway.tokens import TokenFile, Tokens, parse_end
from common.installed import vertical_names
from common.kafka.producers import Producer
from common.settings import SettingsError

KNOWN = ["finance_fraud", "health_monitoring"]


@pytest.fixture
def at_once(monkeypatch):
    """Changes of the file are looked for at every request."""
    monkeypatch.setattr(module, "RELOAD_SECONDS", 0)


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_a_token_does_what_its_scopes_say_until_it_is_revoked(gateway, tmp_path, generated_events, at_once):
    file, events = TokenFile(tmp_path), generated_events("finance_fraud", 1)
    assert gateway.post(events)[0] == 202, "open to this machine, and never a token"
    writer = file.add("shop", ["finance_fraud:write"], KNOWN)
    reader = file.add("screen", ["all:read"], KNOWN)
    for headers, expected in (
        (bearer(writer), 202),
        (bearer(reader), 403),
        ({}, 401),
        (bearer(writer + "x"), 401),
        (bearer("é"), 401),
        (bearer(""), 401),
        ({"authorization": f"Basic {writer}"}, 401),
        (bearer(writer.split(".")[0]), 401),
    ):
        status, told, answered = gateway.post(events, **headers)
        assert status == expected, (headers, told)
        assert ("www-authenticate" in answered) == (status == 401)
    assert gateway.post([], "health_monitoring", **bearer(writer))[0] == 403
    assert gateway.ask("GET", "/v1/finance_fraud/alerts", **bearer(reader))[0] == 404, "there is no table, and it may know"
    assert gateway.ask("GET", "/v1/finance_fraud/alerts", **bearer(writer))[0] == 403
    assert gateway.ask("GET", "/v1/finance_fraud/alerts/stream")[0] == 401
    assert gateway.ask("GET", "/healthz")[0] == 200
    file.revoke("shop")
    assert gateway.post(events, **bearer(writer))[0] == 401
    file.revoke("screen")
    assert gateway.post(events)[0] == 401, "who revokes the last token does not let everybody in"
    file.path.unlink()
    assert gateway.post(events)[0] == 401, "nor a disk that went"


def test_tokens_that_went_close_the_gateway_of_the_next_process_too(start_gateway, tmp_path, generated_events):
    events, file = generated_events("finance_fraud", 1), TokenFile(tmp_path)
    with pytest.raises(SettingsError, match="there are: none"):
        file.revoke("nobody")
    assert start_gateway().post(events)[0] == 202, "there never was one"
    file.add("shop", ["all:write"], KNOWN)
    file.path.unlink()
    status, told, _ = start_gateway().post(events)
    assert status == 401 and "--open" not in told["detail"]


@pytest.mark.parametrize("name", [
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "x-forwarded-proto", "x-forwarded-port",
    "x-forwarded-server", "cf-connecting-ip", "cf-ray", "true-client-ip", "x-client-ip", "client-ip", "x-cluster-client-ip",
    "x-original-url", "x-original-host", "x-original-forwarded-for", "fastly-client-ip", "x-amzn-trace-id",
    "x-envoy-external-address",
])  # fmt: skip
def test_an_open_gateway_serves_nothing_that_a_proxy_passes_on(gateway, generated_events, name):
    status, told, _ = gateway.post(generated_events("finance_fraud", 1), **{name.replace("-", "_"): "10.0.0.1"})
    assert status == 403 and f"({name})" in told["detail"]


def answer_to(gateway, head):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(head + b"\r\n\r\n")
        return client.recv(4096)


@pytest.mark.parametrize(("head", "expected"), [
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost", 200),
    (b"GET /openapi.json HTTP/1.1\r\nHost: [::1]:80", 200),
    (b"GET /openapi.json HTTP/1.1\r\nHost: LOCALHOST:80\r\nOrigin: http://127.0.0.1:3000\r\nSec-Fetch-Site: same-site", 200),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none", 200),
    (b"GET /openapi.json HTTP/1.0\r\nHost: localhost", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\nHost: localhost", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 403),
    (b"GET /openapi.json HTTP/1.1", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: ", 403),
    (b"GET http://evil.example/openapi.json HTTP/1.1\r\nHost: localhost", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nX_Forwarded_For: 10.0.0.1", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost.evil.example", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost@evil.example", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nOrigin: null", 403),
    (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site", 403),
])  # fmt: skip
def test_an_open_gateway_serves_what_this_machine_asks_itself(gateway, head, expected):
    assert answer_to(gateway, head).split()[1] == b"%d" % expected


def test_with_a_token_a_proxy_may_stand_before_it(start_gateway, tmp_path):
    text = TokenFile(tmp_path).add("proxy", ["all:read"], KNOWN)
    head = b"GET /openapi.json HTTP/1.0\r\nHost: shop.example\r\nX-Forwarded-For: 10.0.0.1\r\nAuthorization: Bearer "
    assert answer_to(start_gateway(), head + text.encode()).split()[1] == b"200"


def test_openness_is_a_decision(start_gateway, generated_events, tmp_path, at_once):
    gateway, events = start_gateway(is_open=False), generated_events("finance_fraud", 1)
    alerts = "/v1/finance_fraud/alerts"
    reads = [gateway.ask("GET", path) for path in (alerts, f"{alerts}/stream", "/openapi.json")]
    for status, told, _ in (gateway.post(events), *reads):
        assert status == 401 and "hybrid token add" in told["detail"] and "--open" in told["detail"]
    text = TokenFile(tmp_path).add("shop", ["finance_fraud:write"], KNOWN)
    assert gateway.post(events, **bearer(text))[0] == 202
    status, told, _ = gateway.post(events)
    assert status == 401 and "--open" not in told["detail"], "it would not help any more"


@pytest.mark.parametrize("text", ["{", "[{}]", '[{"id": "x"}]', "{}", "null", "[1]"])
def test_tokens_that_cannot_be_read_let_nobody_in(gateway, tmp_path, generated_events, at_once, text):
    file, events = TokenFile(tmp_path), generated_events("finance_fraud", 1)
    shop = file.add("shop", ["all:write"], KNOWN)
    whole = file.path.read_text()
    file.path.write_text(text)
    assert [gateway.post(events, **headers)[0] for headers in ({}, bearer(shop))] == [401, 401]
    file.path.write_text(whole)
    assert gateway.post(events, **bearer(shop))[0] == 202


def test_openapi_tells_a_token_of_its_own_verticals_and_others_of_none(gateway, tmp_path, at_once):
    paths = gateway.ask("GET", "/openapi.json")[1]["paths"]
    assert len([path for path in paths if path.endswith("/events")]) == len(vertical_names())
    assert gateway.ask("GET", "/openapi.json", host="evil.example")[0] == 403
    file = TokenFile(tmp_path)
    one, every = file.add("one", ["finance_fraud:write"], KNOWN), file.add("every", ["all:read"], KNOWN)
    assert gateway.ask("GET", "/openapi.json")[0] == 401
    told = json.dumps(gateway.ask("GET", "/openapi.json", **bearer(one))[1])
    assert "finance_fraud" in told and not any(name in told for name in vertical_names() if name != "finance_fraud")
    assert all(name in json.dumps(gateway.ask("GET", "/openapi.json", **bearer(every))[1]) for name in vertical_names())


def test_a_token_ends_when_it_was_said_to(gateway, tmp_path, generated_events, at_once):
    file, events = TokenFile(tmp_path), generated_events("finance_fraud", 1)
    soon = file.add("guest", ["all:write", "all:read"], KNOWN, datetime.now(UTC) + timedelta(seconds=1.5))
    later = file.add("shop", ["all:write"], KNOWN, datetime.now(UTC) + timedelta(days=1))
    with open_stream(gateway, soon) as answer:
        assert gateway.post(events, **bearer(soon))[0] == 202
        began = time.monotonic()
        answer.read()
        assert time.monotonic() - began < 4
    status, told, _ = gateway.post(events, **bearer(soon))
    assert status == 401 and "was good until" in told["detail"]
    assert gateway.post(events, **bearer(soon + "x"))[1]["detail"] != told["detail"], "who has not the token learns nothing of it"
    assert gateway.post(events, **bearer(later))[0] == 202


@pytest.mark.parametrize(("text", "end"), [
    ("2100-02-28", "2100-03-01T00:00:00+00:00"), ("2100-01-01T12:00", "2100-01-01T12:00:00+00:00"),
    ("2100-01-01T12:00+02:00", "2100-01-01T10:00:00+00:00"),
])  # fmt: skip
def test_the_last_day_of_a_token_is_whole_and_utc_s(text, end):
    assert parse_end(text).isoformat() == end


@pytest.mark.parametrize("text", ["tomorrow", "2020-01-01", "9999-12-31", "2100-13-01", "", "0001-01-01T00:00+14:00"])
def test_an_end_that_is_none_or_over_is_told(text):
    with pytest.raises(SettingsError, match="--until"):
        parse_end(text)


@contextmanager
def open_stream(gateway, text):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.request("GET", "/v1/finance_fraud/alerts/stream", headers=bearer(text))
    answer = connection.getresponse()
    assert answer.readline() == b": listening\n"
    yield answer
    connection.close()


def test_a_revoked_token_ends_its_stream(gateway, mortal_kafka, tmp_path, at_once):
    file = TokenFile(tmp_path)
    text = file.add("screen", ["all:read"], KNOWN)
    with open_stream(gateway, text) as answer:
        file.revoke("screen")
        with Producer(mortal_kafka.connection) as producer:
            producer.send("finance_fraud.alerts", b"k", b'{"alert_id": 1}')
        began = time.monotonic()
        rest = answer.read()
        assert time.monotonic() - began < 5 and b"alert_id" not in rest


def test_beyond_this_machine_nobody_gets_in_when_the_last_token_is_gone(start_gateway, tmp_path, at_once):
    gateway, file = start_gateway(is_open=False), TokenFile(tmp_path)
    text = file.add("a", ["all:write"], KNOWN)
    assert gateway.post([], **bearer(text))[0] == 202
    file.revoke("a")
    assert gateway.post([], **bearer(text))[0] == 401
    assert gateway.post([])[0] == 401


def test_a_page_that_points_its_own_name_at_this_machine_is_refused(gateway):
    assert gateway.post([], host="evil.example:80")[0] == 403
    assert gateway.post([], host="localhost")[0] == 202


def test_the_file_is_its_owner_s_and_holds_no_token(tmp_path):
    file = TokenFile(tmp_path)
    text = file.add("a", ["finance_fraud:write", "all:read"], KNOWN)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert text.partition(".")[2] not in file.path.read_text()
    [token] = file.read()
    assert (token.name, token.scopes) == ("a", ("finance_fraud:write", "all:read"))
    assert token.has_scope("finance_fraud", "write") and not token.has_scope("health_monitoring", "write")
    assert Tokens(file).find(f"bearer {text}".encode()) == token


@pytest.mark.parametrize("scope", ["finance_fraud", "finance_frod:write", "all:delete", "", ":read"])
def test_a_scope_that_is_none_is_told(tmp_path, scope):
    with pytest.raises(SettingsError, match="VERTICAL:VERB"):
        TokenFile(tmp_path).add("a", [scope], KNOWN)


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "a\x1b[2J", "a\u202eb", "a" * 101])
def test_a_name_that_would_not_be_seen_as_it_is_is_told(tmp_path, name):
    with pytest.raises(SettingsError, match="name"):
        TokenFile(tmp_path).add(name, ["all:read"], KNOWN)


@pytest.mark.parametrize("name", ["[/x]", "[red]x", ":smile:", "a b", "Łukasz"])
def test_tokens_are_listed_by_the_names_that_were_given(tmp_path, capsys, name):
    TokenFile(tmp_path).add(name, ["all:read"], KNOWN)
    list_tokens(tmp_path)
    assert f"\n{name} " in capsys.readouterr().out


def test_names_are_given_once_and_unknown_ones_are_told(tmp_path):
    file = TokenFile(tmp_path)
    file.add("a", ["all:read"], KNOWN)
    with pytest.raises(SettingsError, match="already"):
        file.add("a", ["all:read"], KNOWN)
    with pytest.raises(SettingsError, match="there are: a"):
        file.revoke("b")
    file.path.write_text(json.dumps([{"name": "x"}]))
    with pytest.raises(SettingsError, match="not readable"):
        file.read()


def test_others_may_reach_it_only_with_token_and_tls(tmp_path):
    (tmp_path / "c.pem").touch()
    tls = {"certificate": tmp_path / "c.pem", "key": tmp_path / "c.pem"}
    none = Tokens(TokenFile(tmp_path / "none"))
    TokenFile(tmp_path).add("a", ["all:read"], KNOWN)
    some = Tokens(TokenFile(tmp_path))
    for host in ("127.0.0.1:80", "[::1]:80", "localhost:80"):
        Address.parse(host).check(none)
    for tokens, given, lacking in ((none, {}, "token.* and TLS"), (some, {}, "needs TLS"), (none, tls, r"needs a token[^T]*$")):
        with pytest.raises(SettingsError, match=lacking):
            Address.parse("0.0.0.0:80", **given).check(tokens)
    Address.parse("0.0.0.0:80", **tls).check(some)


@pytest.mark.parametrize("text", ["8080", "localhost", "localhost:http", ":80", "h:0", "h:70000"])
def test_an_address_that_is_none_is_told(text):
    with pytest.raises(SettingsError, match="HOST:PORT"):
        Address.parse(text)


def test_one_file_of_tls_without_the_other_is_told(tmp_path):
    (tmp_path / "c.pem").touch()
    with pytest.raises(SettingsError, match="give both"):
        Address.parse("127.0.0.1:80", certificate=tmp_path / "c.pem")
    with pytest.raises(SettingsError, match="not there"):
        Address.parse("127.0.0.1:80", certificate=tmp_path / "none.pem", key=tmp_path / "c.pem")


def test_who_has_no_token_waits_for_the_answer(start_gateway):
    gateway = start_gateway(is_open=False)
    for method, path in (("POST", "/v1/finance_fraud/events"), ("GET", "/v1/finance_fraud/alerts"), ("GET", "/openapi.json")):
        began = time.monotonic()
        assert gateway.ask(method, path)[0] == 401
        assert time.monotonic() - began >= REFUSAL_DELAY_SECONDS


def test_what_needs_no_token_is_answered_so_often_to_each_peer(gateway, monkeypatch, generated_events):
    monkeypatch.setattr(gateway.gateway, "_anonymous_rates", RateLimiter(1))
    for paths in (["/healthz", "/readyz", "/openapi.json", "/none"], ["//"] * 4):
        answers = [gateway.ask("GET", path) for path in paths]
        assert [status for status, _, _ in answers][1:].count(429) >= 2
        assert all("retry-after" in headers for status, _, headers in answers if status == 429)
    assert gateway.post(generated_events("finance_fraud", 1))[0] == 202, "a client's events have a rate of their own"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10, source_address=("127.0.0.2", 0)) as other:
        other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")


def test_a_path_with_a_slash_too_many_leads_nowhere(gateway):
    for path, refusal in (("/healthz/", 404), ("/v1/finance_fraud/alerts/", 403)):
        status, _, headers = gateway.ask("GET", path, host="evil.example")
        assert status == refusal and "location" not in headers
    assert gateway.ask("GET", "/v1/finance_fraud/alerts/")[0] == 404


@pytest.mark.parametrize("query", ["", "?limit=0", "?limit=0&" + "a=1&" * 2_000, "?" + "a=1&" * 6_000])
@pytest.mark.parametrize("path", ["finance_fraud/alerts", "finance_fraud/alerts/stream", "nothing", "finance_fraud/nothing"])
def test_without_a_token_nothing_of_a_request_is_read(start_gateway, tmp_path, monkeypatch, path, query):
    """Reading what is asked for costs more than asking: it is refused, and held back, before that."""
    gateway = start_gateway(is_open=False)
    monkeypatch.setattr(gateway.gateway, "fastapi", None)
    began = time.monotonic()
    status, _, _ = gateway.ask("GET", f"/v1/{path}{query}")
    assert status == (414 if len(query) > MAX_QUERY_BYTES else 401)
    assert status == 414 or time.monotonic() - began >= REFUSAL_DELAY_SECONDS


def test_what_a_client_asks_for_in_vain_counts_too(start_gateway):
    gateway = start_gateway(gateway_pages=1)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda path: gateway.ask("GET", f"/v1/{path}")[0], ["nothing", "finance_fraud/alerts?limit=0"] * 8)
        assert Counter(answers)[429] >= 8
