"""Commands that change rules: settings (thresholds of running streams), backtest (over history, before that)."""

from typing import Annotated

import psutil
import typer
from rich.table import Table

from common.batch.threshold_trial import rehearse
from common.command_options import Data, VerticalName, named_values
from common.installed import find_vertical
from common.monitoring.summary import rehearsal_tables
from common.published.live_thresholds import Threshold, changed_settings, publish_settings, thresholds
from common.runtime import read_settings, session, workspace_of
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
    subject, workspace = find_vertical(vertical), workspace_of(find_vertical(vertical), read_settings(data))
    changes = parse_changes(set_ or []) | dict.fromkeys(reset or [])
    if changes:
        version = publish_settings(subject, workspace.tables, changes, who or psutil.Process().username())
        console.print(f"thresholds {version.version} in force; running streams take them up within a checkpoint interval")
    console.print(_table(thresholds(subject, workspace.tables)))


def backtest(
    vertical: VerticalName,
    set_: Annotated[list[str], typer.Option("--set", help="setting=value, for instance amount_zscore=5; may be given again")],
    days: Annotated[int, typer.Option(min=1, help="newest days of the history to judge")] = 30,
    data: Data = None,
) -> None:
    """Changed rules over history beside the present ones, against labels: precision, recall, alerts a day, and what differs."""
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace, changes = workspace_of(subject, settings), parse_changes(set_)
    changed_settings(subject, workspace.tables, changes)  # a mistake is told before Spark is started
    with (
        workspace.only_one("backtest"),
        session([subject], settings) as spark,
        console.status(f"judging {days} days by both"),
    ):
        result = rehearse(spark, subject, workspace, changes, days)
    for table in rehearsal_tables(result):
        console.print(table)
    console.print(f"every alert of both: {workspace.table('backtest')}; in force with: hybrid settings {subject.name} --set ...")


def parse_changes(given: list[str]) -> dict[str, str]:
    """Threshold names and values from words such as `amount_zscore=5`; raises SettingsError."""
    return named_values("--set", given, "threshold=value, for instance amount_zscore=5")


def _table(found: list[Threshold]) -> Table:
    table = Table("threshold", "value", "default", "may be", "changed", "what it is", box=None, pad_edge=False)
    for each in found:
        by = f"{each.changed.created_at:%Y-%m-%d %H:%M:%S} by {each.changed.details['who']}" if each.changed else ""
        changed = by if each.live else "only by a restart"
        table.add_row(each.name, f"{each.value:g}", f"{each.default:g}", each.bounds, changed, each.description)
    return table
