"""A vertical's author adds, renames or drops a field: what is stored stays, what comes is judged anew, and nothing is lost."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pyspark.sql import types as T

from common import contract, tables
from common.archive.archive import Batch, keep_events
from common.archive.archive_tables import ensure_tables
from common.archive.repairs import parse_fixes, with_fixes
from common.published.reference_data import live_reference_data, publish_baselines
from common.tables import ColumnTypesDiffer
from common.vertical import Baseline
from common.workspace import Workspace
from finance_fraud import VERTICAL as FINANCE
from tests.deployments import deployed

pytestmark = pytest.mark.files

RECORD = (
    T.StructType()
    .add("key", "binary")
    .add("value", "binary")
    .add("topic", "string")
    .add("partition", "integer")
    .add("offset", "long")
    .add("timestamp", "timestamp")
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def meters(*fields):
    """A vertical whose events have these fields beside the usual ones: (name, type, whether it may be missing)."""
    schema = T.StructType(
        [
            T.StructField("reading_id", T.StringType(), False),
            T.StructField("meter_id", T.StringType(), False),
            T.StructField("event_time", T.TimestampType(), False),
            *[T.StructField(name, kind, nullable) for name, kind, nullable in fields],
        ]
    )
    return SimpleNamespace(
        pseudonymised=(),
        name="meters",
        event_id="reading_id",
        entity="meter_id",
        event_time="event_time",
        event_schema=schema,
        contract=tuple(
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": field.name}}
            for field in schema
            if not field.nullable
        ),
    )


BEFORE = meters(("watts", T.DoubleType(), True))


def reading(name, **fields):
    return json.dumps({"reading_id": name, "meter_id": "m", "event_time": "2026-01-01T12:00:00Z", **fields}).encode()


def records(spark, *values, offset=0):
    rows = [(b"m", value, "meters.events", 0, offset + number, NOON) for number, value in enumerate(values)]
    return spark.createDataFrame(rows, RECORD)


@pytest.fixture
def workspace(spark, tmp_path):
    """With one event of before."""
    workspace = Workspace(tmp_path, "meters")
    keep(spark, BEFORE, workspace, reading("old", watts=1.5))
    return workspace


def keep(spark, vertical, workspace, *values, number=0):
    ensure_tables(vertical, workspace)
    found = contract.parse(records(spark, *values, offset=10 * number), vertical)
    return keep_events(found, Batch("q", number), deployed(vertical, workspace))


def stored(spark, workspace, *columns):
    rows = tables.read(spark, workspace.table("events")).select("reading_id", *columns).collect()
    return sorted((tuple(row) for row in rows), key=lambda row: row[0])


def reasons(spark, workspace):
    rows = tables.read(spark, workspace.table("quarantine")).collect()
    return sorted((row.reason, row.detail) for row in rows)


def test_a_field_that_may_be_missing_is_added(spark, workspace):
    after = meters(("watts", T.DoubleType(), True), ("site", T.StringType(), True))
    keep(spark, after, workspace, reading("new", watts=2.0, site="north"), reading("of before", watts=3.0), number=1)
    assert stored(spark, workspace, "site", "watts") == [("new", "north", 2.0), ("of before", None, 3.0), ("old", None, 1.5)]
    assert reasons(spark, workspace) == []


def test_a_field_that_must_be_there_is_added(spark, workspace):
    after = meters(("watts", T.DoubleType(), True), ("site", T.StringType(), False))
    keep(spark, after, workspace, reading("new", site="north"), reading("of before", watts=3.0), number=1)
    assert stored(spark, workspace, "site") == [("new", "north"), ("old", None)]
    [(reason, detail)] = reasons(spark, workspace)
    assert reason == "missing_field" and "site" in detail


@pytest.mark.parametrize(
    ("after", "fixes", "value"),
    [
        (meters(("power", T.DoubleType(), True)), ("power=try_cast(watts AS double)", "watts=NULL"), 3.0),
        (meters(("power", T.DoubleType(), True)), ("watts=NULL",), None),
    ],
    ids=["renamed", "dropped"],
)
def test_records_of_before_wait_in_quarantine_and_a_fix_makes_them_events(spark, workspace, after, fixes, value):
    keep(spark, after, workspace, reading("new", power=2.0), reading("of before", watts=3.0), number=1)
    assert stored(spark, workspace, "watts", "power") == [("new", None, 2.0), ("old", 1.5, None)], "what was stored stays"
    [(reason, detail)] = reasons(spark, workspace)
    assert reason == "unknown_field" and "watts" in detail
    refused = records(spark, reading("of before", watts=3.0)).selectExpr("*", "timestamp AS ingest_time")
    [event] = contract.valid_events(with_fixes(refused, parse_fixes(fixes, after), after), after, None).collect()
    assert (event.reading_id, event.power) == ("of before", value)


def test_a_field_of_another_type_is_refused_in_words(workspace):
    with pytest.raises(ColumnTypesDiffer, match=r"column watts is double in the table, and string .* choose another folder"):
        ensure_tables(meters(("watts", T.StringType(), True)), workspace)


def test_a_learnt_column_is_added_and_dropped(spark, tmp_path):
    folder = str(tmp_path)
    narrow = T.StructType([T.StructField("mean", T.DoubleType())])
    wide = T.StructType([*narrow, T.StructField("spread", T.DoubleType())])
    vertical = {
        name: replace(FINANCE, model=None, queries=(), baselines={"card": Baseline("card_id", columns)})
        for name, columns in (("narrow", narrow), ("wide", wide))
    }

    def learnt(name):
        return [
            tuple(row)
            for row in live_reference_data(spark, folder, vertical[name]).baselines["card"].drop("baseline_version").collect()
        ]

    of_before = spark.createDataFrame([("c", 1.0)], "card_id string, mean double")
    publish_baselines({"card": of_before}, vertical["narrow"], folder, "2026-01-01")
    assert learnt("wide") == [("c", 1.0, None)], "until batch has learnt it"
    newer = spark.createDataFrame([("c", 2.0, 0.5)], "card_id string, mean double, spread double")
    publish_baselines({"card": newer}, vertical["wide"], folder, "2026-01-02")
    assert learnt("wide") == [("c", 2.0, 0.5)] and learnt("narrow") == [("c", 2.0)]
