"""The live part of `hybrid run`: generator, rules, archive and batch at once, of one vertical or of several in one session."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pyspark.sql import SparkSession

from common.batch.as_of_day import newest_day
from common.batch.batch import history, learn, train_model
from common.clock import ClockWatch
from common.concurrency import side_by_side
from common.embedded.supervise import Supervised, supervised
from common.errors import first_line
from common.kafka.connection import Connection
from common.kafka.lag import Lag, read_offsets, records_behind
from common.kafka.topics import topic_names
from common.monitoring.alert_watch import AlertWatch
from common.monitoring.screen import Screen, State
from common.published.model_registry import challenger
from common.runtime import streams
from common.settings import Settings
from common.streaming.archiving import Archiving
from common.streaming.detection import Detection
from common.terminal import console
from common.vertical import Vertical
from common.workspace import Workspace

SETTLE = 3.0  # seconds after the last event in which its alerts come


@dataclass(frozen=True)
class Live:
    """What a run is asked to do with one vertical."""

    vertical: Vertical
    settings: Settings
    workspace: Workspace
    rules: Any
    seconds: float
    rate: float
    seed: int
    live_from: date


@dataclass(frozen=True)
class Running:
    """A vertical while it runs, and what the screen knows of it."""

    live: Live
    state: State
    archived: Archiving
    detecting: Detection
    source: Supervised
    lag: Lag

    def follow(self) -> None:
        """Bring the state up to date; raises when a stream has ended."""
        self.archived.raise_failure()
        self.detecting.keep_running()
        self.detecting.follow_model()
        looked, ends = time.monotonic(), self.lag.ends()
        self.state.came(sum(ends.values()), looked)
        # By the same ends, or more records would be behind than ever came.
        self.state.lag = records_behind(ends, read_offsets(self.archived.progress(), self.lag.topic))
        self.state.tables = self.archived.counts()


def stream(spark: SparkSession, lives: list[Live], connection: Connection) -> list[State]:
    """Everything at once until the time is over, Ctrl-C, or something ends that should run."""
    seconds = lives[0].seconds
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(spark, live, connection)) for live in lives]
        # Only now, when every rule runs: starting queries takes a while, and events would wait for those of the last vertical.
        running = [stack.enter_context(_started(connection, each)) for each in opened]
        states = [each.state for each in running]
        states[0].say(f"archive lag climbs between its micro-batches, {lives[0].settings.archive_interval} s or more apart")
        batch = Batch(spark, running)
        with Screen(console, states) as screen:
            try:
                began, clock = time.monotonic(), ClockWatch()
                while time.monotonic() - began < seconds and any(each.source.exit_status() is None for each in running):
                    for each in running:
                        each.follow()
                    clock.check()
                    batch.begin_once(time.monotonic() - began > seconds / 2)
                    screen.refresh()
                    time.sleep(0.25)
            except KeyboardInterrupt:
                for state in states:
                    state.say("stopping as asked")
            for each in running:
                each.source.stop()
            _drain(running, screen, batch)
    return states


@dataclass(frozen=True)
class Opened:
    """A vertical whose archive and rules run, and who watches its alerts: since before they did, or the first would be missed."""

    live: Live
    watch: AlertWatch
    archived: Archiving
    detecting: Detection


@contextmanager
def _opened(spark: SparkSession, live: Live, connection: Connection) -> Iterator[Opened]:
    alerts = topic_names(live.vertical).alerts
    with console.status(f"{live.vertical.name}: starting the archive and the rules"), ExitStack() as stack:
        watch = stack.enter_context(AlertWatch(connection, alerts, live.settings.alert_cooldown))
        both = streams(spark, live.vertical, live.workspace, connection, live.settings, live.rules)
        archived, detecting = stack.enter_context(both)
        running = stack.pop_all()
    with running:
        yield Opened(live, watch, archived, detecting)


@contextmanager
def _started(connection: Connection, opened: Opened) -> Iterator[Running]:
    live, detecting = opened.live, opened.detecting
    with _generator(live, connection) as source:
        state = State(live.vertical, detecting.modes(), live.seconds, opened.watch)
        lag = Lag(connection, topic_names(live.vertical).events)
        yield Running(live, state, opened.archived, detecting, source, lag)


def _drain(running: list[Running], screen: Screen, batch: "Batch") -> None:
    """After the last event: its alerts, and everything into the tables."""
    for each in running:
        each.state.say("the last alerts and the archive are awaited")
        each.state.ended = time.time()

    def follow() -> None:
        for each in running:
            each.follow()
        screen.refresh()

    last = -1
    while last != (seen := sum(each.state.watch.seen.updates for each in running)):
        last = seen
        time.sleep(SETTLE)
        follow()
    # One after the other, as late alerts may come while the batch job ends.
    side_by_side([batch.join], follow)
    side_by_side([each.archived.drain for each in running], follow)
    for each in running:
        each.state.tables = each.archived.counts()
    screen.refresh()


@contextmanager
def _generator(live: Live, connection: Connection) -> Iterator[Supervised]:
    """The synthetic source, as a process of its own, so that making events does not delay judging them."""
    command = [
        sys.executable,
        "-m",
        "common.cli",
        "generate",
        live.vertical.name,
        "--rate",
        str(live.rate),
        "--for",
        f"{live.seconds}s",
        "--start",
        live.live_from.isoformat(),
        "--seed",
        str(live.seed),
        "--data",
        str(live.settings.data),
    ]
    # The address goes by option and the login by the environment, where process lists do not show it.
    command += ["--bootstrap-servers", connection.bootstrap_servers]
    source: Supervised = supervised(command, live.workspace.folder / "generator.log", environment=dict(os.environ))
    try:
        yield source
    finally:
        source.stop()


@dataclass
class Batch:
    """One batch run of each vertical, one after the other, in a thread of its own while the streams go on."""

    spark: SparkSession
    running: list[Running]
    thread: threading.Thread | None = None
    ending: threading.Event = field(default_factory=threading.Event)

    def begin_once(self, due: bool) -> None:
        if self.thread is None and due:
            self.thread = threading.Thread(target=self._work, name="batch", daemon=True)
            self.thread.start()

    def join(self) -> None:
        """Returns when the vertical whose turn it is has been studied; those after it are put off."""
        self.ending.set()
        if self.thread:
            self.thread.join()

    def _work(self) -> None:
        for each in self.running:
            live, state = each.live, each.state
            if self.ending.is_set():
                state.say("batch put off: the stream has ended")
                continue
            try:
                events, _, _ = history(self.spark, live.workspace)
                day = newest_day(events)
                version = learn(self.spark, live.vertical, live.workspace, day)
                state.say(f"batch: baselines {version} in force")
                if live.vertical.model:
                    trained = train_model(self.spark, live.vertical, live.workspace, day)
                    waits = challenger(live.workspace.tables) is not None
                    state.say(f"batch: model {trained.version} " + ("challenges the one in force" if waits else "in force"))
            except Exception as problem:
                state.say(f"batch failed: {first_line(problem)}")
                state.failures.append(problem)
