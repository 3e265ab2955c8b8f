"""What the intake takes, what it refuses and why, and what it says of it; over HTTP, to a broker."""

import gzip
import json
import os
import socket
import time
import zlib

import pytest

from common.gateway import request_bodies
from common.gateway.byte_budget import ByteBudget
from common.gateway.refusals import BodyRefused
from common.kafka.reader import read_all

TOPIC = "finance_fraud.events"


def values(kafka, topic=TOPIC):
    return [json.loads(record.value) for record in read_all(kafka.connection, topic)]


@pytest.fixture
def five(generated_events):
    return generated_events("finance_fraud", 5)


def ndjson(events):
    return "\n".join(map(json.dumps, events)).encode() + b"\n\n"


def ids(events):
    return [event["transaction_id"] for event in events]


def test_one_an_array_and_lines_are_answered_with_their_ids_and_are_on_the_topic(gateway, mortal_kafka, five):
    assert gateway.post(five[0])[:2] == (202, {"accepted": 1, "ids": ids(five[:1])})
    assert gateway.post(five)[:2] == (202, {"accepted": 5, "ids": ids(five)})
    assert gateway.post(ndjson(five), content_type="application/x-ndjson")[:2] == (202, {"accepted": 5, "ids": ids(five)})
    assert sorted(ids(values(mortal_kafka))) == sorted(ids(five[:1] + five + five))
    assert {record.key.decode() for record in read_all(mortal_kafka.connection, TOPIC)} == {event["card_id"] for event in five}


@pytest.mark.parametrize("name", ["retail_behavior", "health_monitoring", "telecom_anomaly"])
def test_every_vertical_has_an_intake(gateway, mortal_kafka, generated_events, name):
    events = generated_events(name, 3)
    assert gateway.post(events, name)[:2][0] == 202
    assert len(values(mortal_kafka, f"{name}.events")) == 3


def test_bad_events_have_their_reason_and_the_good_ones_of_the_request_are_kept(gateway, mortal_kafka, five):
    wrong = [five[1] | {"amount": -1}, five[2] | {"amount": "1"}, five[3] | {"merchant": "m"}, {}, 5]
    for content in (
        {"events": [five[0], *wrong, five[4]]},
        {"events": ndjson([five[0], *wrong, five[4]]), "content_type": "application/x-ndjson"},
    ):
        status, told, _ = gateway.post(**content)
        assert (status, told["accepted"], told["ids"]) == (422, 2, ids([five[0], five[4]]))
        assert [(each["index"], each["id"], each["reason"]) for each in told["rejected"]] == [
            (1, ids(five)[1], "out_of_range"),
            (2, ids(five)[2], "wrong_type"),
            (3, ids(five)[3], "unknown_field"),
            (4, None, "missing_field"),
            (5, None, "malformed_json"),
        ]
    assert sorted(ids(values(mortal_kafka))) == sorted(ids([five[0], five[4]] * 2))


@pytest.mark.parametrize("body", [b"", b"{", b"[{}", b"null", b'{"a": NaN}', b"\xff", b"[" * 100_000, b"[1, 2"])
def test_a_body_that_is_no_event_is_told_so(gateway, body):
    status, told, _ = gateway.post(body)
    assert (status, told["rejected"][0]["index"]) == (422, 0)


def test_a_name_that_is_there_twice_is_found_in_one_in_lines_and_in_an_array(gateway, five):
    twice = json.dumps(five[0])[:-1].encode() + b', "amount": 2}'
    other = json.dumps(five[1]).encode()
    array = b"[%s, %s]" % (other, twice)
    for body, kind, index in ((twice, "json", 0), (other + b"\n" + twice, "x-ndjson", 1), (array, "json", 1)):
        status, told, _ = gateway.post(body, content_type=f"application/{kind}")
        assert (status, [(each["index"], each["reason"]) for each in told["rejected"]]) == (422, [(index, "duplicate_field")])


