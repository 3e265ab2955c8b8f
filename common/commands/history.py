"""Defines the commands over history: backfill, train, trends, reconcile, evaluate."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from common import tables
from common.archive.history import newest_days, read_history, read_live_history
from common.batch.backfill import backfill as fill
from common.batch.backtest import backtest, of_days
from common.batch.batch import run_batch, train_model
from common.batch.evaluation import LEAST_PRECISION, LEAST_RECALL, Evaluation, shortfalls
from common.batch.evaluation import evaluate as evaluate_alerts
from common.command_options import Data, Seed, Start, VerticalName, first_day
from common.deployment import Deployment
from common.installed import find_vertical
from common.models.protocol import Protocol, describe_evaluation, evaluate_protocol
from common.monitoring.summary import (
    differences_table,
    evaluation_tables,
    model_summary,
    reconcile_table,
    suite_line,
    trend_tables,
)
from common.published.live_thresholds import settings_in_force
from common.published.model_registry import challenger
from common.reconciliation.late_alerts import add_late_alerts
from common.reconciliation.reconcile import reconcile as reconcile_stream
from common.runtime import deployment_of, population_of, read_settings, session_of
from common.terminal import console, error_console

Day = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="as of the start of this day [default: the first that may be unfinished]"),
]


def add_to(app: typer.Typer) -> None:
    for command in (backfill, train, trends, reconcile, evaluate):
        app.command()(command)


def backfill(
    vertical: VerticalName,
    days: Annotated[int, typer.Option(min=1, help="simulated days")] = 90,
    start: Start = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Write synthetic history straight into the Delta tables, in parallel, from the generator of the live stream."""
    deployment = deployment_of(find_vertical(vertical), read_settings(data))
    workspace, population = deployment.workspace, population_of(deployment.vertical)
    with workspace.lock("backfill"), session_of(deployment) as spark, console.status(f"making {days} days"):
        count = fill(spark, deployment, seed, first_day(start), days, population)
    period = f"{first_day(start)} to {first_day(start) + timedelta(days=days - 1)}"
    if count:
        console.print(f"{count:,} events of {period} in {workspace.table('events')}")
    else:
        console.print(
            f"nothing was written, as {period} of this seed are there already: after a change of the generator, use "
            f"another data folder than {deployment.settings.data}"
        )


def train(vertical: VerticalName, as_of: Day = None, data: Data = None) -> None:
    """Train the model on history and the labels known by then, export it to SQL; the first is put in force, a later waits."""
    deployment = deployment_of(find_vertical(vertical), read_settings(data))
    with deployment.workspace.lock("batch"), session_of(deployment) as spark, console.status("training"):
        model = train_model(spark, deployment, _day(as_of))
    console.print(model_summary(model))
    is_challenger = challenger(deployment.tables) is not None
    name = deployment.vertical.name
    console.print(f"it challenges the model in force: hybrid promote {name}" if is_challenger else "it is in force")


def trends(vertical: VerticalName, as_of: Day = None, data: Data = None) -> None:
    """One batch run: contract suite, baselines under a new version, trends as tables and plots."""
    deployment = deployment_of(find_vertical(vertical), read_settings(data))
    workspace, settings = deployment.workspace, deployment.settings
    with workspace.lock("batch"), session_of(deployment) as spark:
        with console.status("studying the history") as status:
            report = run_batch(spark, deployment, _day(as_of), progress=status.update, retrain_above=settings.retrain_drift)
        console.print(suite_line(report))
        if report.retrained:
            console.print(report.retrained)
        for table in trend_tables(spark, workspace, list(report.trends)):
            console.print(table)
        with console.status("upkeep of the tables"):
            tables.maintain_all(workspace.tables, settings.vacuum_hours)
    console.print(f"tables in {workspace.tables}, plots in {workspace.plots}, data docs in {workspace.docs}")


def reconcile(
    vertical: VerticalName,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="compare only alerts whose newest event is of this day or later [default: all]"),
    ] = None,
    data: Data = None,
) -> None:
    """Run the rules over history and compare with the stored alerts. Exits with 1 when they disagree beyond late events.

    Alerts that the stream lost because their events came after the watermark are added to the table, once each.
    """
    deployment = deployment_of(find_vertical(vertical), read_settings(data))
    workspace = deployment.workspace
    with workspace.lock("batch"), session_of(deployment) as spark:
        with console.status("judging history again"):
            result = reconcile_stream(spark, deployment, since.replace(tzinfo=UTC) if since else None)
            late_alerts = add_late_alerts(spark, deployment)
        console.print(reconcile_table(result, deployment.vertical))
        if not result.agrees or any(status == "late" for _, status in result.counts):
            console.print(differences_table(result))
        console.print(
            f"{late_alerts.events:,} events came behind the watermark; {late_alerts.alerts:,} alerts were lost to it, "
            f"{late_alerts.added:,} of them are new in {workspace.table('alerts')}"
        )
    if not result.agrees:
        raise typer.Exit(1)


def evaluate(
    vertical: VerticalName,
    test_from: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="instead: train and test the model around this day, as time would "
            "have allowed it: a week of training, the labels' delay, a week of test",
        ),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="instead: judge the newest days of the history by the rules as they are now")
    ] = None,
    strict: Annotated[
        bool, typer.Option(help=f"exit with 1 below a recall of {LEAST_RECALL} or a precision of {LEAST_PRECISION}")
    ] = False,
    data: Data = None,
) -> None:
    """Stored alerts against the labels: precision by rule, recall, precision and time to detect by scenario."""
    deployment = deployment_of(find_vertical(vertical), read_settings(data))
    declared_vertical, workspace = deployment.vertical, deployment.workspace
    with session_of(deployment) as spark:
        if test_from:
            with console.status("training and testing on exact windows, and as served"):
                events, labels, _ = read_history(spark, workspace)
                protocol = Protocol(test_from.date(), delay_days=declared_vertical.label_delay.days)
                metrics = evaluate_protocol(declared_vertical, events, labels, protocol)
            console.print(describe_evaluation(metrics), soft_wrap=True)
            return
        with console.status("comparing alerts with labels"):
            result = (
                _evaluate_days(spark, deployment, days)
                if days
                else evaluate_alerts(declared_vertical, *read_live_history(spark, workspace))
            )
        for table in evaluation_tables(result):
            console.print(table)
    lines = shortfalls(result) if strict else []
    for line in lines:
        error_console.print(line, style="red")
    if lines:
        raise typer.Exit(1)


def _evaluate_days(spark: SparkSession, deployment: Deployment, number: int) -> Evaluation:
    """What the rules as they are now raise on the newest days, against the labels."""
    vertical, workspace = deployment.vertical, deployment.workspace
    events, labels, _ = read_history(spark, workspace)
    days = newest_days(events, number)
    (alerts,) = backtest(vertical, events, labels, days, settings_in_force(vertical, workspace.tables))
    return evaluate_alerts(vertical, of_days(vertical, events, days), labels, alerts.persist())


def _day(time: datetime | None) -> date | None:
    return time.date() if time else None
