"""Runs generator, rules, archive and batch at once, of one vertical or of several in one session, for `hybrid run`."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date

from pyspark.sql import SparkSession

from common.archive.history import newest_day, read_history
from common.batch.batch import learn, train_model
from common.clock import ClockWatch
from common.concurrency import run_concurrently
from common.deployment import Deployment
from common.embedded.supervise import SupervisedProcess, start_supervised
from common.errors import first_line
from common.kafka.lag import LagMeter, read_offsets, records_behind
from common.kafka.topics import topic_names
from common.monitoring.alert_watch import AlertWatch
from common.monitoring.screen import RunState, Screen
from common.published.model_registry import challenger
from common.runtime import streams
from common.streaming.archiving import Archiving
from common.streaming.detection import Detection
from common.terminal import console

SETTLE_SECONDS = 3.0  # after the last event, in which its alerts come


@dataclass(frozen=True)
class RunPlan:
    """What a run does with one vertical.

    seconds: how long events are sent. rate: events a second. live_from: first simulated day of the stream.
    """

    deployment: Deployment
    seconds: float
    rate: float
    seed: int
    live_from: date


@dataclass(frozen=True)
class RunningVertical:
    """A vertical while it runs, and what the screen shows of it."""

    plan: RunPlan
    state: RunState
    archiving: Archiving
    detection: Detection
    source: SupervisedProcess
    lag: LagMeter

    def is_sending(self) -> bool:
        """Whether its generator still runs."""
        return self.source.exit_status() is None

    def follow(self) -> None:
        """Bring the state up to date; raises when a stream has ended."""
        self.archiving.raise_failure()
        self.detection.keep_running()
        self.detection.follow_model()
        measured_at, ends = time.monotonic(), self.lag.read_ends()
        self.state.record_total(sum(ends.values()), measured_at)
        # By the same ends, or more records would be behind than ever came.
        self.state.lag = records_behind(ends, read_offsets(self.archiving.progress(), self.lag.topic))
        self.state.tables = self.archiving.counts()


def stream(spark: SparkSession, plans: list[RunPlan]) -> list[RunState]:
    """Run all verticals at once until the time is over, Ctrl-C, or something ends that should run."""
    seconds = plans[0].seconds
    with ExitStack() as stack:
        all_streams = [stack.enter_context(_open_streams(spark, plan)) for plan in plans]
        # Only now, when every rule runs: starting queries takes a while, and events would wait for those of the last vertical.
        verticals = [stack.enter_context(_start_source(open_streams)) for open_streams in all_streams]
        states = [vertical.state for vertical in verticals]
        interval = plans[0].deployment.settings.archive_interval
        states[0].say(f"archive lag climbs between its micro-batches, {interval} s or more apart")
        batch = BatchRuns(spark, verticals)
        with Screen(console, states) as screen:
            try:
                start, clock = time.monotonic(), ClockWatch()
                while time.monotonic() - start < seconds and any(vertical.is_sending() for vertical in verticals):
                    for vertical in verticals:
                        vertical.follow()
                    clock.check()
                    batch.begin_once(time.monotonic() - start > seconds / 2)
                    screen.refresh()
                    time.sleep(0.25)
            except KeyboardInterrupt:
                for state in states:
                    state.say("stopping as asked")
            for vertical in verticals:
                vertical.source.stop()
            _drain(verticals, screen, batch)
    return states


@dataclass(frozen=True)
class OpenStreams:
    """A vertical whose archive and rules run, and the watch over its alerts, started before them so that it misses none."""

    plan: RunPlan
    watch: AlertWatch
    archiving: Archiving
    detection: Detection


@contextmanager
def _open_streams(spark: SparkSession, plan: RunPlan) -> Iterator[OpenStreams]:
    deployment = plan.deployment
    alerts = topic_names(deployment.vertical).alerts
    with console.status(f"{deployment.vertical.name}: starting the archive and the rules"), ExitStack() as stack:
        watch = stack.enter_context(AlertWatch(deployment.kafka, alerts, deployment.settings.alert_cooldown))
        archiving, detection = stack.enter_context(streams(spark, deployment))
        open_contexts = stack.pop_all()
    with open_contexts:
        yield OpenStreams(plan, watch, archiving, detection)


@contextmanager
def _start_source(open_streams: OpenStreams) -> Iterator[RunningVertical]:
    plan, detection = open_streams.plan, open_streams.detection
    vertical, connection = plan.deployment.vertical, plan.deployment.kafka
    with _generator(plan) as source:
        state = RunState(vertical, detection.modes(), plan.seconds, open_streams.watch)
        lag = LagMeter(connection, topic_names(vertical).events)
        yield RunningVertical(plan, state, open_streams.archiving, detection, source, lag)


def _drain(verticals: list[RunningVertical], screen: Screen, batch: "BatchRuns") -> None:
    """After the last event: wait for its alerts, and until everything is in the tables. Raises ClockSetBack."""
    for vertical in verticals:
        vertical.state.say("the last alerts and the archive are awaited")
    clock = ClockWatch()

    def follow() -> None:
        clock.check()  # Spark's triggers would wait until the clock has come to where it was
        for vertical in verticals:
            vertical.follow()
        screen.refresh()

    earlier_updates = -1
    while earlier_updates != (updates := sum(vertical.state.watch.tally.updates for vertical in verticals)):
        earlier_updates = updates
        time.sleep(SETTLE_SECONDS)
        follow()
    # One after the other, as late alerts may come while the batch job ends.
    run_concurrently([batch.join], follow)
    run_concurrently([vertical.archiving.drain for vertical in verticals], follow)
    for vertical in verticals:
        vertical.state.tables = vertical.archiving.counts()
    screen.refresh()


@contextmanager
def _generator(plan: RunPlan) -> Iterator[SupervisedProcess]:
    """The synthetic source, as a process of its own, so that making events does not delay judging them."""
    deployment = plan.deployment
    command = [
        sys.executable,
        "-m",
        "common.cli",
        "generate",
        deployment.vertical.name,
        "--rate",
        str(plan.rate),
        "--for",
        f"{plan.seconds}s",
        "--start",
        plan.live_from.isoformat(),
        "--seed",
        str(plan.seed),
        "--data",
        str(deployment.settings.data),
    ]
    # The address goes by option and the login by the environment, where process lists do not show it.
    command += ["--bootstrap-servers", deployment.kafka.bootstrap_servers]
    source: SupervisedProcess = start_supervised(
        command, deployment.workspace.folder / "generator.log", environment=dict(os.environ)
    )
    try:
        yield source
    finally:
        source.stop()


@dataclass
class BatchRuns:
    """One batch run of each vertical, one after the other, in a thread of its own while the streams go on."""

    spark: SparkSession
    verticals: list[RunningVertical]
    thread: threading.Thread | None = None
    ending: threading.Event = field(default_factory=threading.Event)

    def begin_once(self, is_due: bool) -> None:
        """Start the thread at the first call with `is_due`; later calls do nothing."""
        if self.thread is None and is_due:
            self.thread = threading.Thread(target=self._work, name="batch", daemon=True)
            self.thread.start()

    def join(self) -> None:
        """Returns when the batch run under way has ended; those of the verticals after it are put off."""
        self.ending.set()
        if self.thread:
            self.thread.join()

    def _work(self) -> None:
        for vertical in self.verticals:
            deployment, state = vertical.plan.deployment, vertical.state
            if self.ending.is_set():
                state.say("batch put off: the stream has ended")
                continue
            try:
                events, _, _ = read_history(self.spark, deployment.workspace)
                day = newest_day(events)
                version = learn(self.spark, deployment, day)
                state.say(f"batch: baselines {version} in force")
                if deployment.vertical.model:
                    model = train_model(self.spark, deployment, day)
                    is_challenger = challenger(deployment.tables) is not None
                    state.say(f"batch: model {model.version} " + ("challenges the one in force" if is_challenger else "in force"))
            except Exception as problem:
                state.say(f"batch failed: {first_line(problem)}")
                state.failures.append(problem)
