"""Kafka records to events: each invalid one has its reason, none stops a query, and the two paths agree."""

import json
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import types as T

from common.contract import TimeBounds, parse, valid_events
from finance_fraud import events as finance

pytestmark = pytest.mark.files

RECORD = "value binary, key binary, topic string, partition int, offset long, timestamp timestamp"
INGESTED = datetime(2026, 4, 1, 12, 0, 0)
GOOD = {"transaction_id": "1", "card_id": "c", "terminal_id": "t", "amount": 1.5, "event_time": "2026-04-01T12:00:00.123Z"}
TEXT = json.dumps(GOOD)

FINANCE = SimpleNamespace(
    pseudonymised=(),
    name="finance_fraud",
    event_schema=finance.EVENT_SCHEMA,
    contract=finance.CONTRACT,
    event_id=finance.EVENT_ID,
    entity=finance.ENTITY,
    event_time=finance.EVENT_TIME,
)
METERS = SimpleNamespace(
    pseudonymised=(),
    name="meters",
    event_schema=T.StructType()
    .add("reading_id", "string")
    .add("meter", "string")
    .add("phases", "integer")
    .add("pulses", "long")
    .add("ok", "boolean")
    .add("at", "timestamp"),
    contract=tuple(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}} for column in ("reading_id", "meter", "at")
    ),
    event_id="reading_id",
    entity="meter",
    event_time="at",
)


def records_of(spark, values):
    """Kafka records with these values, one offset each."""
    rows = []
    for offset, value in enumerate(values):
        value = value.encode() if isinstance(value, str) else value
        rows.append((None if value is None else bytearray(value), bytearray(b"k"), "t", 0, offset, INGESTED))
    return spark.createDataFrame(rows, RECORD)


def reasons(spark, values, vertical=FINANCE):
    # The reason alone: Python cannot hold every time that a record can.
    return [row.reason for row in parse(records_of(spark, values), vertical).orderBy("kafka_offset").select("reason").collect()]


def but(**changes):
    return json.dumps(GOOD | changes)


def without(name):
    return json.dumps({key: value for key, value in GOOD.items() if key != name})


