"""Whatever a client sends, it is answered as OpenAPI says: no body makes a 500, and what was taken is told truly."""

import gzip
import json
import re
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.contract.json_schema import event_schema
from common.contract.python_parser import PythonContract, ValidEvent
from common.gateway import app
from common.gateway.openapi import INTAKE_RESPONSES
from common.gateway.request_bodies import MAX_EVENTS
from common.gateway.tokens import TokenFile
from common.installed import find_vertical, vertical_names
from common.kafka.reader import read_all

POST = b"POST /v1/finance_fraud/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def one_gateway(tmp_path_factory):
    from tests.fast.conftest import MockKafka, Running

    kafka = MockKafka()
    with Running(kafka.connection, tmp_path_factory.mktemp("data"), gateway_rate=0) as running:
        yield running
    kafka.stop()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2024-04-01T10:00:00Z", "\ud800", "final", "Observation", 10**400, 1e308, -0.0, 3.0])
)
FIELDS = {field for name in vertical_names() for field in find_vertical(name).event_schema.names}
OTHERS = {"resourceType", "status", "code", "coding", "valueQuantity", "subject", "component", "event", "commonEventHeader",
          "perf3gppFields", "measDataCollection"}  # fmt: skip
NAMES = st.text(max_size=5) | st.sampled_from(sorted(FIELDS | OTHERS))
VALUES = st.deferred(lambda: SCALARS | st.lists(VALUES, max_size=4) | st.dictionaries(NAMES, VALUES, max_size=6))
DEEP = st.builds(
    lambda begin, depth, end: begin * depth + b"1" + end * depth,
    st.sampled_from([b"[", b'{"a":', b'[{"id":', b'{"transaction_id":[']), st.integers(1, 3_000),
    st.sampled_from([b"]", b"}", b"]}", b"}]"]),
)  # fmt: skip
TEXTS = VALUES.map(lambda value: json.dumps(value).encode(errors="replace"))
CUT = st.builds(lambda text, at: text[: at % (len(text) + 1)], TEXTS, st.integers(0, 1_000))
EVENTS = st.one_of(TEXTS, DEEP, CUT, st.binary(max_size=50))
SEVERAL = st.lists(EVENTS, max_size=4)
BODIES = SEVERAL.map(b"\n".join) | SEVERAL.map(lambda each: b"[" + b",".join(each) + b"]")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    body=BODIES,
    kind=st.sampled_from(["application/json", "application/x-ndjson", "application/fhir+json"]),
    encoding=st.sampled_from(["", "gzip", "packed", "br"]),
    name=st.sampled_from(vertical_names()),
    key=st.sampled_from([None, "k", "k" * 300]),
)
def test_no_body_makes_a_500(one_gateway, body, kind, encoding, name, key):
    headers = {"idempotency_key": key} if key else {}
    if encoding:
        headers["content_encoding"] = "gzip" if encoding == "packed" else encoding
    sent = gzip.compress(body) if encoding == "packed" else body
    status, told, _ = one_gateway.post(sent, name, content_type=kind, **headers)
    assert str(status) in INTAKE_RESPONSES and status != 503, told
    if status in (202, 422) and "accepted" in told:
        assert told["accepted"] == len(told["ids"])
        indices = [each["index"] for each in told.get("rejected", [])]
        assert indices == sorted(set(indices))


def test_a_defect_in_judging_one_event_is_that_event_s(one_gateway, generated_events, monkeypatch):
    good, bad = generated_events("finance_fraud", 2)
    judge = PythonContract.validate

    def broken(self, raw, latest):
        if bad["transaction_id"].encode() in raw:
            raise ZeroDivisionError
        return judge(self, raw, latest)

    monkeypatch.setattr(PythonContract, "validate", broken)
    body = b"\n".join(json.dumps(each).encode() for each in (good, bad))
    status, told, _ = one_gateway.post(body, content_type="application/x-ndjson")
    assert (status, told["accepted"], told["rejected"][0]["index"]) == (422, 1, 1)