def test_an_array_with_white_space_and_escapes_is_taken_as_it_is(gateway, mortal_kafka, five):
    odd = five[0] | {"card_id": 'c":"\\é, ]'}
    status, told, _ = gateway.post(json.dumps([odd, five[1]], separators=(" ,\n", " : ")).encode())
    assert (status, told["ids"]) == (202, ids(five[:2]))
    assert odd["card_id"] in {event["card_id"] for event in values(mortal_kafka)}


def test_gzip_is_unpacked_and_a_bomb_is_not(start_gateway, five):
    gateway = start_gateway(gateway_body_megabytes=1)
    packed = gzip.compress(ndjson(five[:3])) + gzip.compress(ndjson(five[3:]))
    status, told, _ = gateway.post(packed, content_encoding="gzip", content_type="application/x-ndjson")
    assert (status, told["ids"]) == (202, ids(five))
    bomb = zlib.compressobj(wbits=31)
    bomb = bomb.compress(b" " * 500_000_000) + bomb.flush()
    assert len(bomb) < 1_000_000
    assert gateway.post(bomb, content_encoding="gzip")[0] == 413
    assert gateway.post(packed[:-4], content_encoding="gzip")[0] == 400
    assert gateway.post(b"no gzip", content_encoding="gzip")[0] == 400
    assert gateway.post(b"{}", content_encoding="br")[0] == 415


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(start_gateway):
    gateway = start_gateway(gateway_body_megabytes=1)
    assert gateway.post(b" " * 1_048_577)[0] == 413
    chunks = (b" " * 100_000 for _ in range(20))
    assert gateway.ask("POST", "/v1/finance_fraud/events", chunks, content_type="application/json")[0] == 413


def test_a_body_that_does_not_come_is_not_waited_for(gateway, monkeypatch):
    monkeypatch.setattr(request_bodies, "BODY_TIMEOUT_SECONDS", 0.2)
    head = b"\r\n".join((b"POST /v1/finance_fraud/events HTTP/1.1", b"Host: localhost", b"Content-Type: application/json",
                         b"Content-Length: 9", b"", b""))  # fmt: skip
    for part in (b"", b"{"):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
            client.sendall(head + part)
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408") and b"within 0.2 s" in answer


def test_an_event_that_no_topic_takes_is_refused_and_the_others_are_kept(gateway, five):
    large = json.dumps(five[0])[:-1].encode() + b" " * 950_000 + b"}"
    status, told, _ = gateway.post(large + b"\n" + json.dumps(five[1]).encode(), content_type="application/x-ndjson")
    assert (status, told["ids"], told["rejected"][0]["reason"]) == (422, ids(five[1:2]), "too_large")


