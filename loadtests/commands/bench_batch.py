"""`hybrid bench batch`: daily totals over Parquet in Spark, DuckDB and Polars."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from common.command_options import Data, Seed
from common.monitoring.plain_table import plain_table
from common.runtime import read_settings, separate_settings
from common.terminal import console, error_console
from loadtests.bench.peers.batch import (
    BATCH_PEERS,
    FIELDS,
    batch_ratios,
    markdown,
    measure_rounds,
    round_results,
    write_transactions,
)
from loadtests.bench.peers.engine_process import install_engines
from loadtests.bench.results import comparison_cells, measurement_context
from loadtests.commands.bench_results import Against, read_earlier_ratios, report_changes, write_results


def batch(
    rows: Annotated[str, typer.Option(help="sizes, separated by commas; 1e8 takes 3 GB of disk")] = "1e6,1e7",
    repeats: Annotated[int, typer.Option(min=1, help="rounds, engines interleaved; medians are quoted")] = 5,
    output: Annotated[Path | None, typer.Option(help="JSON of the results [default: in the data folder]")] = None,
    against: Against = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Each terminal's daily count, sum, mean and deviation over the same Parquet in this project's Spark, DuckDB and Polars."""
    sizes = parse_sizes(rows)
    earlier_ratios, settings = read_earlier_ratios(against), read_settings(data)
    folder = separate_settings(settings, "batch").data
    results: dict[str, Any] = measurement_context({peer.package: peer.version for peer in BATCH_PEERS})
    results |= {"repeats": repeats, "seed": seed, "not_measured": {}, "rows": {}, "differences": {}}
    not_measured = results["not_measured"]
    with console.status("") as status:
        engines = install_engines(BATCH_PEERS, settings.home, not_measured, status.update)
        for size in sizes:
            status.update(f"{size:,} rows of Parquet")
            transactions = folder / f"transactions-{size}"
            write_transactions(transactions, size, seed)
            rounds, differences = measure_rounds(engines, transactions, folder / str(size), repeats, not_measured, status.update)
            results["rows"][str(size)] = round_results(rounds)
            results["differences"] |= {
                f"{name}, {size:,} rows": difference for name, difference in differences.items() if difference
            }
            shutil.rmtree(transactions)
    results["ratios"] = batch_ratios(results["rows"])
    paths = write_results(results, markdown, output or folder / "batch.json")
    print_results(results)
    console.print(paths, soft_wrap=True)
    if results["differences"]:
        raise typer.Exit(1)
    report_changes(earlier_ratios, results["ratios"])


def parse_sizes(rows: str) -> list[int]:
    """Numbers of rows in a comma-separated list such as 1e6,2500000; raises typer.BadParameter."""
    try:
        sizes = [int(float(size)) for size in rows.split(",") if size.strip()]
    except ValueError:
        raise typer.BadParameter(f"--rows {rows}: give numbers such as 1e6, separated by commas") from None
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(f"--rows {rows}: give at least one number of rows, each 1 or more")
    return sizes


def print_results(results: dict[str, Any]) -> None:
    for rows, figures in results["rows"].items():
        title = f"Daily totals of each terminal, {int(rows):,} rows, seconds"
        table = plain_table(title, "engine", *(column for field in FIELDS for column in (field, "of ours")))
        for peer in BATCH_PEERS:
            if peer.name in figures["rounds"]:
                cells = (cell for field in FIELDS for cell in comparison_cells(figures[field], peer.name, 2))
                table.add_row(peer.title, *cells)
        console.print(table)
    for kind in ("not_measured", "differences"):
        for name, problem in results[kind].items():
            error_console.print(f"{name}: {problem}", markup=False, soft_wrap=True)
