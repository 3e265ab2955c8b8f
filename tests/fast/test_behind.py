"""Whether a query judges anything, by what it reports of its batches."""

from datetime import UTC, datetime

from common.streaming.behind_watermark import WatermarkWatch

WATERMARK = "2026-11-27T00:00:00.000Z"


def batch(second, records, newest=None, watermark=WATERMARK):
    times = {"watermark": watermark} | ({"max": newest} if newest else {})
    return {"timestamp": f"2026-11-28T12:00:{second:02}.000Z", "numInputRows": records, "eventTime": times}


def test_batches_behind_the_watermark_are_counted_until_one_is_not():
    watch = WatermarkWatch()
    watch.update("by_card", batch(0, 5, newest="2026-11-28T00:00:00.000Z", watermark="2019-12-31T00:00:00.000Z"))
    assert watch.queries_behind() == []
    watch.update("by_card", batch(10, 40, newest="2020-01-02T00:00:00.000Z"))
    watch.update("by_card", batch(20, 2, newest="2020-01-03T00:00:00.000Z"))
    watch.update("by_card", batch(30, 0))  # without events
    [behind] = watch.queries_behind()
    assert (behind.query, behind.records) == ("by_card", 42)
    assert behind.since == datetime(2026, 11, 28, 12, 0, 10, tzinfo=UTC)
    assert behind.watermark == datetime(2026, 11, 27, tzinfo=UTC)
    watch.update("by_terminal", batch(30, 3, newest="2026-11-27T00:00:00.000Z"))
    assert [each.query for each in watch.queries_behind()] == ["by_card"]
    watch.update("by_card", batch(40, 7, newest="2026-11-28T12:00:39.000Z"))
    assert watch.queries_behind() == []


def test_a_query_without_a_watermark_is_never_behind():
    watch = WatermarkWatch()
    watch.update("per_event", {"timestamp": "2026-11-28T12:00:00.000Z", "numInputRows": 3})
    assert watch.queries_behind() == []
