"""Runs `hybrid new`, which writes a new vertical from the template, tests included, and installs it; it runs unchanged."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from common.template.writing import write_vertical
from common.terminal import console, error_console


def add_to(app: typer.Typer) -> None:
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the vertical, for instance energy_grid")],
    path: Annotated[Path, typer.Option(help="folder to write it into")] = Path(),
    entity: Annotated[str, typer.Option(help="what its events are about, in the singular")] = "device",
    install: Annotated[bool, typer.Option(help="install it into this environment, so that `hybrid run` finds it")] = True,
) -> None:
    """Write a vertical to start from: events, settings, rules, baselines, trends, generator, tests, README, locust user.

    It is a package of its own and needs no change in the core. docs/new-domain.md walks from there to your own detector.
    """
    files = write_vertical(name, path, entity)
    target = files[0].parents[1]
    for file in files:
        console.print(f"wrote {file}")
    if not install:
        console.print(f"install it with: pip install --no-build-isolation --no-deps -e {target}")
        return
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-build-isolation", "--no-deps"]
    process = subprocess.run([*pip, "install", *offline, "--editable", str(target)], capture_output=True, text=True)
    if process.returncode:
        error_console.print(f"it is written, but could not be installed:\n{process.stderr.strip()}", style="red", markup=False)
        raise typer.Exit(1)
    console.print(f"installed; now: hybrid run {name}, pytest {target}/tests")
