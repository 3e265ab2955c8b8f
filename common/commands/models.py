"""Defines the commands over a vertical's models: promote the challenger, go back to the model before."""

from typing import Annotated

import psutil
import typer

from common.batch.model_comparison import compare_models
from common.command_options import Data, VerticalName
from common.installed import find_vertical
from common.monitoring.summary import model_comparison_table
from common.published.model_registry import NoSuchModel, challenger
from common.published.model_registry import promote as put_challenger_in_force
from common.published.model_registry import rollback as put_previous_in_force
from common.runtime import deployment_of, read_settings, session_of, workspace_of
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
    deployment = deployment_of(find_vertical(vertical), read_settings(data))
    if challenger(deployment.tables) is None:
        name = deployment.vertical.name
        raise NoSuchModel(f"{name} has no challenger: train one with hybrid train {name}")
    with session_of(deployment) as spark, console.status("comparing champion and challenger"):
        comparison = compare_models(spark, deployment)
    console.print(
        model_comparison_table(comparison) if comparison else "no event that both scored on the stream has a known label yet"
    )
    if auto and not (comparison and comparison.is_better(margin)):
        console.print(f"the champion stays: the challenger is not better by {margin:g} average precision")
        return
    console.print(f"model {put_challenger_in_force(deployment.tables, who or psutil.Process().username()).version} in force")


def rollback(vertical: VerticalName, who: Who = None, data: Data = None) -> None:
    """Put the model before the present one in force again."""
    workspace = workspace_of(find_vertical(vertical), read_settings(data))
    version = put_previous_in_force(workspace.tables, who or psutil.Process().username()).version
    console.print(f"model {version} in force again")
