"""An event is from the future, or too old, by the broker's clock or by ours, never by what its producer wrote."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from common.contract import TimeBounds, parse, valid_events
from common.contract.python_parser import PythonContract, ValidEvent
from common.installed import find_vertical

pytestmark = pytest.mark.files

VERTICAL = find_vertical("finance_fraud")
RECORD = "value binary, key binary, topic string, partition int, offset long, millis long, timestampType int"
BY_PRODUCER, BY_BROKER = 0, 1
NOW = datetime.now(UTC).replace(microsecond=0)
SPRING = datetime(2024, 4, 1, 10, tzinfo=UTC)
BOUNDS = TimeBounds(future_tolerance=300, oldest_days=365)
# Milliseconds as producers write them: none, odd ones, seconds for milliseconds, microseconds for them, the most Spark can hold.
ODD = (-1, -5, 0, 1, 1_711_965_600, 1_711_965_600_000_000, 9_223_372_036_854_775, 4_070_944_800_000)


def event(time):
    text = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"transaction_id": "1", "card_id": "c", "terminal_id": "t", "amount": 1.5, "event_time": text}).encode()


def milliseconds(time):
    return int(time.timestamp() * 1000)


def verdicts(spark, *cases, bounds=BOUNDS):
    """The reasons of records (event time, timestamp in milliseconds, its type), once `accepted` has said the same of each."""
    rows = [(event(time), b"k", "t", 0, number, millis, kind) for number, (time, millis, kind) in enumerate(cases)]
    records = spark.createDataFrame(rows, RECORD).withColumn("timestamp", F.timestamp_millis("millis")).drop("millis")
    parsed = parse(records, VERTICAL, bounds).select("kafka_offset", "reason", "ingest_time").orderBy("kafka_offset").collect()
    taken = {row.kafka_offset: row.ingest_time for row in valid_events(records, VERTICAL, bounds).collect()}
    assert taken == {row.kafka_offset: row.ingest_time for row in parsed if row.reason is None}
    assert all(datetime(1970, 1, 1) <= row.ingest_time <= datetime(2200, 1, 1) for row in parsed)
    return [row.reason for row in parsed]


@pytest.mark.parametrize("millis", ODD)
def test_what_a_producer_wrote_is_no_clock(spark, millis):
    times = (SPRING, NOW, NOW + timedelta(hours=1), datetime(2099, 1, 1, tzinfo=UTC))
    found = verdicts(spark, *((time, millis, BY_PRODUCER) for time in times), bounds=TimeBounds())
    assert found == [None, None, "future_event_time", "future_event_time"]


def test_how_old_an_event_may_be_is_a_bound_that_is_off_unless_it_is_given(spark):
    first = NOW - timedelta(days=365)
    times = (first + timedelta(hours=9), first - timedelta(minutes=1), SPRING - timedelta(days=3_000))
    for millis, kind in ((milliseconds(NOW), BY_BROKER), (0, BY_PRODUCER)):
        cases = [(time, millis, kind) for time in times]
        assert verdicts(spark, *cases) == [None, "too_old", "too_old"]
        assert verdicts(spark, *cases, bounds=TimeBounds()) == [None, None, None]


def expected(time, came):
    if time > came + timedelta(seconds=300):
        return "future_event_time"
    return "too_old" if time < came - timedelta(days=365) else None


BORDERS = [timedelta(seconds=300), timedelta(days=-365)]
AWAY = st.sampled_from(BORDERS) | st.timedeltas(timedelta(days=-800), timedelta(days=800))
BROKERS_CLOCK = st.datetimes(datetime(1990, 1, 1), datetime(2150, 1, 1)).map(lambda time: time.replace(microsecond=0, tzinfo=UTC))


@given(cases=st.lists(st.tuples(BROKERS_CLOCK, AWAY, st.sampled_from([0, -1, 1])), min_size=100, max_size=150))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_by_the_brokers_clock_stream_archive_and_door_say_the_same_whenever_they_judge(spark, cases):
    times = [came + timedelta(milliseconds=round(away / timedelta(milliseconds=1)) + more) for came, away, more in cases]
    found = verdicts(spark, *((time, milliseconds(came), BY_BROKER) for time, (came, *_) in zip(times, cases, strict=True)))
    assert found == [expected(time, came) for time, (came, *_) in zip(times, cases, strict=True)]
    door = PythonContract(VERTICAL, BOUNDS)
    for time, (came, *_), reason in zip(times, cases, found, strict=True):
        verdict = door.validate(event(time), came + BOUNDS.future_allowance)
        assert (None if isinstance(verdict, ValidEvent) else verdict.reason) == reason


def test_of_one_that_was_judged_before_no_time_is_asked(spark):
    rows = [(event(SPRING), b"k", "t", 0, 0, 0, BY_PRODUCER)]
    records = spark.createDataFrame(rows, RECORD).withColumn("timestamp", F.timestamp_millis("millis")).drop("timestampType")
    assert valid_events(records, VERTICAL).count() == 0 and valid_events(records, VERTICAL, bounds=None).count() == 1


def test_where_persons_are_named_no_time_is_shown(spark):
    named = replace(VERTICAL, pseudonymised=("card_id",))
    rows = [(event(time), b"k", "t", 0, n, 0, BY_PRODUCER) for n, time in enumerate((SPRING, NOW + timedelta(days=1)))]
    records = spark.createDataFrame(rows, RECORD).withColumn("timestamp", F.timestamp_millis("millis"))
    details = [row.detail for row in parse(records, named, BOUNDS).orderBy("kafka_offset").collect()]
    assert details == ["it came in more than 365 days later", "ahead of the time it came in"]
