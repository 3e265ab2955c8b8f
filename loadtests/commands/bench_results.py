"""Holds what the benchmarks' commands share: the options `--against` and `--population`, and how results are written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from common.command_options import named_values
from common.monitoring.plain_table import plain_table
from common.runtime import population_of
from common.terminal import console
from common.vertical import Vertical
from loadtests.bench.regression import WORSE_SHARE, compare_ratios, read_ratios
from loadtests.bench.results import format_figure, load_average, write_json_and_markdown

Against = Annotated[
    Path | None,
    typer.Option(
        help=f"JSON of an earlier run: shows each ratio's change, and exits with 1 if one fell by over {WORSE_SHARE:.0%}",
        show_default=False,
    ),
]

Sizes = Annotated[
    list[str] | None,
    typer.Option("--population", metavar="FIELD=NUMBER", help="of the simulated world, such as cards=100000; repeatable"),
]


def sized_population(vertical: Vertical, sizes: list[str] | None) -> Any:
    """The vertical's population, with the sizes of the option; raises SettingsError."""
    return population_of(vertical, **named_values("--population", sizes or [], "field=number, for instance cards=100000"))


def read_earlier_ratios(against: Path | None, **options: Any) -> dict[str, float]:
    """The ratios of the earlier run, empty without one; call it before anything is measured. Raises NotComparable."""
    return read_ratios(against, **options) if against else {}


def write_results(results: dict[str, Any], markdown: Callable[[dict[str, Any]], str], path: Path) -> str:
    """Write the results, with the load average as it is now, as JSON and Markdown; returns the sentence that says where."""
    results["load_after"] = load_average()
    return f"results: {path}, {write_json_and_markdown(results, markdown(results), path)}"


def report_changes(earlier_ratios: Mapping[str, float], ratios: Mapping[str, float]) -> None:
    """Print what changed since the earlier run, if there is one; raises typer.Exit where a ratio is worse."""
    if not earlier_ratios:
        return
    changes = compare_ratios(earlier_ratios, ratios)
    table = plain_table("Ratios against the stored run, higher is better", "ratio", "then", "now", "change")
    for change in changes:
        relative_change = (
            "-" if change.relative_change is None else f"{change.relative_change:+.0%}" + (" worse" if change.is_worse else "")
        )
        table.add_row(change.name, format_figure(change.earlier_ratio, 2), format_figure(change.ratio, 2), relative_change)
    console.print(table)
    if any(change.is_worse for change in changes):
        raise typer.Exit(1)