PURCHASE = {"visitor_id": "v", "event_type": "purchase", "product_id": "p", "price": 2.5, "event_time": "2024-04-01T10:00:00Z"}


def purchase(number, quantity):
    return json.dumps(PURCHASE | {"event_id": f"e{number}"})[:-1].encode() + b', "quantity": %b}' % quantity


def test_a_whole_number_is_one_however_json_writes_it(gateway, mortal_kafka):
    taken = [purchase(number, text) for number, text in enumerate((b"3.0", b"3e0", b"30E-1", b"3"))]
    assert gateway.post(b"[" + b",".join(taken) + b"]", "retail_behavior")[0] == 202
    assert gateway.post(b"\n".join(taken), "retail_behavior", "application/x-ndjson")[0] == 202
    quantities = [json.loads(record.value)["quantity"] for record in read_all(mortal_kafka.connection, "retail_behavior.events")]
    assert quantities == [3] * 8 and all(isinstance(each, int) for each in quantities)
    refused = [purchase(number, text) for number, text in enumerate((b"3.5", b"1e300", b"9007199254740993.0", b'"3"'))]
    for body, kind in ((b"[" + b",".join(refused) + b"]", "application/json"), (b"\n".join(refused), "application/x-ndjson")):
        status, told, _ = gateway.post(body, "retail_behavior", kind)
        assert (status, told["accepted"], len(told["rejected"])) == (422, 0, 4)


ODD_WRITING = {
    "space before the colon": (b'"quantity":', b'"quantity" :'), "a line before it": (b'"quantity":', b'"quantity"\n\t:'),
    "an escaped slash": (b'"p"', b'"p\\/"'), "an escaped letter": (b'"p"', b'"p\\u00fc"'),
    "an escaped name": (b'"quantity"', b'"quantit\\u0079"'), "a quote and a colon": (b'"p"', b'"p\\":"'),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_WRITING.values(), ids=ODD_WRITING)
def test_a_whole_number_is_one_beside_escapes_and_white_space(gateway, odd):
    event = purchase(1, b"3.0").replace(*odd)
    for body, kind in ((event, "json"), (b"[" + event + b"]", "json"), (b"\n" + event, "x-ndjson")):
        if not (kind == "x-ndjson" and event.count(b"\n")):
            assert gateway.post(body, "retail_behavior", f"application/{kind}")[:2] == (202, {"accepted": 1, "ids": ["e1"]})


@pytest.mark.parametrize("odd", [(b"", b""), *ODD_WRITING.values()], ids=["none", *ODD_WRITING])
def test_a_name_twice_beside_a_whole_number_is_still_told(gateway, odd):
    event = purchase(1, b"3.0").replace(*odd).replace(b"{", b'{"event_id": "other", ', 1)
    for body in (event, b"[" + event + b"]"):
        assert gateway.post(body, "retail_behavior")[0] == 422


def test_the_reason_is_the_contract_s_where_no_quick_reader_reads_the_event(gateway):
    event = purchase(1, b'"3"').replace(b'"p"', b'"\\ud800"')
    assert gateway.post(event, "retail_behavior")[1]["rejected"][0]["reason"] == "wrong_type"


@pytest.mark.parametrize(
    "time",
    [
        "2024-04-01T10:00:00Z",
        "2024-04-01T10:00:00.123456789+02:00",
        "2016-12-31T23:59:60Z",
        "2024-04-01t10:00:00z",
        "2024-04-01 10:00:00Z",
        "2024-04-01T10:00:00",
        "20240401T100000Z",
    ],
)
def test_openapi_says_which_times_are_taken(gateway, time):
    schema = event_schema(find_vertical("retail_behavior"))["properties"]["event_time"]
    event = json.loads(purchase(1, b"3")) | {"event_time": time}
    assert (gateway.post(event, "retail_behavior")[0] == 202) == bool(re.search(schema["pattern"], time))


