"""`hybrid run`: all of a vertical at once, live in the terminal, with a summary at the end."""

import os
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession

from common.commands.context import (
    Data,
    Seed,
    Servers,
    VerticalName,
    console,
    duration,
    errors,
    named,
    own_broker,
    population_of,
    read_settings,
    rule_settings,
    session,
    workspace_of,
)  # fmt: skip
from common.embedded.supervise import Supervised, supervised
from common.ingestion.connection import Connection
from common.ingestion.lag import Lag
from common.ingestion.topics import end_offsets, ensure_topics, topic_names
from common.models.training import TrainedModel
from common.monitoring.evaluation import evaluate
from common.monitoring.screen import Screen, State
from common.monitoring.summary import evaluation_tables, latency_table, model_table, reconcile_table, suite_line, trend_tables
from common.monitoring.watch import AlertWatch
from common.processing.archiving import Archiving, archiving
from common.processing.backfill import backfill
from common.processing.batch import came_live, history, learn, newest_day, study, train_model
from common.processing.detection import Detection, detection
from common.processing.reconcile import reconcile
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

FIRST_DAY = date(2020, 1, 1)
WARM_UP = 20.0  # seconds after the first event in which JIT compilers and first batches are not what a user waits for
SETTLE = 3.0  # seconds after the last event in which its alerts come


def add_to(app: typer.Typer) -> None:
    app.command()(run)


