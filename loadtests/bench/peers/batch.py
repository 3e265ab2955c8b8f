"""The trends job in other engines: each terminal's daily count, sum, mean and deviation over the same Parquet files."""

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

from loadtests.bench.peers.engine_process import PeerFailed, Ready, running
from loadtests.bench.peers.peer import Peer
from loadtests.bench.results import cells, compared, machine_line, markdown_table, others

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
KEYS, EXACT, CLOSE = ["day", "terminal_id"], "count", ["total", "mean", "deviation"]
FIELDS = ("process", "first", "second")
Rounds = dict[str, list[dict[str, Any]]]


def write_transactions(folder: Path, rows: int, seed: int) -> None:
    """`rows` transactions (transaction_id, card_id, terminal_id, amount, event_time) as Parquet, a file for each million."""
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        some = _some(np.random.default_rng([seed, number]), first, min(FILE_ROWS, rows - first))
        pq.write_table(some, folder / f"{number:04}.parquet")


def _some(rng: np.random.Generator, first: int, count: int) -> pa.Table:
    """In the order of event time within a file, as an archive writes them."""
    milliseconds = np.sort(rng.integers(0, DAYS * 86_400_000, count))
    times = np.datetime64("2026-01-01", "us") + milliseconds * np.timedelta64(1_000, "us")
    terminals = pa.DictionaryArray.from_arrays(
        rng.integers(0, TERMINALS, count, dtype=np.int32), [f"T{number:05}" for number in range(TERMINALS)]
    )
    return pa.table({
        "transaction_id": np.char.mod("t%012d", np.arange(first, first + count)),
        "card_id": np.char.mod("C%05d", rng.integers(0, 5_000, count)),
        "terminal_id": terminals.cast(pa.string()),
        "amount": np.round(rng.lognormal(3.3, 0.9, count), 2),
        "event_time": pa.array(times, pa.timestamp("us", "UTC")),
    })


def measure(
    engines: list[Ready], transactions: Path, folder: Path, repeats: int, not_measured: dict[str, str],
    say: Callable[[str], object],
) -> tuple[Rounds, dict[str, str]]:
    """Rounds of seconds by engine, and by engine how its totals differ from ours (empty: the same)."""
    rounds: Rounds = defaultdict(list)
    differ: dict[str, str] = {}
    for number in range(1, repeats + 1):
        for ready in engines:
            name = ready.peer.name
            if name in not_measured:
                continue
            say(f"round {number} of {repeats}: {ready.peer.title}")
            try:
                rounds[name].append(_once(ready, transactions, folder / f"{name}-{number}"))
            except PeerFailed as problem:
                not_measured[name] = str(problem)
                continue
            if number == 1:
                ours, own = (read_totals(folder / f"{each}-1" / "totals.parquet") for each in (BATCH_OURS, name))
                differ[name] = difference(ours, own)
    return dict(rounds), differ


def _once(ready: Ready, transactions: Path, folder: Path) -> dict[str, float]:
    if folder.exists():
        shutil.rmtree(folder)
    seconds = folder / "seconds.json"
    job = {
        "transactions": str(transactions),
        "totals": str(folder / "totals.parquet"),
        "seconds": str(seconds),
        "executions": EXECUTIONS,
    }
    with running(ready, job, folder) as work:
        process = work.wait(LIMIT_SECONDS)
    first, second = json.loads(seconds.read_text())
    return {"process": process - second, "first": first, "second": second}


def read_totals(path: Path) -> pd.DataFrame:
    """An engine's result, a Parquet file or a folder of them, in order of its keys."""
    totals = pq.read_table(path).to_pandas()
    return totals.assign(day=pd.to_datetime(totals["day"])).sort_values(KEYS).reset_index(drop=True)


def difference(ours: pd.DataFrame, other: pd.DataFrame) -> str:
    """In words, what differs: counts exactly, sums to 1e-9 of their size, as engines add in different orders. Empty: nothing."""
    if not ours[KEYS].equals(other[KEYS]):
        return f"other days or terminals: {len(other)} rows, ours {len(ours)}"
    if unequal := int((ours[EXACT] != other[EXACT]).sum()):
        return f"{unequal} counts differ"
    for column in CLOSE:
        far = ~np.isclose(ours[column], other[column], rtol=1e-9, atol=1e-9, equal_nan=True)
        if far.any():
            return f"{int(far.sum())} of {column} differ"
    return ""


def told(rounds: Rounds) -> dict[str, Any]:
    return {**compared(rounds, FIELDS, BATCH_OURS), "rounds": rounds}


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Every other engine's seconds in multiples of ours: higher is better for us."""
    return {
        f"{int(number):,} rows: {field} of {name} / ours": of
        for number, measured in rows.items()
        for field in FIELDS
        for name, of in others(measured[field], BATCH_OURS)
    }


def markdown(results: dict[str, Any]) -> str:
    parts = [
        "# Daily totals of each terminal, over Parquet",
        "Seconds, medians of {repeats}: process, from its start to its end with one execution; first and second execution in one "
        "process.".format(**results),
    ]
    for rows, measured in results["rows"].items():
        lines = [
            [f"{peer.title} {peer.version}", *(cell for field in FIELDS for cell in cells(measured[field], peer.name, 2))]
            for peer in BATCH_PEERS
            if peer.name in measured["rounds"]
        ]
        parts += [f"## {int(rows):,} rows", markdown_table(["engine", *(c for f in FIELDS for c in (f, "of ours"))], lines)]
    parts += [f"{name}: not measured: {reason.splitlines()[0]}" for name, reason in results["not_measured"].items()]
    parts += [f"{name}: {problem}" for name, problem in results["differences"].items()]
    return "\n\n".join([*parts, machine_line(results)]) + "\n"
