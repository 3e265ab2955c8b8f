"""Runs batch on schedule beside the streams: one run of a vertical at a time, put off while something speaks against it."""

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
CANCEL_EVERY = 0.2
RUNS_SCHEMA = T.StructType(
    [
        T.StructField("started_at", T.TimestampType()),
        T.StructField("ended_at", T.TimestampType()),
        T.StructField("outcome", T.StringType()),
    ]
)


@dataclass
class Scheduled:
    """A vertical's batch job. work() returns a line about what it did; put_off() why it should not begin yet, if it should not.

    Each run leaves a row in table `batch_runs`, by which a later process knows whether one was missed. cancel() ends what work()
    is at: it is called again and again, in a thread of its own, when the end comes meanwhile.
    """

    workspace: Workspace
    trigger: BaseTrigger
    work: Callable[[], str]
    put_off: Callable[[], str | None]
    say: Callable[[str], None]
    ending: threading.Event
    cancel: Callable[[], None] = lambda: None
    wait_seconds: float = 10.0
    # When the run at work began, None while there is none: whoever takes it records the run.
    _began: datetime | None = field(default=None, init=False)
    _turn: threading.Condition = field(default_factory=threading.Condition, init=False)

    def missed(self, now: datetime) -> bool:
        """Whether the last run that is recorded was cut short, or the schedule had one since; without any, none was missed."""
        try:
            last = _newest_run(self.workspace)
        except (DeltaError, OSError, ValueError) as problem:  # ValueError: a file of the table is cut short
            LOG.warning("whether a batch run was missed cannot be read: %s", describe_failure(problem))
            return False
        if last is None or last["outcome"] == CUT_SHORT:
            return last is not None
        due = self.trigger.get_next_fire_time(None, last["started_at"])
        return due is not None and due <= now

    def run(self) -> None:
        """One run, once nothing speaks against it, and one more for all that were due while it waited or worked.

        None where another process did it meanwhile, or the end has come. What goes wrong around it is said, and the next one
        comes at its time.
        """
        try:
            self._run()
        except Exception as problem:
            LOG.info("batch ended: %s", failure_trace(problem))
            self.say(f"batch ended: {describe_failure(problem)}")

    def _run(self) -> None:
        due_since, has_told = datetime.now(UTC), False
        while not self.ending.is_set():
            why = self._attempt(due_since)
            if why is None:
                if not self.missed(datetime.now(UTC)):
                    return
                due_since, has_told = datetime.now(UTC), False
                continue
            if not has_told:
                self.say(f"batch put off: {why}")
            has_told = True
            self.ending.wait(self.wait_seconds)

    def end(self, deadline: float) -> None:
        """Cut the run at work short, if there is one: what has not ended by `deadline` (time.monotonic) is left to itself.

        Call it once `ending` is set. The run is recorded, as one that is to be caught up.
        """
        with self._turn:
            if self._began is None:
                return
            threading.Thread(target=self._cancel, name="cancel", daemon=True).start()
            self._turn.wait_for(lambda: self._began is None, deadline - time.monotonic())
        try:
            self._record(CUT_SHORT)
        except Exception as problem:  # such as a full disk: then it is as if we had been killed
            LOG.warning("a batch run that was cut short could not be recorded: %s", problem)

    def _attempt(self, due_since: datetime) -> str | None:
        """A run, unless another process did it since then; or why not yet."""
        try:
            why = self.put_off()
        except Exception as problem:  # a broker that is away, say, which the streams wait for as well
            why = f"how the streams do cannot be seen: {describe_failure(problem)}"
        if why:
            return why
        try:
            with self.workspace.lock("batch"):
                last = _newest_run(self.workspace)
                if last and last["ended_at"] >= due_since and last["outcome"] != CUT_SHORT:
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
            self._began = datetime.now(UTC)
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
            if self._began is None:
                return
            path, row = self.workspace.table("batch_runs"), {"started_at": self._began, "ended_at": datetime.now(UTC)}
            self._began = None
            self._turn.notify_all()
            tables.ensure_table(path, RUNS_SCHEMA)
            tables.append_rows([row | {"outcome": outcome}], RUNS_SCHEMA, path)
        self.say(f"batch: {outcome}")

    def _cancel(self) -> None:
        with suppress(Exception):  # the JVM may be in trouble or gone, which ends the run as well
            while self._began:
                self.cancel()
                time.sleep(CANCEL_EVERY)


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
    chosen: set[int] = set()
    for part in field.lower().split(","):
        days = WEEKDAY.fullmatch(part)
        if days is None:
            raise ValueError(f"weekday {part!r} is none: they are 0 to 7 or {' '.join(WEEKDAYS)}, as 1-5 or mon,thu")
        first, last = (WEEKDAYS.index(day) if day in WEEKDAYS else int(day or -1) for day in days.group("first", "last"))
        if days["all"]:
            first, last = 0, 6
        elif last < 0:
            last = 6 if days["step"] else first
        if last < first:
            raise ValueError(f"weekdays {part!r} end before they begin")
        chosen |= {day % 7 for day in range(first, last + 1, int(days["step"] or 1))}
    return ",".join(WEEKDAYS[day] for day in sorted(chosen))


def last_run(workspace: Workspace) -> datetime | None:
    """When the newest batch run began."""
    last = _newest_run(workspace)
    return last["started_at"] if last else None


def _newest_run(workspace: Workspace) -> dict[str, Any] | None:
    path = workspace.table("batch_runs")
    if not tables.table_exists(path):
        return None
    return max(tables.read_arrow(path).to_pylist(), key=lambda row: row["started_at"], default=None)


@contextmanager
def scheduled(jobs: list[Scheduled]) -> Iterator[None]:
    """Run the jobs when they are due, and at once where a run was missed, until the block ends, which cuts short one at work."""
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
        scheduler.shutdown(wait=False)
        deadline = time.monotonic() + GRACE
        run_concurrently([partial(job.end, deadline) for job in jobs])
