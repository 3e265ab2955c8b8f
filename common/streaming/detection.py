"""The real-time side of a vertical: its queries, started together, and the record of which version judged which offsets."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka.admin import AdminClient
from deltalake.exceptions import DeltaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from common import tables
from common.failures import in_words
from common.kafka.connection import BrokerError, Connection
from common.kafka.topic_identity import TopicChanged, TopicWatch
from common.kafka.topics import topic_names
from common.models.check import UnsafeModel
from common.models.scoring import same_structure
from common.models.training import TrainedModel
from common.published.live_thresholds import live_settings
from common.published.model_registry import challenging
from common.published.reference_data import live, model_of
from common.published.versions import MODEL, Version, newest, versions
from common.reconciliation.lineage_rows import JUDGED_SCHEMA
from common.settings import Settings
from common.streaming.checkpoint_topics import check_topics
from common.streaming.progress_log import Recorder
from common.streaming.queries import (
    REAL_TIME,
    STOP_GRACE,
    QueryEnded,
    Running,
    ended_by_chance,
    raise_if_ended,
    read_topic,
    reason_of,
    start_query,
    stop_all,
)
from common.streaming.shadow import start_shadow
from common.streaming.stalled_queries import StandstillWatch
from common.vertical import Vertical
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

APART = 0.1  # by so much of it a query's checkpoint interval is shorter than the one before's
UNREADABLE = (DeltaError, OSError, UnsafeModel)
AGAIN_SECONDS = 300.0  # a query that ends twice within them is not started again
STOP_SECONDS = 60.0  # that a query which stands still gets to end
SHORTEST = 5  # seconds; Spark takes no shorter one in real-time mode


@dataclass
class Detection:
    """A vertical's running queries."""

    spark: SparkSession
    vertical: Vertical
    workspace: Workspace
    connection: Connection
    settings: Settings
    rule_settings: Any
    recorder: Recorder
    running: list[Running]
    scoring: TrainedModel | None
    topics: TopicWatch
    standstills: StandstillWatch
    shadowed: str = ""  # version of the challenger that is scored beside the champion
    shadow: StreamingQuery | None = None
    can_read_models: bool = True
    not_again_before: dict[str, float] = field(default_factory=dict)  # by query that was started again; time.monotonic()

    def follow_model(self) -> bool:
        """Restart the queries that score with the model if one of another structure is in force; True if it did.

        A model of the same structure needs no restart: its parameters are data that the running query reads again. The
        challenger, if there is one, is scored by a query of its own.
        """
        try:
            published = versions(self.workspace.tables)
            model = newest(published, MODEL)
            in_force = model_of(model.details, self.vertical) if model else None
        except UNREADABLE as problem:  # it is looked again in a second, and the queries go on meanwhile
            if self.can_read_models:
                LOG.warning("which model is in force cannot be read, and the one that runs goes on: %s", in_words(problem))
            self.can_read_models = False
            return False
        self.can_read_models = True
        self._follow_challenger(challenging(published))
        if model is None or in_force is None or (self.scoring and same_structure(self.scoring, in_force)):
            return False
        LOG.info("model %s has another structure: its queries restart from their checkpoints", model.version)
        scoring = [each for each in self.running if each.query.model]
        stop_all({each.query.name: each.streaming for each in scoring})
        self.running = [each for each in self.running if not each.query.model]
        self._start([each.query.name for each in scoring])
        return True

    def _follow_challenger(self, waiting: Version | None) -> None:
        if self.shadow and not self.shadow.isActive:
            LOG.warning("challenger %s is not scored any more: %s", self.shadowed, reason_of(self.shadow.exception()))
            self.shadow = None
        if (waiting.version if waiting else "") == self.shadowed:
            return
        self.stop_shadow()
        self.shadowed = waiting.version if waiting else ""
        try:
            self.shadow = start_shadow(
                self.spark, self.vertical, self.workspace, self.connection, self.settings, self.rule_settings
            )
        except (*UNREADABLE, PySparkException, BrokerError, TopicChanged) as problem:  # it raises no alert: what does goes on
            LOG.warning("challenger %s is not scored: %s", self.shadowed, reason_of(problem))

    def stop_shadow(self) -> None:
        if self.shadow:
            stop_all({self.shadowed: self.shadow})
            self.shadow = None

    def modes(self) -> list[str]:
        """A line per rule: which query runs it, and how."""
        return [
            f"{rule.name}: {each.mode}, query {each.query.name}"
            + (f" ({each.reason})" if each.reason else "")
            for each in self.running
            for rule in each.query.rules
        ]

    def keep_running(self) -> None:
        """Raises QueryEnded when a query that should be running is not, TopicChanged when the topic is not what it was.

        One that ended by chance (`ended_by_chance`) goes on from its checkpoint, unless it ended so a moment ago already; one
        that stands still is stopped, and goes on so too.
        """
        for topic in self.topics.look():
            raise TopicChanged(
                f"topic {topic.name} has {topic.partitions} partitions now, more than there are task slots for: start again, and "
                "there are as many as it takes. Nothing is lost: queries go on from their checkpoints, new partitions are read "
                "from their beginning"
            )
        for each in [each for each in self.running if not each.streaming.isActive]:
            name, now = each.query.name, time.monotonic()
            if not ended_by_chance(each.streaming) or now < self.not_again_before.get(name, 0.0):
                raise_if_ended(each.streaming, name)
            LOG.warning("query %s goes on from its checkpoint: it had ended, as %s", name, reason_of(each.streaming.exception()))
            self.not_again_before[name] = now + AGAIN_SECONDS
            self.running.remove(each)
            self._start([name])
        self._restart_what_stands_still()

    def _restart_what_stands_still(self) -> None:
        in_real_time = {each.query.name: float(each.interval) for each in self.running if each.mode == REAL_TIME}
        standing = self.standstills.look({each.query.name: each.streaming for each in self.running}, in_real_time)
        for each in [each for each in self.running if each.query.name in standing]:
            name = each.query.name
            LOG.warning("query %s stands still, while events come in: it is stopped, and goes on from its checkpoint", name)
            stop_all({name: each.streaming}, STOP_SECONDS)
            if each.streaming.isActive:
                raise QueryEnded(f"query {name} stands still and does not stop: start again, it goes on from its checkpoint")
            self.running.remove(each)
            self._start([name])

    def _start(self, names: list[str]) -> None:
        learnt = live(self.spark, self.workspace.tables, self.vertical)
        self.scoring = learnt.scoring
        rules = live_settings(self.spark, self.vertical, self.workspace.tables, self.rule_settings)
        topic = topic_names(self.vertical).events
        for number, query in enumerate(self.vertical.queries):
            if query.name in names:
                records = read_topic(self.spark, self.connection, topic)
                # A query pauses at its checkpoint, and all the longer when others are at theirs: no two of them keep step.
                interval = max(SHORTEST, round(self.settings.checkpoint_interval / (1 + number * APART)))
                settings = self.settings.model_copy(update={"checkpoint_interval": interval})
                checkpoint = self.workspace.checkpoint(query.name)
                started = start_query(records, self.vertical, query, learnt, rules, self.connection, checkpoint, settings)
                self.running.append(started)
                self.recorder.follow(query.name, started.streaming)


@contextmanager
def detection(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, connection: Connection, settings: Settings, rule_settings: Any
) -> Iterator[Detection]:
    """Run every query of the vertical until the block ends.

    Raises TopicChanged where a checkpoint is of another topic than the one that is there.
    """
    checkpoints = [workspace.checkpoint(query.name) for query in vertical.queries]
    admin, topic = AdminClient(connection.client_options()), topic_names(vertical).events
    topics = TopicWatch(admin, connection, check_topics(spark, admin, connection, workspace, {topic: checkpoints}))
    still = StandstillWatch(spark, admin, connection, topic)
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    recorder = Recorder(workspace.table("judged"), settings.vacuum_hours)
    recorder.start(query.name for query in vertical.queries)
    detecting = Detection(spark, vertical, workspace, connection, settings, rule_settings, recorder, [], None, topics, still)
    try:
        detecting._start([query.name for query in vertical.queries])
        yield detecting
    finally:
        shadow = {detecting.shadowed: detecting.shadow} if detecting.shadow else {}
        stop_all(shadow | {each.query.name: each.streaming for each in detecting.running}, STOP_GRACE)
        recorder.close()
