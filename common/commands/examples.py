"""Runs `hybrid examples`, which lists and runs the small programs beside the verticals."""

import importlib
import pkgutil
import subprocess
import sys
from typing import Annotated

import typer
from rich.table import Table

from common.command_options import Servers
from common.errors import first_line
from common.settings import SettingsError
from common.terminal import console


def add_to(app: typer.Typer) -> None:
    app.command()(examples)


def examples(
    name: Annotated[str | None, typer.Argument(help="which one to run [default: lists them]", show_default=False)] = None,
    servers: Servers = None,
) -> None:
    """List the examples, or run one: each shows one idea in a minute or two, on a broker that comes along."""
    sentences = first_sentences()
    if name is None:
        table = Table("", "", box=None, pad_edge=False, show_header=False)
        for example, sentence in sentences.items():
            table.add_row(example, sentence)
        console.print(table)
        console.print("\nhybrid examples NAME runs one; what one sees then is told in examples/NAME/README.md")
        return
    if name not in sentences:
        raise SettingsError(f"there is no example {name!r}: there are {', '.join(sentences)}")
    # In a process of its own, which starts it as python -m does.
    command = [sys.executable, "-m", f"examples.{name}", *(["--bootstrap-servers", servers] if servers else [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def first_sentences() -> dict[str, str]:
    """By name, the first sentence of each example's docstring."""
    package = importlib.import_module("examples")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)
    return {name: first_line(importlib.import_module(f"examples.{name}").__doc__ or "") for name in names}