def test_bodies_under_way_have_one_budget(monkeypatch, start_gateway, generated_events, tmp_path):
    monkeypatch.setattr(app, "MAX_BODIES_BYTES", 1_000_000)
    file = TokenFile(tmp_path)
    ann, bob, eve = (file.add(name, ["all:write"], vertical_names()) for name in ("ann", "bob", "eve"))
    gateway, body = start_gateway(gateway_body_megabytes=1), b"[" + b" " * 990_000 + b"]"

    def told(text, status):
        deadline = time.monotonic() + 10
        while (answer := gateway.post(body, authorization=f"Bearer {text}"))[0] != status:
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
        return answer

    with ExitStack() as stack:
        for text in [ann, bob] * 3:  # of six megabytes half is one client's, whoever else comes
            client = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=10))
            bearer = b"Authorization: Bearer " + text.encode() + b"\r\n"
            client.sendall(POST + bearer + b"Content-Length: 1040000\r\n\r\n" + b"[" * 1_030_000)
        # Until all of it has come: of two requests that ask for the last bytes the one that asks later is refused.
        intake, deadline = gateway.gateway._intakes["/v1/finance_fraud/events"], time.monotonic() + 25
        held = intake._resources.budget._bytes_by_client
        while held.total() < 6 * 1_030_000:
            assert time.monotonic() < deadline, held
            time.sleep(0.01)
        for text, status in ((ann, 429), (bob, 429), (eve, 503)):
            _, answer, headers = told(text, status)
            assert int(headers["retry-after"]) >= 1 and "memory" in answer["detail"]
    for text in (ann, eve):
        told(text, 202)


@pytest.mark.parametrize(
    "body",
    [b"[" + b"0," * 700_000 + b"0]", b"[" + b"[]," * 400_000 + b"[]]", b"\n" * 1_000_000, b'{"a":[' + b"0," * 500_000 + b"0]}"],
    ids=["numbers", "lists", "lines", "in one event"],
)
def test_what_would_grow_many_times_over_is_refused_before_it_does(monkeypatch, start_gateway, body):
    monkeypatch.setattr(app, "MAX_BODIES_BYTES", 20_000_000)
    gateway = start_gateway(gateway_body_megabytes=2)
    kind = "application/x-ndjson" if body[:1] == b"\n" else "application/json"
    status, told, headers = gateway.post(body, content_type=kind)
    assert status in (413, 422) and int(headers["content-length"]) < 1_000, told


def test_more_than_kafka_s_buffer_ever_holds_is_413(gateway, monkeypatch, generated_events):
    delivery = gateway.gateway._producer
    monkeypatch.setattr(delivery, "_max_records", 3)
    status, told, _ = gateway.post(generated_events("finance_fraud", 5))
    assert status == 413 and "at most 3 events" in told["detail"]
    assert gateway.post(generated_events("finance_fraud", 3))[0] == 202


def test_all_who_ask_whether_it_is_ready_wait_for_one_look(gateway, monkeypatch):
    looks, delivery = [], gateway.gateway._producer
    has_broker = delivery.has_broker
    monkeypatch.setattr(delivery, "has_broker", lambda: looks.append(time.sleep(0.3)) or has_broker())
    asked = [threading.Thread(target=gateway.ask, args=("GET", "/readyz")) for _ in range(30)]
    for each in asked:
        each.start()
    for each in asked:
        each.join()
    assert len(looks) <= 2
    assert gateway.ask("GET", "/readyz")[:2] == (200, {"status": "ready"})


def test_as_many_events_as_are_allowed_are_taken_within_the_usual_budget(one_gateway, generated_events):
    event = generated_events("finance_fraud", 1)[0] | {"transaction_id": "t"}
    contract = PythonContract(find_vertical("finance_fraud"))
    required = ("transaction_id", "card_id", "terminal_id", "amount", "currency", "channel", "event_time")
    small = {name: event[name] for name in required}
    line = json.dumps(small, separators=(",", ":")).encode()
    assert isinstance(contract.validate(line, contract.latest_event_time()), ValidEvent)
    number = min(MAX_EVENTS, (8 << 20) // (len(line) + 1))
    assert one_gateway.post(b"\n".join([line] * number), content_type="application/x-ndjson")[0] == 202
    assert one_gateway.post(b"[" + b",".join([line] * number) + b"]")[0] == 202