@pytest.mark.parametrize("part", [0, 50])
def test_a_request_that_is_cut_off_can_be_sent_again_with_its_key(gateway, five, part):
    body = json.dumps(five).encode()
    head = (
        b"POST /v1/finance_fraud/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Idempotency-Key: up-1\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(head + body[:part])
        deadline = time.monotonic() + 10
        while not gateway.server.server_state.tasks:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while gateway.server.server_state.tasks:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert gateway.post(five, idempotency_key="up-1")[:2] == (202, {"accepted": 5, "ids": ids(five)})


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_a_content_type_that_a_page_could_send_unasked_is_refused(gateway, kind):
    assert gateway.post(b"{}", content_type=kind)[0] == 415


def test_what_is_not_there_and_what_is_not_done(gateway):
    assert gateway.post({}, "unknown")[0] == 404
    status, _, headers = gateway.ask("GET", "/v1/finance_fraud/events")
    assert (status, headers["allow"]) == (405, "POST")


def test_another_method_is_told_to_clients_only_and_costs_an_event(start_gateway):
    closed = start_gateway(is_open=False)
    assert [closed.ask("GET", f"/v1/{name}/events")[0] for name in ("finance_fraud", "nothing")] == [401, 401]
    gateway = start_gateway(gateway_rate=1)
    statuses = [gateway.ask("GET", "/v1/finance_fraud/events")[0] for _ in range(4)]
    assert statuses[0] == 405 and statuses.count(429) >= 2


def test_a_repeated_key_is_answered_as_before_and_sends_nothing(gateway, mortal_kafka, five):
    mixed = [five[0], five[1] | {"amount": -1}]
    first = gateway.post(mixed, idempotency_key="k1")
    again = gateway.post(mixed, idempotency_key="k1")
    assert first[:2] == again[:2] and first[0] == 422
    assert len(values(mortal_kafka)) == 1
    status, told, _ = gateway.post(five, idempotency_key="k1")
    assert status == 422 and "Idempotency-Key" in told["detail"]
    assert gateway.post(five[1:], idempotency_key="k2")[0] == 202
    assert gateway.post(five[1:], idempotency_key="k" * 256)[0] == 400


def test_a_client_that_sends_too_much_is_asked_to_wait(start_gateway, five):
    gateway = start_gateway(gateway_rate=2)
    assert gateway.post(five)[0] == 202
    status, _, headers = gateway.post(five)
    assert status == 429 and 1 <= int(headers["retry-after"]) <= 2


def test_a_patient_is_named_in_no_answer_but_by_the_id_of_the_event(gateway, generated_events):
    [event] = generated_events("health_monitoring", 1)
    wrong = [event | {"patient_id": "Quastenflosser", "heart_rate_bpm": "Quastenflosser"},
             event | {"patient_id": ["Quastenflosser"]}, event | {"Quastenflosser": 1},
             event | {"patient_id": "Quastenflosser" * 10}, "Quastenflosser"]  # fmt: skip
    status, told, _ = gateway.post(wrong, "health_monitoring")
    assert status == 422 and len(told["rejected"]) == 5
    assert "Quastenflosser" not in json.dumps(told)


def test_a_fhir_observation_goes_to_the_topic_as_an_event_of_ours(gateway, mortal_kafka):
    observation = {
        "resourceType": "Observation", "id": "o9", "status": "final", "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-03-02T11:00:00Z", "valueQuantity": {"value": 72, "code": "/min"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    }  # fmt: skip
    told = gateway.post(observation, "health_monitoring", content_type="application/fhir+json")
    assert told[:2] == (202, {"accepted": 1, "ids": ["o9"]})
    [record] = read_all(mortal_kafka.connection, "health_monitoring.events")
    assert record.key == b"p1" and json.loads(record.value) == {
        "observation_id": "o9",
        "patient_id": "p1",
        "heart_rate_bpm": 72.0,
        "event_time": "2020-03-02T11:00:00Z",
    }
    status, told, _ = gateway.post([observation | {"status": "cancelled"}], "health_monitoring")
    assert status == 422 and told["rejected"] == [
        {
            "index": 0,
            "id": "o9",
            "reason": "untranslatable",
            "detail": "no event can be made of this FHIR R4 Observation: its status is not one of a reported value",
        }
    ]


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_byte_order_mark_is_passed_over(gateway, mortal_kafka, five, kind):
    body = json.dumps(five).encode() if kind.endswith("/json") else ndjson(five)
    assert gateway.post(b"\xef\xbb\xbf" + body, content_type=kind)[:2] == (202, {"accepted": 5, "ids": ids(five)})
    assert all(record.value.startswith(b"{") for record in read_all(mortal_kafka.connection, TOPIC))


ODD_EVENTS = {
    "levels in an array of an object": b'{"transaction_id": [%s%s]}' % (b"[" * 300, b"]" * 300),
    "levels in an object": b'{"a": ' * 600 + b"1" + b"}" * 600,
    "very many levels": b"[" * 100_000 + b"]" * 100_000,
    "levels where an id stands": b'{"resourceType": "Observation", "id": %s"x"%s}' % (b"[" * 900, b"]" * 900),
    "half a surrogate": b'{"transaction_id": "\\ud800"}',
    "a long number": b'{"amount": %s}' % (b"9" * 2_000),
}


@pytest.mark.parametrize("name", ["finance_fraud", "health_monitoring"])
@pytest.mark.parametrize("odd", ODD_EVENTS.values(), ids=ODD_EVENTS)
def test_an_odd_event_is_refused_and_those_beside_it_are_taken(gateway, generated_events, name, odd):
    good = generated_events(name, 2)
    for kind, body in (
        ("application/x-ndjson", b"\n".join([json.dumps(good[0]).encode(), odd, json.dumps(good[1]).encode()])),
        ("application/json", b"[%s, %s]" % (json.dumps(good[0]).encode(), odd)),
    ):
        status, told, _ = gateway.post(body, name, content_type=kind)
        assert status == 422, told
        if kind.endswith("ndjson"):
            assert told["accepted"] == 2 and [each["index"] for each in told["rejected"]] == [1]


def test_what_is_too_much_costs_as_much_as_what_is_taken(gateway):
    began = time.monotonic()
    answers = [gateway.post(b"0\n" * 300_000, content_type="application/x-ndjson")[0] for _ in range(12)]
    assert set(answers) <= {413, 429} and answers.count(413) <= 2 + time.monotonic() - began, "one a second"


PACKED = gzip.compress(b" " * 3_000_000, mtime=0)


@pytest.mark.parametrize("body", [PACKED[:-4], PACKED[:-8] + b"\0" * 8, PACKED + b"?"], ids=["cut", "wrong sum", "more"])
def test_what_is_unpacked_in_vain_counts_as_what_is_taken(start_gateway, body):
    gateway = start_gateway(gateway_rate=1_000)
    assert gateway.post(body, content_encoding="gzip")[0] == 400
    status, _, headers = gateway.post(body, content_encoding="gzip")
    assert status == 429 and 1 <= int(headers["retry-after"]) <= 4


@pytest.mark.parametrize("sizes", [[0], [1], [700_000, 0, 300_000], [10] * 100])
def test_gzip_is_unpacked_whole_however_it_is_packed(sizes):
    texts = [b"%d," % size * (size // 8) + b"." * (size % 8) for size in sizes]
    random = os.urandom(400_000)  # does not pack, so that the packed text has several pieces too
    with ByteBudget(10**8).open_share("ann") as share:
        for parts in (texts, [*texts, random], [random, *texts][:100]):
            packed = b"".join(map(gzip.compress, parts[:100]))
            assert request_bodies.unpack(packed, "gzip", 2_000_000, share) == b"".join(parts[:100])
            with pytest.raises(BodyRefused) as refusal:
                request_bodies.unpack(packed[:-1], "gzip", 2_000_000, share)
            assert refusal.value.status == 400


def test_an_answer_explains_only_so_many_refusals_and_then_nothing_is_taken(start_gateway, mortal_kafka, five):
    gateway = start_gateway(gateway_rate=0)
    at_most = [*five, *[0] * 1_000]
    status, told, _ = gateway.post(at_most)
    assert (status, told["accepted"], len(told["rejected"])) == (422, 5, 1_000)
    too_many = [(json.dumps([*five, *[0] * 1_001]).encode(), "application/json"), (b"0\n" * 200_000, "application/x-ndjson"),
                (b"[" + b"0," * 200_000 + b"0]", "application/json")]  # fmt: skip
    for body, kind in too_many:
        status, told, headers = gateway.post(body, content_type=kind)
        assert status == 413 and "nothing of it was taken" in told["detail"]
        assert int(headers["content-length"]) < 500
    assert len(values(mortal_kafka)) == 5


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}])
def test_an_answer_repeats_little_of_what_was_refused(gateway, five, key):
    large = ("i" * 700_000, "\x01\u00e9" * 50_000)
    wrong = [each | {"amount": -1, "transaction_id": text} for each, text in zip(five, large, strict=False)]
    wrong += [five[2] | {"n" * 40_000: 1, "transaction_id": "i" * 100_000}]
    status, told, headers = gateway.post(ndjson(wrong), content_type="application/x-ndjson", **key)
    assert status == 422 and int(headers["content-length"]) < 10_000
    assert [each["id"] for each in told["rejected"]] == [each["transaction_id"][:200] for each in wrong]


def test_a_gzip_body_of_many_members_is_refused_before_it_costs_much(gateway):
    assert gateway.post(gzip.compress(b"") * 200_000, content_encoding="gzip")[0] == 413
