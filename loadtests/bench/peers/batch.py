"""Measures the batch job in several engines: each terminal's daily count, sum, mean and deviation over the same Parquet files."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from loadtests.bench.peers.engine_process import Engine, PeerFailed, running_engine
from loadtests.bench.peers.peer import Peer
from loadtests.bench.results import compare_engines, comparison_cells, hardware_line, markdown_table, ratios_of_others

BATCH_OURS = "batch_ours"
BATCH_PEERS = (
    Peer(BATCH_OURS, "hybrid", "pyspark"),
    Peer("batch_duckdb", "DuckDB", "duckdb"),
    Peer("batch_polars", "Polars", "polars"),
)
FILE_ROWS = 1_000_000
TERMINALS, DAYS = 1_000, 90
EXECUTIONS = 2  # in one process: the first as it comes, the second warm
LIMIT_SECONDS = 1_800.0
KEYS = ["day", "terminal_id"]
EXACT_COLUMN, CLOSE_COLUMNS = "count", ["total", "mean", "deviation"]  # how the engines' totals are compared
FIELDS = ("process", "first", "second")
Rounds = dict[str, list[dict[str, Any]]]
"""By engine, for each round seconds by field."""


def write_transactions(folder: Path, rows: int, seed: int) -> None:
    """`rows` transactions (transaction_id, card_id, terminal_id, amount, event_time) as Parquet, a file for each million."""
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        transactions = _draw_transactions(np.random.default_rng([seed, number]), first, min(FILE_ROWS, rows - first))
        pq.write_table(transactions, folder / f"{number:04}.parquet")


def _draw_transactions(rng: np.random.Generator, first: int, count: int) -> pa.Table:
    """In the order of event time within a file, as an archive writes them. first: the number of the first transaction."""
    milliseconds = np.sort(rng.integers(0, DAYS * 86_400_000, count))
    times = np.datetime64("2026-01-01", "us") + milliseconds * np.timedelta64(1_000, "us")
    terminals = pa.DictionaryArray.from_arrays(
        rng.integers(0, TERMINALS, count, dtype=np.int32), [f"T{number:05}" for number in range(TERMINALS)]
    )
    return pa.table(
        {
            "transaction_id": np.char.mod("t%012d", np.arange(first, first + count)),
            "card_id": np.char.mod("C%05d", rng.integers(0, 5_000, count)),
            "terminal_id": terminals.cast(pa.string()),
            "amount": np.round(rng.lognormal(3.3, 0.9, count), 2),
            "event_time": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )


def measure_rounds(
    engines: list[Engine],
    transactions: Path,
    folder: Path,
    repeats: int,
    not_measured: dict[str, str],
    show_status: Callable[[str], object],
) -> tuple[Rounds, dict[str, str]]:
    """Rounds of seconds by engine, and by engine how its totals differ from ours ("": not at all).

    Notes in `not_measured` why an engine failed; its further rounds are left out.
    """
    rounds: Rounds = defaultdict(list)
    differences: dict[str, str] = {}
    for number in range(1, repeats + 1):
        for engine in engines:
            name = engine.peer.name
            if name in not_measured:
                continue
            show_status(f"round {number} of {repeats}: {engine.peer.title}")
            try:
                rounds[name].append(_measure_round(engine, transactions, folder / f"{name}-{number}"))
            except PeerFailed as problem:
                not_measured[name] = str(problem)
                continue
            if number == 1:
                our_totals, other_totals = (read_totals(folder / f"{peer}-1" / "totals.parquet") for peer in (BATCH_OURS, name))
                differences[name] = describe_difference(our_totals, other_totals)
    return dict(rounds), differences


def _measure_round(engine: Engine, transactions: Path, folder: Path) -> dict[str, float]:
    """Runs the engine once; returns seconds by field."""
    if folder.exists():
        shutil.rmtree(folder)
    seconds_file = folder / "seconds.json"
    job = {
        "transactions": str(transactions),
        "totals": str(folder / "totals.parquet"),
        "seconds": str(seconds_file),
        "executions": EXECUTIONS,
    }
    with running_engine(engine, job, folder) as process:
        process_seconds = process.wait(LIMIT_SECONDS)
    first, second = json.loads(seconds_file.read_text())
    return {"process": process_seconds - second, "first": first, "second": second}


def read_totals(path: Path) -> pd.DataFrame:
    """An engine's result, a Parquet file or a folder of them, in order of its keys."""
    totals = pq.read_table(path).to_pandas()
    return totals.assign(day=pd.to_datetime(totals["day"])).sort_values(KEYS).reset_index(drop=True)


def describe_difference(our_totals: pd.DataFrame, other_totals: pd.DataFrame) -> str:
    """Says what differs, "" if nothing: counts exactly, sums to 1e-9 of their size, as engines add in different orders."""
    if not our_totals[KEYS].equals(other_totals[KEYS]):
        return f"other days or terminals: {len(other_totals)} rows, ours {len(our_totals)}"
    if unequal := int((our_totals[EXACT_COLUMN] != other_totals[EXACT_COLUMN]).sum()):
        return f"{unequal} counts differ"
    for column in CLOSE_COLUMNS:
        is_far = ~np.isclose(our_totals[column], other_totals[column], rtol=1e-9, atol=1e-9, equal_nan=True)
        if is_far.any():
            return f"{int(is_far.sum())} of {column} differ"
    return ""


def round_results(rounds: Rounds) -> dict[str, Any]:
    """The rounds, with medians and ratios to ours by field."""
    return {**compare_engines(rounds, FIELDS, BATCH_OURS), "rounds": rounds}


def batch_ratios(results_by_rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Every other engine's seconds in multiples of ours: higher is better for us."""
    return {
        f"{int(rows):,} rows: {field} of {name} / ours": ratio
        for rows, results in results_by_rows.items()
        for field in FIELDS
        for name, ratio in ratios_of_others(results[field], BATCH_OURS)
    }


def markdown(results: dict[str, Any]) -> str:
    parts = [
        "# Daily totals of each terminal, over Parquet",
        "Seconds, medians of {repeats}: process, from its start to its end with one execution; first and second execution in one "
        "process.".format(**results),
    ]
    columns = ["engine", *(column for field in FIELDS for column in (field, "of ours"))]
    for rows, figures in results["rows"].items():
        lines = [
            [
                f"{peer.title} {peer.version}",
                *(cell for field in FIELDS for cell in comparison_cells(figures[field], peer.name, 2)),
            ]
            for peer in BATCH_PEERS
            if peer.name in figures["rounds"]
        ]
        parts += [f"## {int(rows):,} rows", markdown_table(columns, lines)]
    parts += [f"{name}: not measured: {reason.splitlines()[0]}" for name, reason in results["not_measured"].items()]
    parts += [f"{name}: {problem}" for name, problem in results["differences"].items()]
    return "\n\n".join([*parts, hardware_line(results)]) + "\n"
