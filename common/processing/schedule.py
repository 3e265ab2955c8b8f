"""Batch on schedule beside the streams: one run of a vertical at a time, put off while something speaks against it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from pyspark.sql import types as T

from common import tables
from common.settings import SettingsError
from common.workspace import InUse, Workspace

LOG = logging.getLogger(__name__)
RUNS_SCHEMA = T.StructType([
    T.StructField("started_at", T.TimestampType()),
    T.StructField("ended_at", T.TimestampType()),
    T.StructField("outcome", T.StringType()),
])


@dataclass
class Scheduled:
    """A vertical's batch job. work() returns a line about what it did; put_off() why it should not begin yet, if it should not.

    Each run leaves a row in table `batch_runs`, by which a later process knows whether one was missed.
    """

    workspace: Workspace
    trigger: BaseTrigger
    work: Callable[[], str]
    put_off: Callable[[], str | None]
    say: Callable[[str], None]
    ending: threading.Event
    wait_seconds: float = 10.0

    def missed(self, now: datetime) -> bool:
        """Whether the schedule had a run since the last one that is recorded; without any, nothing was missed."""
        last = last_run(self.workspace)
        due = self.trigger.get_next_fire_time(None, last) if last else None
        return due is not None and due <= now

    def run(self) -> None:
        """One run, once nothing speaks against it, and one more for all that were due while it waited or worked.

        None where another process is at it, or the end has come meanwhile.
        """
        try:
            with self.workspace.only_one("batch"):
                while self._may_begin():
                    self._recorded()
                    if not self.missed(datetime.now(UTC)):
                        return
        except InUse:
            self.say("batch left to another process that is at it")

    def _may_begin(self) -> bool:
        """False when the end came before that."""
        said = False
        while not self.ending.is_set() and (why := self.put_off()):
            if not said:
                self.say(f"batch put off: {why}")
            said = True
            self.ending.wait(self.wait_seconds)
        return not self.ending.is_set()

    def _recorded(self) -> None:
        started = datetime.now(UTC)
        self.say("batch begins")
        try:
            outcome = self.work()
        except Exception as problem:
            # The streams go on, and so does the schedule: what was wrong may be over by the next run.
            LOG.info("batch failed", exc_info=True)
            outcome = f"failed: {next((line for line in str(problem).splitlines() if line.strip()), type(problem).__name__)}"
        path = self.workspace.table("batch_runs")
        tables.ensure_table(path, RUNS_SCHEMA)
        row = {"started_at": started, "ended_at": datetime.now(UTC), "outcome": outcome}
        tables.append_rows([row], RUNS_SCHEMA, path)
        self.say(f"batch: {outcome}")


def cron(expression: str) -> CronTrigger:
    """A schedule in UTC from five cron fields; raises SettingsError."""
    try:
        return CronTrigger.from_crontab(expression, timezone=UTC)
    except ValueError as problem:
        raise SettingsError(f"schedule {expression!r}: {problem}; give five cron fields, such as '0 3 * * *'") from None


def last_run(workspace: Workspace) -> datetime | None:
    """When the newest batch run began."""
    path = workspace.table("batch_runs")
    if not tables.table_exists(path):
        return None
    return max(tables.read_arrow(path, columns=["started_at"])["started_at"].to_pylist(), default=None)


@contextmanager
def scheduled(jobs: list[Scheduled]) -> Iterator[None]:
    """Run the jobs when they are due, and at once where a run was missed, until the block ends; waits for one at work."""
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None})
    now = datetime.now(UTC)
    for job in jobs:
        at_once = {"next_run_time": now} if job.missed(now) else {}
        scheduler.add_job(job.run, job.trigger, **at_once)
    scheduler.start()
    try:
        yield
    finally:
        for job in jobs:
            job.ending.set()
        scheduler.shutdown(wait=True)
