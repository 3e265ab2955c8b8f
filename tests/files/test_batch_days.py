"""As of which day batch learns: a day that is not over yet must not pass for a whole one."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest

from common.archive.history import NoHistory, first_incomplete_day, newest_days
from common.batch.future_events import FutureEvents, find_future_events

pytestmark = pytest.mark.files

BACKFILLED, LIVE = -1, 0
FIRST, SECOND, THIRD = (date(2026, 1, day) for day in (1, 2, 3))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(FIRST, BACKFILLED), (SECOND, BACKFILLED)], THIRD),
        ([(FIRST, BACKFILLED), (SECOND, LIVE)], SECOND),
        ([(FIRST, LIVE), (SECOND, LIVE)], SECOND),
        ([(FIRST, LIVE), (SECOND, BACKFILLED)], THIRD),
        ([(SECOND, BACKFILLED), (SECOND, LIVE)], SECOND),
    ],
)
def test_the_newest_day_is_whole_only_where_it_was_backfilled(spark, rows, expected):
    assert first_incomplete_day(spark.createDataFrame(rows, "event_day date, kafka_partition int")) == expected


def test_no_event_moves_today_beyond_our_clock(spark):
    today = datetime.now(UTC).date()
    ahead = [(date(2099, 1, 1), LIVE), (today + timedelta(days=2), BACKFILLED)]
    events = spark.createDataFrame([(SECOND, LIVE), *ahead], "event_day date, kafka_partition int")
    assert first_incomplete_day(events) == SECOND and newest_days(events, 2) == [FIRST, SECOND]
    with pytest.raises(NoHistory, match="ahead of this machine's clock"):
        first_incomplete_day(events.where("event_day > '2026-01-02'"))


VERTICAL = SimpleNamespace(entity="card")


def cards(spark, *rows):
    """Events: card, day, how many."""
    return spark.createDataFrame([(card, day) for card, day, count in rows for _ in range(count)], "card string, event_day date")


def test_a_few_events_far_ahead_of_all_others_are_told(spark):
    usual = [("a", FIRST, 40), ("b", SECOND, 40)]
    few = find_future_events(cards(spark, *usual, ("c", date(2026, 6, 1), 2), ("d", date(2026, 6, 3), 1)), VERTICAL)
    assert few == FutureEvents(SECOND, date(2026, 6, 1), 3, ("c", "d"))
    assert "3 events of 2026-06-01 or later, of c, d, are 150 days after all others, which end on 2026-01-02" in few.describe()


@pytest.mark.parametrize(
    "ahead", [[], [("c", date(2026, 1, 31), 2)], [("c", date(2026, 6, 1), 40)], [("c", date(2099, 1, 1), 1)]]
)
def test_no_jump_a_short_one_that_of_many_and_what_our_clock_has_not_come_to_are_not(spark, ahead):
    assert find_future_events(cards(spark, ("a", FIRST, 40), ("b", SECOND, 40), *ahead), VERTICAL) is None
