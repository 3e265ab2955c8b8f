"""Runs batch on schedule beside the streams: one run of a vertical at a time, put off while its job gives a reason to wait."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from deltalake.exceptions import DeltaError
from pyspark.sql import types as T

from common import tables
from common.concurrency import run_concurrently
from common.errors import first_line
from common.failures import describe_failure, failure_trace
from common.settings import SettingsError
from common.workspace import FolderInUse, Workspace

LOG = logging.getLogger(__name__)

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = f"[0-7]|{'|'.join(WEEKDAYS)}"
WEEKDAY = re.compile(rf"(?:(?P<all>\*)|(?P<first>{_DAY})(?:-(?P<last>{_DAY}))?)(?:/(?P<step>[1-7]))?")
CUT_SHORT = "cut short"
GRACE = 2.0  # seconds that a run gets to end at the end of all work; service managers kill after 10
CANCEL_INTERVAL_SECONDS = 0.2
RUNS_SCHEMA = T.StructType(
    [
        T.StructField("started_at", T.TimestampType()),
        T.StructField("ended_at", T.TimestampType()),
        T.StructField("outcome", T.StringType()),
    ]
)


@dataclass
class BatchJob:
    """A vertical's batch job. work() returns a line about what it did; put_off() a reason not to begin yet, or None.

    Each run leaves a row in table `batch_runs`, by which a later process knows whether one was missed. cancel() interrupts
    work(): when the end comes meanwhile, a thread of its own calls it again and again.
    """

    workspace: Workspace
    trigger: BaseTrigger
    work: Callable[[], str]
    put_off: Callable[[], str | None]
    say: Callable[[str], None]
    ending: threading.Event
    cancel: Callable[[], None] = lambda: None
    wait_seconds: float = 10.0
    # When the run at work began, None while there is none: whoever sets it to None records the run.
    _started_at: datetime | None = field(default=None, init=False)
    _turn: threading.Condition = field(default_factory=threading.Condition, init=False)

    def has_missed_run(self, now: datetime) -> bool:
        """Whether the last run that is recorded was cut short, or the schedule had one since; without any, none was missed."""
        try:
            newest_run = _newest_run(self.workspace)
        except (DeltaError, OSError, ValueError) as problem:  # ValueError: a file of the table is cut short
            LOG.warning("whether a batch run was missed cannot be read: %s", describe_failure(problem))
            return False
        if newest_run is None or newest_run["outcome"] == CUT_SHORT:
            return newest_run is not None
        due_at = self.trigger.get_next_fire_time(None, newest_run["started_at"])
        return due_at is not None and due_at <= now

    def run(self) -> None:
        """Runs the job once `put_off` gives no reason to wait, and once more for all that were due while it waited or worked.

        Runs nothing where another process did it meanwhile, or the end has come. What goes wrong around a run is said, and the
        next run comes at its time.
        """
        try:
            self._run_when_possible()
        except Exception as problem:
            LOG.info("batch ended: %s", failure_trace(problem))
            self.say(f"batch ended: {describe_failure(problem)}")

    def _run_when_possible(self) -> None:
        due_since, has_announced = datetime.now(UTC), False
        while not self.ending.is_set():
            reason = self._run_unless_put_off(due_since)
            if reason is None:
                if not self.has_missed_run(datetime.now(UTC)):
                    return
                due_since, has_announced = datetime.now(UTC), False
                continue
            if not has_announced:
                self.say(f"batch put off: {reason}")
            has_announced = True
            self.ending.wait(self.wait_seconds)

    def end(self, deadline: float) -> None:
        """Cut the run at work short, if there is one: what has not ended by `deadline` (time.monotonic) is left to itself.

        Call it once `ending` is set. The run is recorded, as one that is to be caught up.
        """
        with self._turn:
            if self._started_at is None:
                return
            threading.Thread(target=self._cancel, name="cancel", daemon=True).start()
            self._turn.wait_for(lambda: self._started_at is None, deadline - time.monotonic())
        try:
            self._record(CUT_SHORT)
        except Exception as problem:  # such as a full disk: then it is as if we had been killed
            LOG.warning("a batch run that was cut short could not be recorded: %s", problem)

    def _run_unless_put_off(self, due_since: datetime) -> str | None:
        """Does the run, unless another process did it since `due_since`; returns the reason where it cannot begin yet."""
        try:
            reason = self.put_off()
        except Exception as problem:  # a broker that is away, say, which the streams wait for as well
            reason = f"how the streams do cannot be seen: {describe_failure(problem)}"
        if reason:
            return reason
        try:
            with self.workspace.lock("batch"):
                newest_run = _newest_run(self.workspace)
                if newest_run and newest_run["ended_at"] >= due_since and newest_run["outcome"] != CUT_SHORT:
                    self.say("batch done by another process meanwhile")
                else:
                    self._run_and_record()
                return None
        except FolderInUse:
            return "another batch command is at work"

    def _run_and_record(self) -> None:
        with self._turn:
            if self.ending.is_set():
                return
            self._started_at = datetime.now(UTC)
        self.say("batch begins")
        try:
            outcome = self.work()
        except BaseException as problem:  # what the library for Delta tables breaks down with is no Exception
            # The streams go on, and so does the schedule: what was wrong may be over by the next run.
            LOG.info("batch failed: %s", failure_trace(problem))
            reason = first_line(problem)
            # At the end it was cancelled, or the streams and Spark went away under it.
            outcome = CUT_SHORT if self.ending.is_set() else f"failed: {reason}"
        self._record(outcome)

    def _record(self, outcome: str) -> None:
        """Put the run at work down in table `batch_runs`, if nobody has yet."""
        with self._turn:
            if self._started_at is None:
                return
            path, row = self.workspace.table("batch_runs"), {"started_at": self._started_at, "ended_at": datetime.now(UTC)}
            self._started_at = None
            self._turn.notify_all()
            tables.ensure_table(path, RUNS_SCHEMA)
            tables.append_rows([row | {"outcome": outcome}], RUNS_SCHEMA, path)
        self.say(f"batch: {outcome}")

    def _cancel(self) -> None:
        with suppress(Exception):  # the JVM may be in trouble or gone, which ends the run as well
            while self._started_at:
                self.cancel()
                time.sleep(CANCEL_INTERVAL_SECONDS)


def cron(expression: str) -> BaseTrigger:
    """A schedule in UTC from five cron fields, as cron reads them; raises SettingsError, also for one that never comes.

    Weekdays are 0 to 7 or names, 0 and 7 are Sunday; where day of month and weekday are both restricted, either is enough.
    """
    try:
        minute, hour, day, month, weekday = expression.split()
        fixed = {"minute": minute, "hour": hour, "month": month, "timezone": UTC}
        weekdays = _weekdays(weekday)
        if day.startswith("*") or weekday.startswith("*"):
            trigger: BaseTrigger = CronTrigger(day=day, day_of_week=weekdays, **fixed)
        else:
            trigger = OrTrigger([CronTrigger(day=day, **fixed), CronTrigger(day_of_week=weekdays, **fixed)])
    except ValueError as problem:
        raise SettingsError(f"schedule {expression!r}: {problem}; give five cron fields, such as '0 3 * * *'") from None
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise SettingsError(
            f"schedule {expression!r} never comes: day {day} is in none of its months ({month}); give a day that is"
        )
    return trigger


def _weekdays(field: str) -> str:
    """A cron field of weekdays as APScheduler reads it, which counts from Monday: by name. Raises ValueError."""
    weekdays: set[int] = set()
    for entry in field.lower().split(","):
        days = WEEKDAY.fullmatch(entry)
        if days is None:
            raise ValueError(f"weekday {entry!r} is none: they are 0 to 7 or {' '.join(WEEKDAYS)}, as 1-5 or mon,thu")
        first_day, last_day = (WEEKDAYS.index(day) if day in WEEKDAYS else int(day or -1) for day in days.group("first", "last"))
        if days["all"]:
            first_day, last_day = 0, 6
        elif last_day < 0:
            last_day = 6 if days["step"] else first_day
        if last_day < first_day:
            raise ValueError(f"weekdays {entry!r} end before they begin")
        weekdays |= {day % 7 for day in range(first_day, last_day + 1, int(days["step"] or 1))}
    return ",".join(WEEKDAYS[day] for day in sorted(weekdays))


def newest_run_started_at(workspace: Workspace) -> datetime | None:
    """When the newest batch run began; None before the first."""
    newest_run = _newest_run(workspace)
    return newest_run["started_at"] if newest_run else None


def _newest_run(workspace: Workspace) -> dict[str, Any] | None:
    path = workspace.table("batch_runs")
    if not tables.table_exists(path):
        return None
    return max(tables.read_arrow(path).to_pylist(), key=lambda row: row["started_at"], default=None)


@contextmanager
def run_schedule(jobs: list[BatchJob]) -> Iterator[None]:
    """Run each job when it is due, and at once where a run was missed, until the block ends; its end cuts a run at work short."""
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None})
    now = datetime.now(UTC)
    for job in jobs:
        first_run = {"next_run_time": now} if job.has_missed_run(now) else {}
        scheduler.add_job(job.run, job.trigger, **first_run)
    scheduler.start()
    try:
        yield
    finally:
        for job in jobs:
            job.ending.set()
        scheduler.shutdown(wait=False)
        deadline = time.monotonic() + GRACE
        run_concurrently([partial(job.end, deadline) for job in jobs])
