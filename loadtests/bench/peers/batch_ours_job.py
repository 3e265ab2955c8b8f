"""The daily totals of each terminal in this project: Spark, through the project's session."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from common.spark.session import start_session


def main(job: dict[str, Any]) -> None:
    spark = start_session("batch", os.cpu_count() or 2, Path(job["folder"]))
    seconds = []
    for _ in range(job["executions"]):
        started_at = time.monotonic()
        totals = (
            spark.read.parquet(job["transactions"])
            .groupBy(F.to_date("event_time").alias("day"), "terminal_id")
            .agg(
                F.count("*").alias("count"),
                F.sum("amount").alias("total"),
                F.avg("amount").alias("mean"),
                F.stddev_samp("amount").alias("deviation"),
            )
        )
        totals.write.mode("overwrite").parquet(job["totals"])
        seconds.append(time.monotonic() - started_at)
    Path(job["seconds"]).write_text(json.dumps(seconds))
    spark.stop()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
