"""Runs a vertical's queries: starts them together and restarts them where that helps, with a log of what judged which offsets."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from common import tables
from common.deployment import Deployment
from common.failures import describe_failure
from common.kafka.connection import BrokerError
from common.kafka.topic_identity import TopicChanged, TopicWatch
from common.kafka.topics import topic_names
from common.models.check import UnsafeModel
from common.models.scoring import have_same_structure
from common.models.training import TrainedModel
from common.published.live_thresholds import live_settings
from common.published.model_registry import find_challenger
from common.published.reference_data import live_reference_data, model_of
from common.published.versions import MODEL, UNREADABLE_VERSIONS, Version, newest, versions
from common.streaming.checkpoint_topics import check_topics
from common.streaming.lineage_rows import JUDGED_SCHEMA
from common.streaming.progress_log import ProgressLog
from common.streaming.queries import (
    REAL_TIME,
    STOP_GRACE_SECONDS,
    QueryEnded,
    QueryInputs,
    RunningQuery,
    ended_by_chance,
    raise_if_ended,
    read_topic,
    reason_of,
    start_query,
    stop_all,
)
from common.streaming.shadow import start_shadow
from common.streaming.stalled_queries import StandstillWatch

LOG = logging.getLogger(__name__)

CHECKPOINT_STAGGER = 0.1  # each further query's checkpoint interval is shorter by this share, so that no two pause together
UNREADABLE = (*UNREADABLE_VERSIONS, UnsafeModel)
RESTART_WINDOW_SECONDS = 300.0  # a query that ends twice within it is not started again
STANDSTILL_STOP_SECONDS = 60.0  # that a query which stands still gets to end
MIN_INTERVAL_SECONDS = 5  # Spark takes no shorter one in real-time mode


@dataclass
class Detection:
    """A vertical's running queries.

    running: of `vertical.queries`. scoring: the model whose structure the queries that score were built for. challenger_version:
    of the challenger that `shadow` scores beside the champion. no_restart_before: time.monotonic() by query that was restarted.
    """

    spark: SparkSession
    deployment: Deployment
    log: ProgressLog
    topics: TopicWatch
    standstills: StandstillWatch
    running: list[RunningQuery] = field(default_factory=list)
    scoring: TrainedModel | None = None
    challenger_version: str = ""
    shadow: StreamingQuery | None = None
    can_read_models: bool = True
    no_restart_before: dict[str, float] = field(default_factory=dict)

    def follow_model(self) -> bool:
        """Restart the queries that score with the model if one of another structure is in force; True if it did.

        A model of the same structure needs no restart: its parameters are data that the running query reads again. The
        challenger, if there is one, is scored by a query of its own.
        """
        try:
            all_versions = versions(self.deployment.tables)
            model = newest(all_versions, MODEL)
            in_force = model_of(model.details, self.deployment.vertical) if model else None
        except UNREADABLE as problem:  # it is read again in a second, and the queries go on meanwhile
            if self.can_read_models:
                LOG.warning("which model is in force cannot be read, the present one goes on: %s", describe_failure(problem))
            self.can_read_models = False
            return False
        self.can_read_models = True
        self._follow_challenger(find_challenger(all_versions))
        if model is None or in_force is None or (self.scoring and have_same_structure(self.scoring, in_force)):
            return False
        LOG.info("model %s has another structure: its queries restart from their checkpoints", model.version)
        scoring_queries = [running_query for running_query in self.running if running_query.query.model]
        stop_all({running_query.query.name: running_query.streaming for running_query in scoring_queries})
        self.running = [running_query for running_query in self.running if not running_query.query.model]
        self._start([running_query.query.name for running_query in scoring_queries])
        return True

    def _follow_challenger(self, challenger: Version | None) -> None:
        if self.shadow and not self.shadow.isActive:
            LOG.warning("challenger %s is not scored any more: %s", self.challenger_version, reason_of(self.shadow.exception()))
            self.shadow = None
        version = challenger.version if challenger else ""
        if version == self.challenger_version:
            return
        self.stop_shadow()
        self.challenger_version = version
        try:
            self.shadow = start_shadow(self.spark, self.deployment)
        except (*UNREADABLE, PySparkException, BrokerError, TopicChanged) as problem:  # it raises no alert: what does goes on
            LOG.warning("challenger %s is not scored: %s", version, reason_of(problem))

    def stop_shadow(self) -> None:
        if self.shadow:
            stop_all({self.challenger_version: self.shadow})
            self.shadow = None

    def modes(self) -> list[str]:
        """A line per rule: which query runs it, and how."""
        return [
            f"{rule.name}: {running_query.mode}, query {running_query.query.name}"
            + (f" ({running_query.reason})" if running_query.reason else "")
            for running_query in self.running
            for rule in running_query.query.rules
        ]

    def keep_running(self) -> None:
        """Raises QueryEnded when a query that should be running is not, TopicChanged when the topic is not what it was.

        A query that ended by chance (`ended_by_chance`) is started again from its checkpoint, unless that was done within
        RESTART_WINDOW_SECONDS already; one that stands still is stopped and started again.
        """
        for topic in self.topics.check():
            raise TopicChanged(
                f"topic {topic.name} has {topic.partitions} partitions now, more than there are task slots for: start again, and "
                "there are as many as it takes. Nothing is lost: queries go on from their checkpoints, new partitions are read "
                "from their beginning"
            )
        for ended_query in [running_query for running_query in self.running if not running_query.streaming.isActive]:
            name, now = ended_query.query.name, time.monotonic()
            if not ended_by_chance(ended_query.streaming) or now < self.no_restart_before.get(name, 0.0):
                raise_if_ended(ended_query.streaming, name)
            reason = reason_of(ended_query.streaming.exception())
            LOG.warning("query %s goes on from its checkpoint: it had ended, as %s", name, reason)
            self.no_restart_before[name] = now + RESTART_WINDOW_SECONDS
            self.running.remove(ended_query)
            self._start([name])
        self._restart_stalled()

    def _restart_stalled(self) -> None:
        by_name = {running_query.query.name: running_query for running_query in self.running}
        intervals = {name: float(query.interval) for name, query in by_name.items() if query.mode == REAL_TIME}
        stalled = self.standstills.find_stalled({name: query.streaming for name, query in by_name.items()}, intervals)
        for name, stalled_query in [(name, query) for name, query in by_name.items() if name in stalled]:
            LOG.warning("query %s stands still, while events come in: it is stopped, and goes on from its checkpoint", name)
            stop_all({name: stalled_query.streaming}, STANDSTILL_STOP_SECONDS)
            if stalled_query.streaming.isActive:
                raise QueryEnded(f"query {name} stands still and does not stop: start again, it goes on from its checkpoint")
            self.running.remove(stalled_query)
            self._start([name])

    def _start(self, names: list[str]) -> None:
        deployment, vertical = self.deployment, self.deployment.vertical
        data = live_reference_data(self.spark, deployment.tables, vertical)
        if all(query.name in names for query in vertical.queries if query.model):
            self.scoring = data.scoring  # of others that go on `scoring` stays what they were built for, and is compared by
        rules = live_settings(self.spark, vertical, deployment.tables, deployment.rules)
        for number, query in enumerate(vertical.queries):
            if query.name in names:
                records = read_topic(self.spark, deployment.kafka, topic_names(vertical).events)
                # Queries pause while they checkpoint; staggered intervals keep these pauses apart.
                interval = round(deployment.settings.checkpoint_interval / (1 + number * CHECKPOINT_STAGGER))
                checkpoint = deployment.workspace.checkpoint(query.name)
                inputs = QueryInputs(data, rules, checkpoint, max(MIN_INTERVAL_SECONDS, interval))
                running_query = start_query(records, deployment, query, inputs)
                self.running.append(running_query)
                self.log.follow(query.name, running_query.streaming)


@contextmanager
def run_detection(spark: SparkSession, deployment: Deployment) -> Iterator[Detection]:
    """Run every query of the vertical until the block ends.

    Raises TopicChanged where a checkpoint is of another topic than the one that is there.
    """
    vertical, workspace, connection = deployment.vertical, deployment.workspace, deployment.kafka
    checkpoints = [workspace.checkpoint(query.name) for query in vertical.queries]
    admin, topic = AdminClient(connection.client_options()), topic_names(vertical).events
    topics = TopicWatch(admin, connection, check_topics(spark, admin, connection, workspace, {topic: checkpoints}))
    standstills = StandstillWatch(spark, admin, connection, topic)
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    log = ProgressLog(workspace.table("judged"), deployment.settings.vacuum_hours)
    log.start(query.name for query in vertical.queries)
    detection = Detection(spark, deployment, log, topics, standstills)
    try:
        detection._start([query.name for query in vertical.queries])
        yield detection
    finally:
        shadow = {detection.challenger_version: detection.shadow} if detection.shadow else {}
        queries = {running_query.query.name: running_query.streaming for running_query in detection.running}
        stop_all(shadow | queries, STOP_GRACE_SECONDS)
        log.close()
