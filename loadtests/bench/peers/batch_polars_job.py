"""The daily totals of each terminal in Polars: lazy, with its streaming engine."""

import json
import sys
import time
from pathlib import Path

import polars as pl


def main(job: dict) -> None:
    seconds = []
    for _ in range(job["executions"]):
        started_at = time.monotonic()
        amount = pl.col("amount")
        (
            pl.scan_parquet(f"{job['transactions']}/*.parquet")
            .group_by(pl.col("event_time").dt.date().alias("day"), "terminal_id")
            .agg(
                pl.len().cast(pl.Int64).alias("count"),
                amount.sum().alias("total"),
                amount.mean().alias("mean"),
                amount.std().alias("deviation"),
            )
            .collect(engine="streaming")
            .write_parquet(job["totals"])
        )
        seconds.append(time.monotonic() - started_at)
    Path(job["seconds"]).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
