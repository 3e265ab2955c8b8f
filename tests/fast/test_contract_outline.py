"""A record with the schema's fields in their order has a plain outline; a doubtful one has none, and goes to the JSON parser."""

import re
from datetime import date

import pytest

from common.contract.json_outline import outline_pattern
from common.installed import find_vertical, vertical_names
from finance_fraud.events import EVENT_SCHEMA

WHOLE = (
    '{"transaction_id":"1","card_id":"c","terminal_id":"t","amount":1.5,"currency":null,"channel":"atm",'
    '"latitude":-4.5,"longitude":1e-3,"event_time":"2026-04-01T12:00:00Z"}'
)


def is_plain(schema, text):
    return re.search(outline_pattern(schema).replace(r"\z", r"\Z"), text) is not None


@pytest.mark.parametrize("name", vertical_names())
def test_what_the_generators_send_is_plain(name):
    vertical = find_vertical(name)
    chunk = next(iter(vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), False)))
    assert all(is_plain(vertical.event_schema, value.decode()) for value in chunk.messages.values[:2000])


@pytest.mark.parametrize("text", [WHOLE, WHOLE.replace(",", ", ").replace('":', '": '), '{"card_id":"c"}', "{}"])
def test_fields_may_be_left_out_and_a_space_may_follow(text):
    assert is_plain(EVENT_SCHEMA, text)


@pytest.mark.parametrize(("written", "instead"), [
    ('"card_id":"c"', '"card_id":"c","card_id":"d"'),
    ('"card_id":"c"', '"card_id":5'),
    ('"card_id":"c"', '"card_id":NaN'),
    ('"card_id":"c"', '"card_id":"\\u0041"'),
    ('"card_id":"c"', '"card_id":["c"]'),
    ('"card_id":"c"', '"card":"c"'),
    ('"event_time":"2026-04-01T12:00:00Z"', '"event_time":20260401'),
    ('"transaction_id":"1","card_id":"c"', '"card_id":"c","transaction_id":"1"'),
    ("}", '}{"a":1}'),
    ("}", "}}"),
])  # fmt: skip
def test_what_may_be_wrong_is_not(written, instead):
    assert WHOLE.count(written) == 1
    assert not is_plain(EVENT_SCHEMA, WHOLE.replace(written, instead))