VALID = {
    "as it should be": TEXT,
    "with white space around": f" \n{TEXT}\r\n ",
    "nullable fields null": but(channel=None, latitude=None),
    "every field": but(currency="EUR", channel="chip", latitude=-90, longitude=180.0),
    "a whole number for a double": but(amount=3),
    "a border": but(amount=1_000_000),
    "text that looks like a number, an object, a boolean": but(card_id="5", terminal_id="{}", transaction_id="true"),
    "braces and quotes within text": but(card_id='a}"card_id": 5', terminal_id="]}"),
    "not ASCII": but(card_id="naïve カード 💳"),
    "a time with an offset": but(event_time="2026-04-01T13:59:00+02:00"),
    "a time without fraction": but(event_time="2026-04-01T11:00:00Z"),
    "at the tolerance": but(event_time="2026-04-01T12:05:00Z"),
}
INVALID = [
    ("undecodable", b"\xff" + TEXT.encode()),
    ("undecodable", TEXT.encode().replace(b'"c"', b'"\xc3\x28"')),
    ("malformed_json", None),
    ("malformed_json", ""),
    ("malformed_json", "  "),
    ("malformed_json", "null"),
    ("malformed_json", "12"),
    ("malformed_json", '"text"'),
    ("malformed_json", f"[{TEXT}]"),
    ("malformed_json", TEXT[:-1]),
    ("malformed_json", TEXT[:30]),
    ("malformed_json", f"{TEXT} junk"),
    ("malformed_json", f"{TEXT}}}"),
    ("malformed_json", f"{TEXT}{TEXT}"),
    ("malformed_json", f"{TEXT},0] junk"),
    ("malformed_json", f'{TEXT},"b":0}} {{}}'),
    ("malformed_json", f'{TEXT},"end":true}} {{}}'),
    ("malformed_json", TEXT.replace('"', "'")),
    ("malformed_json", TEXT.replace('"c"', '"c\0"')),
    ("malformed_json", "\0" + TEXT),
    ("malformed_json", TEXT.replace("1.5", "1" * 2000)),
    ("malformed_json", TEXT.replace("1.5", "[" * 2000 + "]" * 2000)),
    ("malformed_json", '{"z":' * 5000),
    ("malformed_json", TEXT.replace("1.5", "01.5")),
    ("malformed_json", TEXT.replace('"c"', "NaN")),
    ("unknown_field", but(merchant="m")),
    ("unknown_field", but(_corrupt="x")),
    ("unknown_field", TEXT.replace("amount", "Amount")),
    ("duplicate_field", TEXT[:-1] + ', "amount": 2}'),
    ("duplicate_field", TEXT[:-1] + ', "am\\u006funt": 1.5}'),
    ("missing_field", "{}"),
    ("missing_field", without("transaction_id")),
    ("missing_field", without("event_time")),
    ("missing_field", but(amount=None)),
    ("wrong_type", but(amount="1.5")),
    ("wrong_type", but(amount="")),
    ("wrong_type", but(amount=True)),
    ("wrong_type", but(amount=[1.5])),
    ("wrong_type", but(card_id=5)),
    ("wrong_type", but(card_id=-5.5)),
    ("wrong_type", but(card_id=False)),
    ("wrong_type", but(card_id={"a": 1})),
    ("wrong_type", but(terminal_id=[1])),
    ("wrong_type", but(event_time=1775044800)),
    ("wrong_type", but(event_time="2026-04-01")),
    ("wrong_type", but(event_time="2026-04-01T12:00:00")),
    ("wrong_type", but(event_time="2026-04-01 12:00:00Z")),
    ("wrong_type", but(event_time="2026-02-30T12:00:00Z")),
    ("wrong_type", but(event_time="2026-04-01T12:00:00Z\n")),
    ("wrong_type", but(event_time="now")),
    ("not_finite", but(amount="NaN")),
    ("not_finite", but(amount="-Infinity")),
    ("not_finite", but(amount=float("nan"))),
    ("not_finite", but(latitude=float("inf"))),
    ("not_finite", TEXT.replace("1.5", "1e400")),
    ("out_of_range", but(amount=-0.01)),
    ("out_of_range", but(amount=1_000_001)),
    ("out_of_range", but(latitude=90.5)),
    ("out_of_range", but(event_time="0000-06-01T00:00:00Z")),
    ("out_of_range", but(event_time="1899-12-31T23:59:59.999999Z")),
    ("not_in_set", but(channel="telepathy")),
    ("bad_format", but(currency="eur")),
    ("bad_format", but(card_id="")),
    ("bad_format", but(card_id="c" * 65)),
    ("bad_format", but(card_id="c" * 1_000_000)),
    ("future_event_time", but(event_time="2026-04-01T12:05:00.001Z")),
    ("future_event_time", but(event_time="9999-12-31T23:59:59Z")),
]


def test_valid_records_have_no_reason(spark):
    assert dict(zip(VALID, reasons(spark, VALID.values()), strict=True)) == dict.fromkeys(VALID)


def test_every_invalid_record_has_its_reason(spark):
    found = reasons(spark, [value for _, value in INVALID])
    wrong = [(found, expected, value[:200]) for found, (expected, value) in zip(found, INVALID, strict=True) if found != expected]
    assert not wrong


def test_accepted_are_exactly_those_without_a_reason(spark):
    records = records_of(spark, [*VALID.values(), *(value for _, value in INVALID)])
    events = valid_events(records, FINANCE)
    parsed = parse(records, FINANCE).where("reason is null").select(events.columns)
    assert events.orderBy("kafka_offset").collect() == parsed.orderBy("kafka_offset").collect()
    assert [row.kafka_offset for row in events.orderBy("kafka_offset").collect()] == list(range(len(VALID)))
    assert events.columns == [*FINANCE.event_schema.names, "ingest_time", "topic", "kafka_partition", "kafka_offset"]


def test_an_event_arrives_with_its_values(spark):
    event = parse(records_of(spark, [TEXT]), FINANCE).first()
    assert (event.transaction_id, event.card_id, event.amount, event.currency) == ("1", "c", 1.5, None)
    assert event.event_time == datetime(2026, 4, 1, 12, 0, 0, 123000)
    assert (event.ingest_time, event.topic, event.kafka_partition, event.kafka_offset) == (INGESTED, "t", 0, 0)
    assert (bytes(event.raw), bytes(event.key), event.reason, event.detail) == (TEXT.encode(), b"k", None, None)


