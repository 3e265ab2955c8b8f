"""Queries that stand still: the topic that one reads grows, and it takes none of that.

Nothing in Spark says so: a query that waits for task slots, or whose Python process does not answer, is active for good. One in
real-time mode reports its progress once in a checkpoint interval only, and a micro-batch over a backlog is long, so that what
its running tasks have read and written counts as well; Spark's executors tell that every ten seconds.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from common.ingestion.connection import GROUP_PREFIX, BrokerError, Connection
from common.ingestion.topics import read_end_offsets

LOOK_EVERY = 5.0  # seconds
PATIENCE = 40.0  # seconds, of a query with tasks that has worked since it was started
STARTING = 180.0  # of one that starts, or plans its next batch: that takes a minute where the machine is busy


@dataclass(frozen=True)
class Life:
    """What changes while a query works: the batch it last reported, and what its running tasks have read and written."""

    reported: tuple[int, str] | None
    work: tuple[int, ...] = ()

    @property
    def has_begun(self) -> bool:
        return self.reported is not None or any(self.work)


@dataclass
class Still:
    """Since when one query stands still, and how many times in a row it was found so.

    ends: of its topic, by partition, when it still worked, or was started. A report is due each `interval` seconds, if any is:
    without one, work alone is not enough.
    """

    ends: Mapping[int, int]
    interval: float | None = None
    times: int = 0
    _life: Life = Life(None)
    _grown_at: float | None = None
    _reported_at: float | None = None

    def look(self, now: float, ends: Mapping[int, int], life: Life) -> bool:
        """Whether it has stood still for too long."""
        if self._reported_at is None or life.reported != self._life.reported:
            self._reported_at = now
        if life != self._life and life.has_begun and not self._is_overdue(now, self._reported_at):
            self.times = 0
            self.forgive(ends)
        self._life = life
        if self._grown_at is None and any(end > self.ends.get(partition, 0) for partition, end in ends.items()):
            self._grown_at = now
        return self._grown_at is not None and now - self._grown_at >= self._patience()

    def forgive(self, ends: Mapping[int, int]) -> None:
        """What counts is what comes after these ends."""
        self.ends, self._grown_at = dict(ends), None

    def tell(self) -> int:
        """How many times in a row it was found so. From now on, started again or not, it gets twice the time of before.

        Or a machine that is too busy for it would never be done with starting it.
        """
        self.times += 1
        self._grown_at = self._reported_at = None
        return self.times

    def _is_overdue(self, now: float, reported_at: float) -> bool:
        return self.interval is not None and now - reported_at > 2 * self.interval + STARTING

    def _patience(self) -> float:
        has_tasks = self._life.has_begun and self._life.work != ()
        return float((PATIENCE if has_tasks else STARTING) * 2 ** min(self.times, 4))


class StandstillWatch:
    """Looks now and then whether queries on one topic stand still: make it before they start. Raises BrokerError."""

    def __init__(self, spark: SparkSession, admin: AdminClient, connection: Connection, topic: str) -> None:
        self._spark, self._admin, self._connection, self._topic = spark, admin, connection, topic
        self._began = read_end_offsets(admin, connection, topic)
        self._queries: dict[str, Still] = {}
        self._due = 0.0

    def look(self, running: Mapping[str, StreamingQuery], intervals: Mapping[str, float] | None = None) -> dict[str, int]:
        """Those that stand still by name, and how many times in a row they were found so. intervals: between checkpoints.

        Looks each LOOK_EVERY seconds, however often it is called; a broker that does not answer is for others to tell.
        """
        now = time.monotonic()
        if now < self._due:
            return {}
        self._due = now + LOOK_EVERY
        try:
            ends = read_end_offsets(self._admin, self._connection, self._topic)
        except BrokerError:
            return {}
        found: dict[str, int] = {}
        for name, streaming in running.items():
            still = self._queries.setdefault(name, Still(self._began, (intervals or {}).get(name)))
            if still.look(now, ends, life_of(self._spark, streaming)):
                if self._is_there_a_record(still.ends):
                    found[name] = still.tell()
                else:  # what was rolled back, or not committed yet, is for nobody to read
                    still.forgive(ends)
        return found

    def _is_there_a_record(self, since: Mapping[int, int]) -> bool:
        options = {"group.id": f"{GROUP_PREFIX}standstill", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        consumer = Consumer(self._connection.client_options() | options)
        try:
            consumer.assign([TopicPartition(self._topic, partition, offset) for partition, offset in since.items()])
            message = consumer.poll(LOOK_EVERY)
            return message is not None and message.error() is None
        finally:
            consumer.close()


def life_of(spark: SparkSession, streaming: StreamingQuery) -> Life:
    """A query's signs of life, as Spark has them now."""
    progress = streaming._jsq.lastProgress()
    return Life(None if progress is None else (progress.batchId(), progress.timestamp()), _work(spark, str(streaming.runId)))


def _work(spark: SparkSession, run: str) -> tuple[int, ...]:
    """Tasks done, and records read and written, of the stages of the run's jobs that are at work."""
    store, work = spark._jsc.sc().statusStore(), []
    for number in spark._jsc.statusTracker().getActiveJobIds():
        try:
            job = store.job(number)
            if not job.jobGroup().contains(run):
                continue
            stages = job.stageIds()
            for place in range(stages.size()):
                stage = store.lastStageAttempt(stages.apply(place))
                work += [stage.numCompleteTasks(), stage.inputRecords(), stage.outputRecords(), stage.shuffleReadRecords(),
                         stage.shuffleWriteRecords()]
        except Py4JJavaError:  # it ended meanwhile, or has not begun
            continue
    return tuple(work)
