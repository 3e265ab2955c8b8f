"""Counts with DStreams: each batch is an RDD of rows that Spark knows nothing of, on which Python functions are run.

Deprecated since Spark 3.4; still there in 4.3, from sockets, files and queues alone: Python has no Kafka and no Flume for them.
"""

import json
import operator
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pyspark import RDD, SparkContext
from pyspark.streaming import DStream, StreamingContext

from examples.dstreams.lines import UNREADABLE

BATCH_SECONDS = 1  # in which windows and states are counted
MAX_WAIT_SECONDS = 90.0

Counts = dict[str, int]


def level_of(line: str) -> str:
    """The level of one line."""
    try:
        return str(json.loads(line)["level"])
    except (ValueError, TypeError, KeyError):
        return UNREADABLE


def count_in_batch(lines: DStream[str]) -> DStream[tuple[str, int]]:
    """Counts by level of each batch alone."""
    return lines.map(lambda line: (level_of(line), 1)).reduceByKey(operator.add)


def count_in_window(lines: DStream[str], seconds: int) -> DStream[tuple[str, int]]:
    """Counts by level of the batches of the last so many seconds.

    With the inverse function (sub) Spark adds the newest batch and subtracts the oldest, instead of adding up all of them. That
    needs a checkpoint, and the filter, or levels stay for ever with a count of 0.
    """
    pairs = lines.map(lambda line: (level_of(line), 1))
    return pairs.reduceByKeyAndWindow(operator.add, operator.sub, seconds, BATCH_SECONDS, filterFunc=lambda pair: pair[1] > 0)


def count_so_far(lines: DStream[str]) -> DStream[tuple[str, int]]:
    """Counts by level of all batches so far: a Python function makes a key's new state of its values and the state before."""

    def add_to_total(batch_counts: Iterable[int], total_before: int | None) -> int:
        return sum(batch_counts) + (total_before or 0)

    return lines.map(lambda line: (level_of(line), 1)).updateStateByKey(add_to_total)


def run_on_queue(spark: SparkContext, batches: list[list[str]], window: int, checkpoint: Path) -> tuple[list[Counts], Counts]:
    """Counts of the window that ends with each batch, and of all, from a queue: one RDD a batch."""
    context = StreamingContext(spark, BATCH_SECONDS)
    context.checkpoint(str(checkpoint))
    lines = context.queueStream([spark.parallelize(batch, 2) for batch in batches])
    windows, totals = _collect_batches(count_in_window(lines, window)), _collect_batches(count_so_far(lines))
    _run_until(context, lambda: min(len(windows), len(totals)) >= len(batches))
    return windows[: len(batches)], totals[len(batches) - 1]


def run_on_socket(spark: SparkContext, host: str, port: int, number: int) -> Counts:
    """Counts of so many lines that a server at host and port sends."""
    context = StreamingContext(spark, BATCH_SECONDS)
    batches = _collect_batches(count_in_batch(context.socketTextStream(host, port)))
    _run_until(context, lambda: sum(sum(batch.values()) for batch in batches) >= number)
    levels = {level for batch in batches for level in batch}
    return {level: sum(batch.get(level, 0) for batch in batches) for level in levels}


def _collect_batches(counts: DStream[tuple[str, int]]) -> list[Counts]:
    """A list that grows by each batch's counts while the stream runs: foreachRDD runs here, in the driver."""
    batches: list[Counts] = []

    def append(rdd: RDD[tuple[str, int]]) -> None:
        batches.append(dict(rdd.collect()))

    counts.foreachRDD(append)
    return batches


def _run_until(context: StreamingContext, is_done: Callable[[], bool]) -> None:
    """Run the stream until `is_done`."""
    context.start()
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    try:
        while not is_done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the batches did not come within {MAX_WAIT_SECONDS:g} s")
            time.sleep(0.2)
    finally:
        context.stop(stopSparkContext=False, stopGraceFully=False)
