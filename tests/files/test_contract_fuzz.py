"""Whatever bytes come in: a record is accepted or has a reason, never both, never neither, and nothing is raised."""

import json
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.contract import parse, valid_events
from common.installed import find_vertical, vertical_names
from common.simulation.fuzz import FUZZERS, fuzz_value

pytestmark = pytest.mark.files

RECORD = "value binary, key binary, topic string, partition int, offset long, timestamp timestamp"
INGESTED = datetime(2026, 4, 1, 12)
EVENT = {"transaction_id": "1", "card_id": "c", "terminal_id": "t", "amount": 1.5, "event_time": "2026-04-01T12:00:00.123Z"}
VALID = json.dumps(EVENT).encode()


def verdicts(spark, vertical, values):
    """By offset, whether `accepted` has it, and the reason that `parse` gives."""
    rows = [(value, b"k", "t", 0, offset, INGESTED) for offset, value in enumerate(values)]
    records = spark.createDataFrame(rows, RECORD)
    taken = [row.kafka_offset for row in valid_events(records, vertical).collect()]
    judged = [(row.kafka_offset, row.reason) for row in parse(records, vertical).select("kafka_offset", "reason").collect()]
    assert len(taken) == len(set(taken)), "accepted twice"
    assert sorted(offset for offset, _ in judged) == list(range(len(values))), "judged once each"
    return {offset: (offset in taken, reason) for offset, reason in judged}


def check(spark, vertical, values, valid):
    """Of each of `values` one thing holds; `valid`, which come after them, are accepted."""
    found = verdicts(spark, vertical, [*values, *valid])
    for offset, (is_accepted, reason) in found.items():
        assert is_accepted == (reason is None), ([*values, *valid][offset][:200], reason)
    assert all(found[len(values) + number] == (True, None) for number in range(len(valid)))


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.none() | st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "replace")), min_size=30))
def test_any_bytes_are_accepted_or_have_a_reason(spark, values):
    check(spark, find_vertical("finance_fraud"), values, [VALID])


FIELDS = st.sampled_from([*EVENT, "unknown", "event_time\0"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.dictionaries(FIELDS, JSON, max_size=6), min_size=30))
def test_any_json_is_accepted_or_has_a_reason(spark, changes):
    check(spark, find_vertical("finance_fraud"), [json.dumps(EVENT | change).encode() for change in changes], [VALID])


@pytest.mark.parametrize("name", vertical_names())
def test_each_kind_of_fuzz_is_accepted_or_has_a_reason(spark, name):
    vertical = find_vertical(name)
    chunk = next(iter(vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), False)))
    rng = np.random.default_rng(5)
    valid = chunk.messages.values[:20].tolist()
    values = [fuzz_value(rng, valid[number % 20]) for number in range(20 * len(FUZZERS))]
    check(spark, vertical, values, valid)
