"""Runs `hybrid run`: everything of one vertical or of all at once, live in the terminal, with a summary at the end."""

import os
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession

from common.archive.history import read_live_history
from common.batch.backfill import backfill
from common.batch.batch import learn, run_batch, train_model
from common.batch.evaluation import evaluate
from common.command_options import FIRST_DAY, Data, Seed, Servers, VerticalOrAll, duration
from common.commands.live import RunPlan, stream
from common.errors import first_line
from common.installed import find_verticals
from common.kafka.topics import ensure_topics
from common.monitoring.alert_watch import Percentiles
from common.monitoring.screen import RunState
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
from common.runtime import deployment_of, own_broker, population_of, read_settings, session
from common.terminal import console, error_console  # fmt: skip

BRIEF_SECONDS = 300.0  # of streaming; only longer runs amortise the C2 compiler
WARM_UP_SECONDS = 20.0  # after the first event: compilers and first batches are not what a user waits for


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
    verticals = find_verticals(vertical)
    seconds = duration(for_) or 60.0
    settings = read_settings(data, servers)
    folder = settings.data / f"run-{datetime.now():%Y%m%d-%H%M%S}"
    # A border of one vertical's queries is planning and reading baselines for seconds, of four verticals' for as many more.
    interval = max(10, min(settings.checkpoint_interval, int(seconds / 3) * len(verticals)))
    settings = settings.model_copy(update={"data": folder, "checkpoint_interval": interval})
    is_brief = seconds <= BRIEF_SECONDS
    populations = [population_of(declared_vertical) for declared_vertical in verticals]
    deployments = [
        deployment_of(declared_vertical, settings) for declared_vertical in verticals
    ]  # a bad folder is reported at once
    with ExitStack() as stack:
        connection, partitions = stack.enter_context(own_broker(settings)), dict[str, int]()
        for declared_vertical in verticals:
            partitions |= ensure_topics(connection, declared_vertical, settings.partitions, settings.replication)
        spark = stack.enter_context(session(verticals, settings, partitions, is_brief=is_brief))
        live_from = FIRST_DAY + timedelta(days=history_days)
        plans = [
            RunPlan(replace(deployment, connection=connection), seconds, rate / len(verticals), seed, live_from)
            for deployment in deployments
        ]
        for plan in plans:
            stack.enter_context(plan.deployment.workspace.lock("batch"))
        for plan, population in zip(plans, populations, strict=True):
            prepare(spark, plan, population, history_days)
        states = stream(spark, plans)
        if len(plans) == 1:
            summarise(spark, plans[0], states[0])
        else:
            summarise_all(spark, plans, states)
    failures = [problem for state in states for problem in state.failures]
    if failures:
        error_console.print(f"a batch run failed: {first_line(failures[0])}", style="red", markup=False)
        raise typer.Exit(1)


def prepare(spark: SparkSession, plan: RunPlan, population: Any, days: int) -> None:
    """Backfill the history, learn the first baselines from it and train the first model."""
    vertical = plan.deployment.vertical
    with console.status(f"{vertical.name}: backfilling {days} days of history"):
        count = backfill(spark, plan.deployment, plan.seed, FIRST_DAY, days, population)
    console.print(f"{vertical.name}: backfilled {count:,} events of {days} days into Delta")
    with console.status("learning baselines from the history"):
        version = learn(spark, plan.deployment, plan.live_from)
    console.print(f"baselines {version} in force")
    if vertical.model:
        with console.status("training the model on labels known by then"):
            console.print(model_summary(train_model(spark, plan.deployment, plan.live_from)))


def latencies(plan: RunPlan, state: RunState) -> dict[str, Percentiles]:
    """Latency of the warm-up, and of what came after it."""
    warm_at = state.started_at + min(WARM_UP_SECONDS, plan.seconds / 3)
    watch = state.watch
    return {f"warm-up, first {warm_at - state.started_at:.0f} s": watch.latency(0, warm_at), "after it": watch.latency(warm_at)}


def overload_warning() -> str:
    """A remark on latencies for a machine whose load is over twice its cores; else empty."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"load average {load:.0f} on {cores} cores: these latencies are the machine's" if load > 2 * cores else ""


def summarise(spark: SparkSession, plan: RunPlan, state: RunState) -> None:
    """Print what came in, what was caught, how fast, what batch says of it all, and where everything lies."""
    vertical, workspace = plan.deployment.vertical, plan.deployment.workspace
    console.rule(f"{vertical.name}: what came of it")
    console.print(f"{state.total:,} records came in; {state.tables_line()}")
    with console.status("comparing alerts with labels"):
        for table in evaluation_tables(evaluate(vertical, *read_live_history(spark, workspace))):
            console.print(table)
    console.print(latency_table(latencies(plan, state), overload_warning()))
    with console.status("the batch job: contract suite, trends"):
        report = run_batch(spark, plan.deployment)
        console.print(suite_line(report))
    for table in trend_tables(spark, workspace, list(report.trends)):
        console.print(table)
    with console.status("judging history again, to compare with the stream"):
        result = reconcile(spark, plan.deployment)
    console.print(reconcile_table(result, vertical))
    console.print(
        f"Delta tables: {workspace.tables}\nplots: {', '.join(str(plot) for plot in report.plots)}\ndata docs: {workspace.docs}"
    )


def summarise_all(spark: SparkSession, plans: list[RunPlan], states: list[RunState]) -> None:
    """Print the live quality of all verticals in one table, their latencies, and whether stream and history agree."""
    console.rule("what came of it")
    for plan, state in zip(plans, states, strict=True):
        console.print(f"{plan.deployment.vertical.name}: {state.total:,} records came in; {state.tables_line()}")
    with console.status("comparing alerts with labels"):
        evaluations = {
            deployment.vertical.name: evaluate(deployment.vertical, *read_live_history(spark, deployment.workspace))
            for deployment in (plan.deployment for plan in plans)
        }
    for table in quality_tables(evaluations):
        console.print(table)
    named_latencies = {
        f"{plan.deployment.vertical.name}, {name}": percentiles
        for plan, state in zip(plans, states, strict=True)
        for name, percentiles in latencies(plan, state).items()
    }
    console.print(latency_table(named_latencies, overload_warning()))
    for plan in plans:
        name = plan.deployment.vertical.name
        with console.status(f"{name}: judging history again, to compare with the stream"):
            result = reconcile(spark, plan.deployment)
        console.print(f"{name}: {reconciled_line(result)}")
    deployment = plans[0].deployment
    folder = deployment.settings.data.absolute()
    hint = f"tables: {folder}\ntrends, plots and data docs of one: hybrid trends {deployment.vertical.name} --data {folder}"
    console.print(hint, soft_wrap=True)