def test_a_detail_names_the_field_and_shows_the_value(spark):
    values = [but(amount="1.5"), but(amount=-3), but(merchant="m"), but(currency=None, channel="x" * 500), without("card_id")]
    details = [row.detail for row in parse(records_of(spark, values), FINANCE).orderBy("kafka_offset").collect()]
    assert details[0] == "amount: double expected, found 1.5"
    assert details[1].startswith("amount = -3.0 fails expect_column_values_to_be_between(column='amount', min_value=0")
    assert details[2] == "unknown: merchant"
    assert details[3].startswith("channel = xxx") and len(details[3]) < 300
    assert details[4].startswith("card_id = null fails expect_column_values_to_not_be_null")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("phases", 12.5, "wrong_type"),
        ("phases", 2**31, "wrong_type"),
        ("pulses", 2**31, None),
        ("pulses", 2**63, "wrong_type"),
        ("pulses", "3", "wrong_type"),
        ("pulses", True, "wrong_type"),
        ("ok", "true", "wrong_type"),
        ("ok", 1, "wrong_type"),
        ("ok", False, None),
    ],
)
def test_whole_numbers_and_booleans_are_taken_literally(spark, field, value, reason):
    reading = {"reading_id": "r", "meter": "m", "at": "2026-04-01T12:00:00Z", field: value}
    assert reasons(spark, [json.dumps(reading)], METERS) == [reason]


def test_the_tolerance_for_future_events_is_a_parameter(spark):
    records = records_of(spark, [but(event_time="2026-04-01T12:30:00Z")])
    assert valid_events(records, FINANCE, TimeBounds(timedelta(hours=1).seconds)).count() == 1
    assert valid_events(records, FINANCE).count() == 0


def test_the_hot_path_reads_each_record_once(spark):
    plan = valid_events(records_of(spark, [TEXT]), FINANCE).where("amount > 1")._jdf.queryExecution().optimizedPlan().toString()
    assert plan.count("from_json") == 1


def test_the_clock_in_the_place_of_a_producers_leaves_the_hot_path_compiled(spark, compiling, tmp_path):
    records_of(spark, [TEXT]).selectExpr("*", "1 AS timestampType").write.parquet(str(tmp_path / "records"))
    with compiling():
        found = valid_events(spark.read.parquet(str(tmp_path / "records")), FINANCE)
        plan = found._jdf.queryExecution().executedPlan().toString()
    [generate] = [line for line in plan.splitlines() if "Generate inline" in line]
    assert "*(" in generate.partition("Generate")[0], plan  # Spark's mark of what is compiled as a whole


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("NaN"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
CHANGES = st.dictionaries(st.sampled_from(FINANCE.event_schema.names), JSON_VALUES, max_size=3)
MUTATED = CHANGES.map(lambda changes: but(**changes))
SPLICED = st.tuples(MUTATED, st.integers(0, 250), st.binary(max_size=4)).map(
    lambda parts: parts[0].encode()[: parts[1]] + parts[2] + parts[0].encode()[parts[1] :]
)
VALUES = st.one_of(st.binary(max_size=40), JSON_VALUES.map(json.dumps), MUTATED, SPLICED)


@given(values=st.lists(VALUES, min_size=200, max_size=300))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_bytes_are_either_accepted_or_have_a_reason(spark, values):
    records = records_of(spark, values)
    parsed = parse(records, FINANCE).select("kafka_offset", "reason", "detail", "raw").collect()
    taken = {row.kafka_offset for row in valid_events(records, FINANCE).select("kafka_offset").collect()}
    assert sorted(row.kafka_offset for row in parsed) == list(range(len(values)))
    assert {row.kafka_offset for row in parsed if row.reason is None} == taken
    assert all(row.detail is not None for row in parsed if row.reason is not None)
    for row in parsed:
        if row.reason is None:
            strict_event(bytes(row.raw))


def strict_event(raw):
    """What Python's own parser says of an accepted record."""
    pairs = json.loads(raw.decode(), object_pairs_hook=list, parse_constant=lambda name: pytest.fail(f"{name} in {raw!r}"))
    event = dict(pairs)
    assert len(event) == len(pairs)
    assert set(event) <= set(FINANCE.event_schema.names)
    assert all(isinstance(event[name], str) for name in ("transaction_id", "card_id", "terminal_id", "event_time"))
    assert isinstance(event["amount"], int | float) and 0 <= event["amount"] <= 1_000_000
