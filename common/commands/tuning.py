"""Defines the commands that change rules: settings (thresholds of running streams), backtest (tries them over history)."""

from typing import Annotated

import psutil
import typer
from rich.table import Table

from common.batch.threshold_trial import try_thresholds
from common.command_options import Data, VerticalName, named_values
from common.installed import find_vertical
from common.monitoring.summary import threshold_trial_tables
from common.published.live_thresholds import Threshold, changed_settings, publish_settings, thresholds
from common.runtime import deployment_of, read_settings, session_of, workspace_of
from common.terminal import console

Changes = Annotated[
    list[str] | None, typer.Option("--set", help="threshold=value, for instance amount_zscore=5; may be given again")
]


def add_to(app: typer.Typer) -> None:
    for command in (settings, backtest):
        app.command()(command)


def settings(
    vertical: VerticalName,
    set_: Changes = None,
    reset: Annotated[list[str] | None, typer.Option(help="threshold to give back to the environment or its default")] = None,
    who: Annotated[str | None, typer.Option(help="goes on record [default: the user]", show_default=False)] = None,
    data: Data = None,
) -> None:
    """List the thresholds of a vertical's rules, or change them under running streams: live within a checkpoint interval."""
    declared_vertical = find_vertical(vertical)
    workspace = workspace_of(declared_vertical, read_settings(data))
    changes = parse_changes(set_ or []) | dict.fromkeys(reset or [])
    if changes:
        version = publish_settings(declared_vertical, workspace.tables, changes, who or psutil.Process().username())
        console.print(f"thresholds {version.version} in force; running streams take them up within a checkpoint interval")
    console.print(_thresholds_table(thresholds(declared_vertical, workspace.tables)))


def backtest(
    vertical: VerticalName,
    set_: Annotated[list[str], typer.Option("--set", help="setting=value, for instance amount_zscore=5; may be given again")],
    days: Annotated[int, typer.Option(min=1, help="newest days of the history to judge")] = 30,
    data: Data = None,
) -> None:
    """Changed rules over history beside the present ones, against labels: precision, recall, alerts a day, and what differs."""
    deployment, changes = deployment_of(find_vertical(vertical), read_settings(data)), parse_changes(set_)
    workspace = deployment.workspace
    changed_settings(deployment.vertical, deployment.tables, changes)  # a mistake is told before Spark is started
    with workspace.lock("backtest"), session_of(deployment) as spark, console.status(f"judging {days} days by both"):
        result = try_thresholds(spark, deployment, changes, days)
    for table in threshold_trial_tables(result):
        console.print(table)
    in_force = f"in force with: hybrid settings {deployment.vertical.name} --set ..."
    console.print(f"every alert of both: {workspace.table('backtest')}; {in_force}")


def parse_changes(words: list[str]) -> dict[str, str]:
    """Threshold names and values from words such as `amount_zscore=5`; raises SettingsError."""
    return named_values("--set", words, "threshold=value, for instance amount_zscore=5")


def _thresholds_table(thresholds_now: list[Threshold]) -> Table:
    table = Table("threshold", "value", "default", "may be", "changed", "what it is", box=None, pad_edge=False)
    for threshold in thresholds_now:
        change = threshold.changed_by
        change_text = f"{change.created_at:%Y-%m-%d %H:%M:%S} by {change.details['who']}" if change else ""
        values = (f"{threshold.value:g}", f"{threshold.default:g}", threshold.bounds)
        table.add_row(threshold.name, *values, change_text if threshold.live else "only by a restart", threshold.description)
    return table
