"""Notices stalled queries, which take no record of a topic that grows.

Spark does not report them: a query that waits for task slots, or whose Python process does not answer, is active for good. One in
real-time mode reports its progress once in a checkpoint interval only, and a micro-batch over a backlog is long, so that what
its running tasks have read and written counts as well; Spark's executors report that every ten seconds.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka.admin import AdminClient
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from common.kafka.connection import BrokerError, Connection
from common.kafka.readable_end import OpenTransactions, has_readable_record
from common.kafka.topics import read_end_offsets

LOG = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 5.0
ANSWER_SECONDS, MAX_ANSWER_SECONDS = 5.0, 20.0  # in which a record is to come, at first and at most
PATIENCE_SECONDS = 40.0  # of a query with tasks that has worked since it was started, or whose tasks all wait for slots
STARTING_SECONDS = 180.0  # of one that starts, or plans its next batch: that takes a minute where the machine is busy
RECOVERED_SECONDS = 300.0  # of work without a pause of PATIENCE_SECONDS, until an earlier standstill is forgotten


@dataclass(frozen=True)
class Activity:
    """What changes while a query works: the batch it last reported, and what its running tasks have read and written.

    running_tasks, waiting_tasks: those that have a slot, and those that were submitted and have none.
    """

    reported: tuple[int, str] | None
    work: tuple[int, ...] = ()
    running_tasks: int = 0
    waiting_tasks: int = 0

    @property
    def has_begun(self) -> bool:
        return self.reported is not None or any(self.work)


@dataclass
class Standstill:
    """Since when one query stands still, and how many times in a row that was noticed.

    ends: of its topic, by partition, when it still worked, or was started. A query in real-time mode is to report each `interval`
    seconds: without a report, work alone is not enough. All tasks of such a query run as long as its batch, so that the partition
    of one that waits for a slot is read by none; those of a micro-batch may take turns.
    """

    ends: Mapping[int, int]
    interval: float | None = None
    times: int = 0
    _activity: Activity = Activity(None)
    _grown_at: float | None = None
    _reported_at: float | None = None
    _at_work_since: float | None = None

    def update(self, now: float, ends: Mapping[int, int], activity: Activity) -> bool:
        """Takes in the topic's ends and the query's activity; returns whether it has stood still for too long."""
        has_reported = self._reported_at is None or activity.reported != self._activity.reported
        if self._reported_at is None or has_reported:
            self._reported_at = now
        is_partial = self.interval is not None and activity.waiting_tasks > 0 and not has_reported
        if activity != self._activity and activity.has_begun and not is_partial and not self._is_overdue(now, self._reported_at):
            self._recover(now)
            self.expect_after(ends)
        elif self._grown_at is not None and self._is_under_way(activity) and not self._is_under_way(self._activity):
            self._grown_at = now  # the tasks were not there before
        self._activity = activity
        if self._grown_at is None and any(end > self.ends.get(partition, 0) for partition, end in ends.items()):
            self._grown_at = now
        return self._grown_at is not None and now - self._grown_at >= self._patience() * 2 ** min(self.times, 4)

    def expect_after(self, ends: Mapping[int, int]) -> None:
        """From now on the query is to take the records after these ends; those before them are no sign of a standstill."""
        self.ends, self._grown_at = dict(ends), None

    def count_standstill(self) -> int:
        """Counts a standstill; returns how many there were in a row. From now on, restarted or not, it gets twice the time.

        Otherwise a machine that is too busy would restart it again and again before it has started.
        """
        self.times += 1
        self._grown_at = self._reported_at = self._at_work_since = None
        return self.times

    def _recover(self, now: float) -> None:
        """Forgets earlier standstills after RECOVERED_SECONDS of work without a long pause: single signs of life do not count."""
        has_paused = self._grown_at is not None and now - self._grown_at >= self._patience()
        if self._at_work_since is None or has_paused:
            self._at_work_since = now
        if now - self._at_work_since >= RECOVERED_SECONDS:
            self.times = 0

    def _is_overdue(self, now: float, reported_at: float) -> bool:
        return self.interval is not None and now - reported_at > 2 * self.interval + STARTING_SECONDS

    def _patience(self) -> float:
        return PATIENCE_SECONDS if self._is_under_way(self._activity) else STARTING_SECONDS

    def _is_under_way(self, activity: Activity) -> bool:
        """Whether it is past its start and its plan: its tasks have begun to read, or wait for slots."""
        is_waiting = activity.waiting_tasks > 0 and (activity.running_tasks == 0 or self.interval is not None)
        return activity.work != () and (activity.has_begun or is_waiting)


class StandstillWatch:
    """Finds which queries on one topic stand still: make it before they start. Raises BrokerError."""

    def __init__(self, spark: SparkSession, admin: AdminClient, connection: Connection, topic: str) -> None:
        self._spark, self._admin, self._connection, self._topic = spark, admin, connection, topic
        self._start_offsets = read_end_offsets(admin, connection, topic, committed=True)
        self._transactions = OpenTransactions(topic)
        self._queries: dict[str, Standstill] = {}
        self._next_check_at = 0.0
        self._unanswered = 0  # times in a row

    def find_stalled(self, queries: Mapping[str, StreamingQuery], intervals: Mapping[str, float] | None = None) -> dict[str, int]:
        """Those of the running `queries` that stand still, by name, each with how many times in a row that was found.

        intervals: seconds between checkpoints, of queries in real-time mode. It checks every CHECK_INTERVAL_SECONDS, however
        often it is called, and gives none in between, nor while the broker does not answer, which others report.
        """
        now = time.monotonic()
        if now < self._next_check_at:
            return {}
        self._next_check_at = now + CHECK_INTERVAL_SECONDS
        try:
            ends = read_end_offsets(self._admin, self._connection, self._topic, committed=True)
            all_ends = read_end_offsets(self._admin, self._connection, self._topic)
            for line in self._transactions.describe_blocked(now, ends, all_ends):
                LOG.warning("%s", line)
        except BrokerError:
            return {}
        stalled: dict[str, int] = {}
        for name, streaming in queries.items():
            standstill = self._queries.setdefault(name, Standstill(self._start_offsets, (intervals or {}).get(name)))
            if standstill.update(now, ends, read_activity(self._spark, streaming)):
                has_record = self._has_record(standstill.ends, ends)
                if has_record:
                    stalled[name] = standstill.count_standstill()
                elif has_record is None:  # the next check asks again, and the other queries' question would get no answer either
                    break
                else:  # what was rolled back is for nobody to read
                    standstill.expect_after(ends)
        return stalled

    def _has_record(self, since: Mapping[int, int], ends: Mapping[int, int]) -> bool | None:
        """Whether a record can be read there; None where that is not known. Each time in a row there is twice the time for it."""
        within = min(MAX_ANSWER_SECONDS, ANSWER_SECONDS * 2 ** min(self._unanswered, 16))
        has_record = has_readable_record(self._connection, self._topic, since, ends, within)
        self._unanswered = self._unanswered + 1 if has_record is None else 0
        if self._unanswered.bit_count() == 1:  # when it begins, and as it doubles
            LOG.warning(
                "whether a query stands still is not known, and asked again: topic %s grew, but no record of it came "
                "within %g s, which happened %d times in a row",
                self._topic,
                within,
                self._unanswered,
            )
        return has_record


def read_activity(spark: SparkSession, streaming: StreamingQuery) -> Activity:
    """A query's signs of life, as Spark has them now."""
    progress = streaming._jsq.lastProgress()
    reported = None if progress is None else (progress.batchId(), progress.timestamp())
    stages = list(_stages(spark, str(streaming.runId)))
    work = [
        count
        for stage in stages
        for count in (
            stage.numCompleteTasks(),
            stage.inputRecords(),
            stage.outputRecords(),
            stage.shuffleReadRecords(),
            stage.shuffleWriteRecords(),
        )
    ]
    submitted = [stage for stage in stages if stage.status().toString() == "ACTIVE"]
    running_tasks = sum(stage.numActiveTasks() for stage in submitted)
    waiting_tasks = sum(stage.numTasks() - stage.numActiveTasks() - stage.numCompleteTasks() for stage in submitted)
    return Activity(reported, tuple(work), running_tasks, max(0, waiting_tasks))


def _stages(spark: SparkSession, run_id: str) -> Iterator[Any]:
    """The stages of the active jobs of one run of a query, as Spark's status store has them."""
    store = spark._jsc.sc().statusStore()
    for number in spark._jsc.statusTracker().getActiveJobIds():
        try:
            job = store.job(number)
            if job.jobGroup().contains(run_id):
                stage_ids = job.stageIds()
                yield from [store.lastStageAttempt(stage_ids.apply(index)) for index in range(stage_ids.size())]
        except Py4JJavaError:  # it ended meanwhile, or has not begun
            continue