def run(
    vertical: VerticalName,
    for_: Annotated[str, typer.Option("--for", help="how long to stream, warm-up included")] = "60s",
    rate: Annotated[float, typer.Option(min=1, help="events per second")] = 500,
    history_days: Annotated[
        int, typer.Option(min=30, help="simulated days that batch learns from before the stream starts")
    ] = 45,
    seed: Seed = 1,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """All of a vertical: broker, generator, real-time rules, archive and batch, live; then what came of it.

    Event time runs faster than the clock: `rate` decides how many simulated days pass. Everything lies in a folder of
    this run under the data folder.
    """
    subject, seconds = named(vertical), duration(for_)
    settings = read_settings(data, servers)
    folder = settings.data / f"run-{datetime.now():%Y%m%d-%H%M%S}"
    interval = max(10, min(settings.checkpoint_interval, int((seconds or 60) / 3)))
    settings = settings.model_copy(update={"data": folder, "checkpoint_interval": interval})
    rules, population = rule_settings(subject), population_of(subject)
    workspace = workspace_of(subject, settings)
    live = Live(subject, settings, workspace, rules, seconds or 60.0, rate, seed, FIRST_DAY + timedelta(days=history_days))
    with own_broker(settings) as connection, session([subject], settings, streaming=True) as spark:
        prepare(spark, live, connection, population, history_days)
        state = stream(spark, live, connection)
        summarise(spark, live, state)


@dataclass(frozen=True)
class Live:
    """What a run is asked to do."""

    vertical: Vertical
    settings: Settings
    workspace: Workspace
    rules: Any
    seconds: float
    rate: float
    seed: int
    live_from: date


def prepare(spark: SparkSession, live: Live, connection: Connection, population: Any, days: int) -> None:
    """Topics, history, the first baselines and the first model."""
    settings, vertical = live.settings, live.vertical
    ensure_topics(connection, vertical, settings.partitions, settings.replication)
    with console.status(f"backfilling {days} days of history"):
        count = backfill(spark, vertical, live.workspace, live.seed, FIRST_DAY, days, population)
    console.print(f"backfilled {count:,} events of {days} days into Delta")
    with console.status("learning baselines from the history"):
        version = learn(spark, vertical, live.workspace, live.live_from)
    console.print(f"baselines {version} in force")
    if vertical.model:
        with console.status("training the model on labels known by then"):
            console.print(model_table(train_model(spark, vertical, live.workspace, live.live_from)))


def stream(spark: SparkSession, live: Live, connection: Connection) -> State:
    """Everything at once until the time is over, Ctrl-C, or something ends that should run."""
    topics = topic_names(live.vertical)
    with ExitStack() as stack:
        archived = stack.enter_context(archiving(spark, live.vertical, live.workspace, connection, live.settings))
        detecting = stack.enter_context(detection(spark, live.vertical, live.workspace, connection, live.settings, live.rules))
        watch = stack.enter_context(AlertWatch(connection, topics.alerts))
        state = State(live.vertical, detecting.modes(), live.seconds, watch)
        source = stack.enter_context(generator(live, connection))
        batch = Batch(spark, live, state)
        lag = Lag(connection, topics.events)
        with Screen(console, state) as screen:
            try:
                while time.time() - state.started < live.seconds and source.exit_status() is None:
                    follow(state, archived, detecting, connection, lag)
                    batch.begin_once(after=live.seconds / 2)
                    screen.refresh()
                    time.sleep(0.25)
            except KeyboardInterrupt:
                state.say("stopping as asked")
            source.stop()
            drain(state, archived, detecting, connection, lag, screen, batch)
    return state


def follow(state: State, archived: Archiving, detecting: Detection, connection: Connection, lag: Lag) -> None:
    """Bring the state up to date; raises when a stream has ended."""
    archived.raise_failure()
    detecting.raise_failure()
    detecting.follow_model()
    state.came(sum(end_offsets(connection, lag.topic).values()))
    state.lag = lag.of(archived.progress())
    state.tables = archived.counts()


def drain(
    state: State, archived: Archiving, detecting: Detection, connection: Connection, lag: Lag, screen: Screen, batch: "Batch"
) -> None:
    """After the last event: its alerts, and everything into the tables."""
    state.say("the last alerts and the archive are awaited")
    state.ended = time.time()
    last = -1
    while last != state.watch.seen.updates:
        last = state.watch.seen.updates
        time.sleep(SETTLE)
        follow(state, archived, detecting, connection, lag)
        screen.refresh()
    batch.join()
    archived.drain()
    state.tables = archived.counts()
    screen.refresh()


@contextmanager
def generator(live: Live, connection: Connection):  # type: ignore[no-untyped-def]
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
    """One batch run in a thread of its own, in the middle of the stream: what it learns reaches the running rules."""

    spark: SparkSession
    live: Live
    state: State
    thread: threading.Thread | None = None

    def begin_once(self, after: float) -> None:
        if self.thread is None and time.time() - self.state.started > after:
            self.thread = threading.Thread(target=self._work, name="batch", daemon=True)
            self.thread.start()

    def join(self) -> None:
        if self.thread:
            self.thread.join()

    def _work(self) -> None:
        live = self.live
        try:
            events, _, _ = history(self.spark, live.workspace)
            day = newest_day(events)
            version = learn(self.spark, live.vertical, live.workspace, day)
            self.state.say(f"batch: baselines {version} in force")
            if live.vertical.model:
                trained: TrainedModel = train_model(self.spark, live.vertical, live.workspace, day)
                self.state.say(f"batch: model {trained.version} in force")
        except Exception as problem:
            self.state.say(f"batch failed: {str(problem).splitlines()[0]}")
            self.state.failures.append(problem)


def summarise(spark: SparkSession, live: Live, state: State) -> None:
    """What came in, what was caught, how fast, what batch says of it all, and where everything lies."""
    vertical, workspace = live.vertical, live.workspace
    console.rule(f"{vertical.name}: what came of it")
    console.print(f"{state.total:,} records came in; {state.tables_line()}")
    with console.status("comparing alerts with labels"):
        for table in evaluation_tables(evaluate(vertical, *came_live(spark, workspace))):
            console.print(table)
    warm = state.started + min(WARM_UP, live.seconds / 3)
    console.print(
        latency_table(
            {f"warm-up, first {warm - state.started:.0f} s": state.watch.latency(0, warm), "after it": state.watch.latency(warm)}
        )
    )
    with console.status("the batch job: contract suite, trends"):
        studied = study(spark, vertical, workspace)
        console.print(suite_line(studied))
    for table in trend_tables(spark, workspace, list(studied.trends)):
        console.print(table)
    with console.status("judging history again, to compare with the stream"):
        result = reconcile(spark, vertical, workspace, live.rules)
    console.print(reconcile_table(result, vertical))
    console.print(
        f"Delta tables: {workspace.tables}\nplots: {', '.join(str(plot) for plot in studied.plots)}\ndata docs: {workspace.docs}"
    )
    if state.failures:
        errors.print(f"a batch run failed: {state.failures[0]}", style="red")
        raise typer.Exit(1)
