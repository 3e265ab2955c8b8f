"""History that is written again: the same days add nothing, and days that overlap with others are refused."""

from datetime import date

import pytest

from common import tables
from common.batch.backfill import OtherHistory, backfill
from common.installed import find_vertical
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

VERTICAL = find_vertical("finance_fraud")
START = date(2020, 3, 1)


def test_each_day_is_backfilled_once(spark, tmp_path):
    workspace, world = Workspace(tmp_path, VERTICAL.name), VERTICAL.population(**VERTICAL.small)
    written = backfill(spark, deployed(VERTICAL, workspace), 7, START, 2, world)

    def rows():
        return tables.row_count(workspace.table("events")), tables.row_count(workspace.table("labels"))

    before = rows()
    assert written == before[0] > 0
    assert backfill(spark, deployed(VERTICAL, workspace), 7, START, 2, world) == 0
    for seed, start, days in ((7, START, 3), (8, START, 2), (7, date(2020, 2, 28), 3)):
        with pytest.raises(OtherHistory, match="of these days 2020-03-01 to 2020-03-0"):
            backfill(spark, deployed(VERTICAL, workspace), seed, start, days, world)
    assert rows() == before
    assert backfill(spark, deployed(VERTICAL, workspace), 7, date(2020, 3, 3), 1, world) > 0
