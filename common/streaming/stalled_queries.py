"""Notices stalled queries: the topic that one reads grows, and it takes none of it.

Nothing in Spark says so: a query that waits for task slots, or whose Python process does not answer, is active for good. One in
real-time mode reports its progress once in a checkpoint interval only, and a micro-batch over a backlog is long, so that what
its running tasks have read and written counts as well; Spark's executors tell that every ten seconds.
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

LOOK_INTERVAL_SECONDS = 5.0
ANSWER_SECONDS, MAX_ANSWER_SECONDS = 5.0, 20.0  # in which a record is to come, at first and at most
PATIENCE_SECONDS = 40.0  # of a query with tasks that has worked since it was started, or whose tasks all wait for slots
STARTING_SECONDS = 180.0  # of one that starts, or plans its next batch: that takes a minute where the machine is busy
RECOVERED_SECONDS = 300.0  # of work without a pause of PATIENCE_SECONDS, until an earlier standstill is forgotten


@dataclass(frozen=True)
class Activity:
    """What changes while a query works: the batch it last reported, and what its running tasks have read and written.

    running, waiting: tasks that have a slot, and those that were submitted and have none.
    """

    reported: tuple[int, str] | None
    work: tuple[int, ...] = ()
    running: int = 0
    waiting: int = 0

    @property
    def has_begun(self) -> bool:
        return self.reported is not None or any(self.work)


@dataclass
class Standstill:
    """Since when one query stands still, and how many times in a row that was noticed.

    ends: of its topic, by partition, when it still worked, or was started. A report is due each `interval` seconds of a query in
    real-time mode: without one, work alone is not enough. All tasks of such a query run as long as its batch, so that what one
    of them waits for a slot with is read by none; those of a micro-batch may take turns.
    """

    ends: Mapping[int, int]
    interval: float | None = None
    times: int = 0
    _activity: Activity = Activity(None)
    _grown_at: float | None = None
    _reported_at: float | None = None
    _at_work_since: float | None = None

    def look(self, now: float, ends: Mapping[int, int], activity: Activity) -> bool:
        """Whether it has stood still for too long."""
        has_reported = self._reported_at is None or activity.reported != self._activity.reported
        if self._reported_at is None or has_reported:
            self._reported_at = now
        is_in_part = self.interval is not None and activity.waiting > 0 and not has_reported
        if activity != self._activity and activity.has_begun and not is_in_part and not self._is_overdue(now, self._reported_at):
            self._recover(now)
            self.forgive(ends)
        elif self._grown_at is not None and self._is_under_way(activity) and not self._is_under_way(self._activity):
            self._grown_at = now  # the tasks were not there before
        self._activity = activity
        if self._grown_at is None and any(end > self.ends.get(partition, 0) for partition, end in ends.items()):
            self._grown_at = now
        return self._grown_at is not None and now - self._grown_at >= self._patience() * 2 ** min(self.times, 4)

    def forgive(self, ends: Mapping[int, int]) -> None:
        """What counts is what comes after these ends."""
        self.ends, self._grown_at = dict(ends), None

    def tell(self) -> int:
        """How many times in a row it was found so. From now on, started again or not, it gets twice the time of before.

        Or a machine that is too busy for it would never be done with starting it.
        """
        self.times += 1
        self._grown_at = self._reported_at = self._at_work_since = None
        return self.times

    def _recover(self, now: float) -> None:
        """A sign of life is not enough, nor are many with pauses between them: after the next pause it would be told again."""
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
        """Whether nothing of a start or of a plan is left to wait for: its tasks have begun to read, or wait for slots."""
        is_waiting = activity.waiting > 0 and (activity.running == 0 or self.interval is not None)
        return activity.work != () and (activity.has_begun or is_waiting)


class StandstillWatch:
    """Looks now and then whether queries on one topic stand still: make it before they start. Raises BrokerError."""

    def __init__(self, spark: SparkSession, admin: AdminClient, connection: Connection, topic: str) -> None:
        self._spark, self._admin, self._connection, self._topic = spark, admin, connection, topic
        self._began = read_end_offsets(admin, connection, topic, committed=True)
        self._transactions = OpenTransactions(topic)
        self._queries: dict[str, Standstill] = {}
        self._due = 0.0
        self._unanswered = 0  # times in a row

    def look(self, running: Mapping[str, StreamingQuery], intervals: Mapping[str, float] | None = None) -> dict[str, int]:
        """Those that stand still by name, and how many times in a row they were found so. intervals: between checkpoints.

        Looks each LOOK_INTERVAL_SECONDS seconds, however often it is called; a broker that does not answer is for others to tell.
        """
        now = time.monotonic()
        if now < self._due:
            return {}
        self._due = now + LOOK_INTERVAL_SECONDS
        try:
            ends = read_end_offsets(self._admin, self._connection, self._topic, committed=True)
            all_ends = read_end_offsets(self._admin, self._connection, self._topic)
            for line in self._transactions.describe_blocked(now, ends, all_ends):
                LOG.warning("%s", line)
        except BrokerError:
            return {}
        stalled: dict[str, int] = {}
        for name, streaming in running.items():
            standstill = self._queries.setdefault(name, Standstill(self._began, (intervals or {}).get(name)))
            if standstill.look(now, ends, read_activity(self._spark, streaming)):
                is_there = self._is_there_a_record(standstill.ends, ends)
                if is_there:
                    stalled[name] = standstill.tell()
                elif is_there is None:  # the next look asks again, and the other queries' question would get no answer either
                    break
                else:  # what was rolled back is for nobody to read
                    standstill.forgive(ends)
        return stalled

    def _is_there_a_record(self, since: Mapping[int, int], ends: Mapping[int, int]) -> bool | None:
        """None where that is not known; each time in a row there is twice the time for an answer."""
        within = min(MAX_ANSWER_SECONDS, ANSWER_SECONDS * 2 ** min(self._unanswered, 16))
        is_there = has_readable_record(self._connection, self._topic, since, ends, within)
        self._unanswered = self._unanswered + 1 if is_there is None else 0
        if self._unanswered.bit_count() == 1:  # when it begins, and as it doubles
            LOG.warning(
                "whether a query stands still is not known, and asked again: topic %s grew, but no record of it came "
                "within %g s, which happened %d times in a row",
                self._topic,
                within,
                self._unanswered,
            )
        return is_there


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
    running = sum(stage.numActiveTasks() for stage in submitted)
    waiting = sum(stage.numTasks() - stage.numActiveTasks() - stage.numCompleteTasks() for stage in submitted)
    return Activity(reported, tuple(work), running, max(0, waiting))


def _stages(spark: SparkSession, run: str) -> Iterator[Any]:
    """As Spark's status store has them, of the run's jobs that are at work."""
    store = spark._jsc.sc().statusStore()
    for number in spark._jsc.statusTracker().getActiveJobIds():
        try:
            job = store.job(number)
            if job.jobGroup().contains(run):
                numbers = job.stageIds()
                yield from [store.lastStageAttempt(numbers.apply(place)) for place in range(numbers.size())]
        except Py4JJavaError:  # it ended meanwhile, or has not begun
            continue
