"""Commands over a vertical's models: promote the challenger, go back to the model before."""

from typing import Annotated

import psutil
import typer

from common.command_options import Data, VerticalName
from common.installed import find_vertical
from common.monitoring.summary import compared_table
from common.published.model_registry import NoSuchModel, challenger
from common.published.model_registry import promote as promoted
from common.published.model_registry import rollback as rolled_back
from common.runtime import read_settings, session, workspace_of
from common.streaming.shadow import compare
from common.terminal import console

Who = Annotated[str | None, typer.Option(help="goes on record [default: the user]", show_default=False)]


def add_to(app: typer.Typer) -> None:
    for command in (promote, rollback):
        app.command()(command)


def promote(
    vertical: VerticalName,
    auto: Annotated[bool, typer.Option("--auto", help="only if it is better, on labels of events that both scored live")] = False,
    margin: Annotated[float, typer.Option(min=0, help="with --auto: by so much average precision")] = 0.01,
    who: Who = None,
    data: Data = None,
) -> None:
    """Put the challenger in force, after showing how both did on the stream as far as labels are known."""
    subject, settings = find_vertical(vertical), read_settings(data)
    workspace = workspace_of(subject, settings)
    if challenger(workspace.tables) is None:
        raise NoSuchModel(f"{subject.name} has no challenger: train one with hybrid train {subject.name}")
    with session([subject], settings) as spark, console.status("comparing champion and challenger"):
        found = compare(spark, subject, workspace)
    console.print(compared_table(found) if found else "no event that both scored on the stream has a known label yet")
    if auto and not (found and found.is_better(margin)):
        console.print(f"the champion stays: the challenger is not better by {margin:g} average precision")
        return
    console.print(f"model {promoted(workspace.tables, who or psutil.Process().username()).version} in force")


def rollback(vertical: VerticalName, who: Who = None, data: Data = None) -> None:
    """Put the model before the present one in force again."""
    subject, settings = find_vertical(vertical), read_settings(data)
    version = rolled_back(workspace_of(subject, settings).tables, who or psutil.Process().username()).version
    console.print(f"model {version} in force again")
