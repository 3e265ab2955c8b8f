"""As of which day batch learns: a day that is not over yet must not pass for a whole one."""

from datetime import date

import pytest

from common.processing.batch import whole_until

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
    assert whole_until(spark.createDataFrame(rows, "event_day date, kafka_partition int")) == expected
