"""`hybrid run`: all of a vertical at once, or of all of them, live in the terminal, with a summary at the end."""

import os
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession

from common.batch.backfill import backfill
from common.batch.batch import came_live, learn, study, train_model
from common.batch.evaluation import evaluate
from common.command_options import FIRST_DAY, Data, Seed, Servers, VerticalOrAll, duration
from common.commands.live import Live, stream
from common.errors import first_line
from common.installed import find_verticals
from common.kafka.topics import ensure_topics
from common.monitoring.alert_watch import Percentiles
from common.monitoring.screen import State
from common.monitoring.summary import (
    evaluation_tables,
    latency_table,
    model_summary,
    quality_tables,
    reconcile_table,
    reconciled_line,
    suite_line,
    trend_tables,
)
from common.reconciliation.reconcile import reconcile
from common.runtime import own_broker, population_of, read_settings, rule_settings, session, workspace_of
from common.terminal import console, error_console  # fmt: skip

BRIEF = 300.0  # seconds of streaming; a longer run earns back what Java's second compiler costs
WARM_UP = 20.0  # seconds after the first event in which JIT compilers and first batches are not what a user waits for


def add_to(app: typer.Typer) -> None:
    app.command()(run)


def run(
    vertical: VerticalOrAll,
    for_: Annotated[str, typer.Option("--for", help="how long to stream, warm-up included")] = "60s",
    rate: Annotated[float, typer.Option(min=1, help="events per second, of all verticals together")] = 500,
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
    subjects = find_verticals(vertical)
    seconds = duration(for_) or 60.0
    settings = read_settings(data, servers)
    folder = settings.data / f"run-{datetime.now():%Y%m%d-%H%M%S}"
    # A border of one vertical's queries is planning and reading baselines for seconds, of four verticals' for as many more.
    interval = max(10, min(settings.checkpoint_interval, int(seconds / 3) * len(subjects)))
    settings = settings.model_copy(update={"data": folder, "checkpoint_interval": interval})
    lives = [
        Live(
            subject,
            settings,
            workspace_of(subject, settings),
            rule_settings(subject),
            seconds,
            rate / len(subjects),
            seed,
            FIRST_DAY + timedelta(days=history_days),
        )
        for subject in subjects
    ]
    is_brief = seconds <= BRIEF
    populations = [population_of(subject) for subject in subjects]
    with ExitStack() as stack:
        connection, partitions = stack.enter_context(own_broker(settings)), dict[str, int]()
        for subject in subjects:
            partitions |= ensure_topics(connection, subject, settings.partitions, settings.replication)
        spark = stack.enter_context(session(subjects, settings, partitions, is_brief=is_brief))
        for live in lives:
            stack.enter_context(live.workspace.only_one("batch"))
        for live, population in zip(lives, populations, strict=True):
            prepare(spark, live, population, history_days)
        states = stream(spark, lives, connection)
        if len(lives) == 1:
            summarise(spark, lives[0], states[0])
        else:
            summarise_all(spark, lives, states)
    failures = [problem for state in states for problem in state.failures]
    if failures:
        error_console.print(f"a batch run failed: {first_line(failures[0])}", style="red", markup=False)
        raise typer.Exit(1)


def prepare(spark: SparkSession, live: Live, population: Any, days: int) -> None:
    """History, the first baselines and the first model."""
    vertical = live.vertical
    with console.status(f"{vertical.name}: backfilling {days} days of history"):
        count = backfill(spark, vertical, live.workspace, live.seed, FIRST_DAY, days, population)
    console.print(f"{vertical.name}: backfilled {count:,} events of {days} days into Delta")
    with console.status("learning baselines from the history"):
        version = learn(spark, vertical, live.workspace, live.live_from)
    console.print(f"baselines {version} in force")
    if vertical.model:
        with console.status("training the model on labels known by then"):
            console.print(model_summary(train_model(spark, vertical, live.workspace, live.live_from)))


def latencies(live: Live, state: State) -> dict[str, Percentiles]:
    """Of the warm-up, and of what came after it."""
    warm = state.started + min(WARM_UP, live.seconds / 3)
    watch = state.watch
    return {f"warm-up, first {warm - state.started:.0f} s": watch.latency(0, warm), "after it": watch.latency(warm)}


def machine_line() -> str:
    """What to think of latencies where more wanted to run than there were cores; empty where not."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"load average {load:.0f} on {cores} cores: these latencies are the machine's" if load > 2 * cores else ""


def summarise(spark: SparkSession, live: Live, state: State) -> None:
    """What came in, what was caught, how fast, what batch says of it all, and where everything lies."""
    vertical, workspace = live.vertical, live.workspace
    console.rule(f"{vertical.name}: what came of it")
    console.print(f"{state.total:,} records came in; {state.tables_line()}")
    with console.status("comparing alerts with labels"):
        for table in evaluation_tables(evaluate(vertical, *came_live(spark, workspace))):
            console.print(table)
    console.print(latency_table(latencies(live, state), machine_line()))
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


def summarise_all(spark: SparkSession, lives: list[Live], states: list[State]) -> None:
    """The live quality of all verticals in one table, their latencies, and whether stream and history agree."""
    console.rule("what came of it")
    for live, state in zip(lives, states, strict=True):
        console.print(f"{live.vertical.name}: {state.total:,} records came in; {state.tables_line()}")
    with console.status("comparing alerts with labels"):
        found = {live.vertical.name: evaluate(live.vertical, *came_live(spark, live.workspace)) for live in lives}
    for table in quality_tables(found):
        console.print(table)
    named_latencies = {
        f"{live.vertical.name}, {name}": measured
        for live, state in zip(lives, states, strict=True)
        for name, measured in latencies(live, state).items()
    }
    console.print(latency_table(named_latencies, machine_line()))
    for live in lives:
        with console.status(f"{live.vertical.name}: judging history again, to compare with the stream"):
            result = reconcile(spark, live.vertical, live.workspace, live.rules)
        console.print(f"{live.vertical.name}: {reconciled_line(result)}")
    folder = lives[0].settings.data.absolute()
    one = lives[0].vertical.name
    console.print(f"tables: {folder}\ntrends, plots and data docs of one: hybrid trends {one} --data {folder}", soft_wrap=True)
