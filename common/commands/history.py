"""Commands over history: backfill, train, trends, reconcile, evaluate."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from common import tables
from common.batch.as_of_day import newest_days
from common.batch.backfill import backfill as fill
from common.batch.backtest import backtest, of_days
from common.batch.batch import came_live, history, study, train_model
from common.batch.evaluation import LEAST_PRECISION, LEAST_RECALL, Evaluation, shortfalls
from common.batch.evaluation import evaluate as evaluated
from common.command_options import Data, Seed, Start, VerticalName, first_day
from common.installed import find_vertical
from common.models.protocol import Protocol, evaluate_protocol, report
from common.monitoring.summary import (
    differences_table,
    evaluation_tables,
    model_summary,
    reconcile_table,
    suite_line,
    trend_tables,
)
from common.published.live_thresholds import tuned_settings
from common.published.model_registry import challenger
from common.reconciliation.late_alerts import keep_late
from common.reconciliation.reconcile import reconcile as reconciled
from common.runtime import population_of, read_settings, rule_settings, session, workspace_of
from common.terminal import console, error_console
from common.vertical import Vertical
from common.workspace import Workspace

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
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace = workspace_of(subject, settings)
    with (
        workspace.only_one("backfill"),
        session([subject], settings) as spark,
        console.status(f"making {days} days"),
    ):
        count = fill(spark, subject, workspace, seed, first_day(start), days, population_of(subject))
    those = f"{first_day(start)} to {first_day(start) + timedelta(days=days - 1)}"
    if count:
        console.print(f"{count:,} events of {those} in {workspace.table('events')}")
    else:
        console.print(f"nothing was written, as {those} of this seed are there already: after a change of the generator, use "
                      f"another data folder than {settings.data}")


def train(vertical: VerticalName, as_of: Day = None, data: Data = None) -> None:
    """Train the model on history and the labels known by then, export it to SQL; the first is put in force, a later waits."""
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace = workspace_of(subject, settings)
    with workspace.only_one("batch"), session([subject], settings) as spark, console.status("training"):
        trained = train_model(spark, subject, workspace, _day(as_of))
    console.print(model_summary(trained))
    waits = challenger(workspace.tables) is not None
    console.print(f"it challenges the model in force: hybrid promote {subject.name}" if waits else "it is in force")


def trends(vertical: VerticalName, as_of: Day = None, data: Data = None) -> None:
    """One batch run: contract suite, baselines under a new version, trends as tables and plots."""
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace = workspace_of(subject, settings)
    with workspace.only_one("batch"), session([subject], settings) as spark:
        with console.status("studying") as status:
            studied = study(spark, subject, workspace, _day(as_of), progress=status.update, retrain_above=settings.retrain_drift)
        console.print(suite_line(studied))
        if studied.retrained:
            console.print(studied.retrained)
        for table in trend_tables(spark, workspace, list(studied.trends)):
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
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace = workspace_of(subject, settings)
    with workspace.only_one("batch"), session([subject], settings) as spark:
        with console.status("judging history again"):
            utc = since.replace(tzinfo=UTC) if since else None
            result = reconciled(spark, subject, workspace, rule_settings(subject), utc)
            late = keep_late(spark, subject, workspace, rule_settings(subject))
        console.print(reconcile_table(result, subject))
        if not result.agrees or any(status == "late" for _, status in result.counts):
            console.print(differences_table(result))
        console.print(
            f"{late.events:,} events came behind the watermark; {late.alerts:,} alerts were lost to it, "
            f"{late.added:,} of them are new in {workspace.table('alerts')}"
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
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace = workspace_of(subject, settings)
    with session([subject], settings) as spark:
        if test_from:
            with console.status("training and testing on exact windows, and as served"):
                events, labels, _ = history(spark, workspace)
                protocol = Protocol(test_from.date(), delay_days=subject.label_delay.days)
                measured = evaluate_protocol(subject, events, labels, protocol)
            console.print(report(measured), soft_wrap=True)
            return
        with console.status("comparing alerts with labels"):
            result = _judged_days(spark, subject, workspace, days) if days else evaluated(subject, *came_live(spark, workspace))
        for table in evaluation_tables(result):
            console.print(table)
    missed = shortfalls(result) if strict else []
    for line in missed:
        error_console.print(line, style="red")
    if missed:
        raise typer.Exit(1)


def _judged_days(spark: SparkSession, vertical: Vertical, workspace: Workspace, number: int) -> Evaluation:
    events, labels, _ = history(spark, workspace)
    days = newest_days(events, number)
    alerts, = backtest(vertical, events, labels, days, tuned_settings(vertical, workspace.tables))
    return evaluated(vertical, of_days(vertical, events, days), labels, alerts.persist())


def _day(given: datetime | None) -> date | None:
    return given.date() if given else None
