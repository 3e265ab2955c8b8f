"""What benchmarks have in common: the option `--against`, and where their results are written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.command_options import named_values
from common.monitoring.summary import plain_table
from common.runtime import population_of
from common.terminal import console
from common.vertical import Vertical
from loadtests.bench.regression import FALL, changes, stored_ratios
from loadtests.bench.results import load_average, text, write

Against = Annotated[
    Path | None,
    typer.Option(help=f"JSON of an earlier run: shows each ratio's change, and exits with 1 if one fell by over {FALL:.0%}",
                 show_default=False),
]  # fmt: skip

Sizes = Annotated[
    list[str] | None,
    typer.Option("--population", metavar="FIELD=NUMBER", help="of the simulated world, such as cards=100000; repeatable"),
]


def sized(vertical: Vertical, sizes: list[str] | None) -> Any:
    """The vertical's simulated world, with the sizes that were given; raises SettingsError."""
    return population_of(vertical, **named_values("--population", sizes or [], "field=number, for instance cards=100000"))


def stored(against: Path | None, **asked: Any) -> dict[str, float]:
    """The ratios of the earlier run, read before anything is measured; none without one. Raises NotComparable."""
    return stored_ratios(against, **asked) if against else {}


def keep(results: dict[str, Any], markdown: Callable[[dict[str, Any]], str], path: Path) -> str:
    """Write the results, with the load average as it is now, as JSON and Markdown; returns the sentence that says where."""
    results["load_after"] = load_average()
    return f"results: {path}, {write(results, markdown(results), path)}"


def report(before: Mapping[str, float], now: Mapping[str, float]) -> None:
    """Print what changed since the earlier run, if there is one; raises typer.Exit where a ratio is worse."""
    if not before:
        return
    found = changes(before, now)
    table = plain_table("Ratios against the stored run, higher is better", "ratio", "then", "now", "change")
    for each in found:
        share = "-" if each.share is None else f"{each.share:+.0%}" + (" worse" if each.is_worse else "")
        table.add_row(each.name, text(each.before, 2), text(each.now, 2), share)
    console.print(table)
    if any(each.is_worse for each in found):
        raise typer.Exit(1)
