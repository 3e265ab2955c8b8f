"""The daily totals of each terminal in DuckDB."""

import json
import sys
import time
from pathlib import Path

import duckdb

TOTALS = """
COPY (
  SELECT CAST(event_time AS DATE) AS day, terminal_id, count(*) AS "count", sum(amount) AS total, avg(amount) AS mean,
    stddev_samp(amount) AS deviation
  FROM read_parquet('{transactions}/*.parquet') GROUP BY ALL
) TO '{totals}' (FORMAT parquet)
"""


def main(job: dict) -> None:
    seconds = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        for _ in range(job["executions"]):
            started_at = time.monotonic()
            connection.execute(TOTALS.format(**job))
            seconds.append(time.monotonic() - started_at)
    Path(job["seconds"]).write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
