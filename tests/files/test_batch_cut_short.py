"""A batch run that is cut short: its Spark jobs end at once, one after another, and no other's do."""

import threading
import time
from contextlib import suppress
from datetime import UTC

import pytest
from apscheduler.triggers.cron import CronTrigger

from common import tables
from common.batch.schedule import CUT_SHORT, GRACE, BatchJob, run_schedule
from common.spark.session import cancel_group, use_group
from common.workspace import Workspace

pytestmark = pytest.mark.files

LONG = 100_000_000_000  # rows: minutes of work


def total(spark, rows):
    return spark.range(rows).selectExpr("sum(id % 7) AS total").first().total


def test_the_end_cancels_the_spark_jobs_of_the_run_and_those_it_starts_yet_and_no_other(spark, tmp_path):
    context, failures = spark.sparkContext, []

    def work():
        use_group(spark, "of this run")
        for _ in range(2):  # the first is cancelled, and the second begins after that
            try:
                total(spark, LONG)
            except Exception as problem:
                failures.append(str(problem))
        raise RuntimeError("cancelled")

    job = BatchJob(
        Workspace(tmp_path, "v"), CronTrigger(second="*", timezone=UTC), work, lambda: None, [].append, threading.Event(),
        cancel=lambda: cancel_group(spark, "of this run"),
    )  # fmt: skip

    def beside():
        with suppress(Exception):
            total(spark, LONG)

    other = threading.Thread(target=beside, daemon=True)
    try:
        other.start()
        with run_schedule([job]):
            while not context.statusTracker().getJobIdsForGroup("of this run"):
                time.sleep(0.05)
            began = time.monotonic()
        assert time.monotonic() - began < GRACE + 1
        assert len(failures) == 2 and all("cancelled" in each for each in failures)
        assert other.is_alive()
    finally:
        context.cancelAllJobs()
        other.join(20)
    assert tables.read_arrow(job.workspace.table("batch_runs"))["outcome"].to_pylist() == [CUT_SHORT]
