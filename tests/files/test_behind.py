"""Which event took a watermark to where it is, of those that are archived."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import types as T

from common import tables
from common.archive.archive_tables import ensure_tables, events_schema
from common.installed import find_vertical
from common.streaming.behind_watermark import EntityAhead, WatermarkWatch, find_entity_ahead
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

FINANCE = find_vertical("finance_fraud")


def test_the_entity_of_the_newest_event_not_behind_the_watermark(spark, tmp_path):
    workspace, watermark = Workspace(tmp_path, FINANCE.name), datetime(2026, 11, 27, 10, tzinfo=UTC)
    assert find_entity_ahead(spark, deployed(FINANCE, workspace), watermark) is None
    ensure_tables(FINANCE, workspace)
    times = [("old", "2020-01-01T00:00:00"), ("today", "2026-11-27T10:00:00"), ("today", "2026-11-28T10:00:00"),
             ("other", "2026-11-27T11:00:00"), ("old", "2026-11-27T09:59:59")]  # fmt: skip
    rows = [
        {"transaction_id": f"{card} {at}", "card_id": card, "terminal_id": "t", "amount": 1.0, "event_time": at,
         "event_day": at.date()}
        for card, at in ((card, datetime.fromisoformat(f"{text}+00:00")) for card, text in times)
    ]  # fmt: skip
    schema = T.StructType([field for field in events_schema(FINANCE) if field.name in rows[0]])
    tables.append(spark.createDataFrame(rows, schema), workspace.table("events"))
    assert find_entity_ahead(spark, deployed(FINANCE, workspace), watermark) == EntityAhead("today", "2026-11-28 10:00:00", 2)
    assert find_entity_ahead(spark, deployed(FINANCE, workspace), datetime(2027, 1, 1, tzinfo=UTC)) is None

    watch = WatermarkWatch()
    times = {"max": "2020-01-02T00:00:00.000Z", "watermark": "2026-11-27T10:00:00.000Z"}
    watch.update("by_card", {"timestamp": "2026-11-28T12:00:00.000Z", "numInputRows": 42, "eventTime": times})
    [line] = watch.new_lines(spark, deployed(FINANCE, workspace))
    assert watch.new_lines(spark, deployed(FINANCE, workspace)) == [], "said already"
    assert line.startswith("by_card judges nothing: since 2026-11-28 12:00:00 UTC all 42 records came behind its watermark")
    assert "today took it there: its newest event, of 2 not behind it, is of 2026-11-28 10:00:00" in line
