"""Bodies that are all brackets: what they may hold is paid for before they are read, and nobody waits while they are judged."""

import asyncio
import json
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.contract.python_parser import PythonContract
from common.gateway.byte_budget import ByteBudget
from common.gateway.event_intake import LARGE_EVENT_BYTES, TURN_BYTES
from common.gateway.json_nesting import MAX_LEVELS, MAX_PARTS, is_too_nested
from common.gateway.refusals import BodyRefused
from common.gateway.request_bodies import read_events
from common.gateway.tokens import TokenFile

TEXTS = st.text('[]{}"\\,:a\n', max_size=12)
VALUES = st.recursive(st.none() | st.integers() | TEXTS,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))  # fmt: skip


def levels(value):
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=200, deadline=None)
@given(value=VALUES, around=st.integers(0, 70), text=TEXTS)
def test_levels_are_counted_as_a_reader_of_json_would(value, around, text):
    for number in range(around):
        value = [text, value] if number % 2 else {text: value}
    parts = json.dumps(["[" * 100, value])
    assert is_too_nested(parts.encode()) == (levels(value) + 1 > MAX_LEVELS)


def test_brackets_beside_each_other_are_so_many():
    assert not is_too_nested(b"[" + b"[]," * (MAX_PARTS - 2) + b"{}]")
    assert is_too_nested(b"[" + b"[]," * (MAX_PARTS - 1) + b"{}]")


def filled(element, size=600_000):
    return b"[" + b",".join([element] * (size // (len(element) + 1))) + b"]"


HEAVY = {
    "lists in lists": filled(b"[" * 900 + b"]" * 900), "lists in an object": filled(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"),
    "objects in objects": filled(b'{"":' * 900 + b"1" + b"}" * 900), "empty lists": filled(b"[]"), "empty objects": filled(b"{}"),
    "one name": filled(b'{"a":1}'), "zeros": filled(b"0"), "texts": filled(b'"aa"'), "short lists": filled(b"[0]"),
}  # fmt: skip


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY)
def test_what_reading_a_body_takes_is_charged_before(body):
    tracemalloc.start()
    try:
        with ByteBudget(10**9).open_share("a") as share:
            try:
                events = read_events(body, "", False, 10**7, share)
            except BodyRefused:
                events = None
            peak, taken = tracemalloc.get_traced_memory()[1], share.charged_bytes
    finally:
        tracemalloc.stop()
    del events
    assert peak <= 1.2 * taken + 100_000, "charged about as much"


@pytest.mark.parametrize("part", [b"[" * 900 + b"]" * 900, b'{"":' * 900 + b"1" + b"}" * 900], ids=["lists", "objects"])
def test_what_is_all_levels_is_that_event_s_fault(gateway, generated_events, part):
    good = json.dumps(generated_events("finance_fraud", 1)[0]).encode()
    deep = b'{"a": [%s]}' % b",".join([part] * 10)
    for body, kind in ((good + b"\n" + deep, "x-ndjson"), (b"[%s, %s]" % (good, deep), "json")):
        status, told, _ = gateway.post(body, content_type=f"application/{kind}")
        assert (status, told["accepted"]) == (422, 1)
        [rejected] = told["rejected"]
        assert (rejected["index"], rejected["reason"]) == (1, "malformed_json") and "64 levels" in rejected["detail"]


@pytest.mark.parametrize(("kind", "end"), [("x-ndjson", b"\n"), ("json", b",")])
def test_others_have_their_turn_by_bytes_and_large_events_are_judged_by_a_thread(gateway, monkeypatch, kind, end):
    intake, judge = gateway.gateway._intakes["/v1/finance_fraud/events"], PythonContract.validate
    loop, most, since = threading.get_ident(), 0, 0
    sizes = [100, LARGE_EVENT_BYTES // 2, 3 * LARGE_EVENT_BYTES, LARGE_EVENT_BYTES // 2] * 20
    body = end.join(b'{"a":[%s]}' % b",".join([b"0"] * (size // 2)) for size in sizes)
    body = body if kind == "x-ndjson" else b"[" + body + b"]"

    def seen(self, raw, latest):
        nonlocal most, since
        if threading.get_ident() == loop:
            since += len(raw)
            most = max(most, since)
        return judge(self, raw, latest)

    async def others():
        nonlocal since
        while True:
            since = 0
            await asyncio.sleep(0)

    async def judged():
        task = asyncio.create_task(others())
        with ByteBudget(10**9).open_share("a") as share:
            found = await intake._validate_events(read_events(body, "", kind == "x-ndjson", 10**8, share)[1])
        task.cancel()
        return found

    monkeypatch.setattr(PythonContract, "validate", seen)
    assert len(asyncio.run(judged()).rejected) == len(sizes)
    assert 0 < most <= TURN_BYTES + LARGE_EVENT_BYTES


def test_bytes_count_as_events_do(start_gateway, tmp_path):
    token = TokenFile(tmp_path).add("a", ["all:write"], ["finance_fraud"])
    gateway, headers = start_gateway(gateway_rate=10), {"authorization": f"Bearer {token}"}
    assert gateway.post(b'{"a": "%s"}' % (b"a" * 200_000), **headers)[0] == 422
    status, _, answered = gateway.post({}, **headers)
    assert status == 429 and 10 < int(answered["retry-after"]) <= 20
