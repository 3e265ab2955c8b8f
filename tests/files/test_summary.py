"""What a command shows of a vertical's trends."""

from datetime import date

import pytest

from common import tables
from common.monitoring.summary import trend_tables
from common.workspace import Workspace

pytestmark = pytest.mark.files


def test_a_trend_without_rows_says_so(spark, tmp_path):
    workspace = Workspace(tmp_path, "meters")
    for name, rows in {"busy_hours": [], "demand": [(date(2026, 1, 1), 3)]}.items():
        frame = spark.createDataFrame(rows, "day date, readings long")
        tables.ensure_table(workspace.table(f"trend_{name}"), frame.schema)
        tables.overwrite(frame, workspace.table(f"trend_{name}"))
    empty, full = trend_tables(spark, workspace, ["busy_hours", "demand"])
    assert (empty.title, empty.row_count) == ("Trend: busy hours: nothing yet", 0)
    assert (full.title, full.row_count) == ("Trend: demand", 1)
