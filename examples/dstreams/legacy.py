"""With DStreams: each batch is an RDD, of whose rows Spark knows nothing, and functions of Python say what is done with them.

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

INTERVAL = 1  # seconds of a batch: the clock of everything here
PATIENCE = 90.0  # seconds

Counts = dict[str, int]


def level_of(line: str) -> str:
    """The level of one line."""
    try:
        return str(json.loads(line)["level"])
    except (ValueError, TypeError, KeyError):
        return UNREADABLE


def count_in_batch(lines: DStream[str]) -> DStream[tuple[str, int]]:
    """Of each batch by itself."""
    return lines.map(lambda line: (level_of(line), 1)).reduceByKey(operator.add)


def count_in_window(lines: DStream[str], seconds: int) -> DStream[tuple[str, int]]:
    """Of the batches of the last so many seconds. With the inverse Spark adds the newest batch and takes the oldest away,
    instead of adding all of them up anew; it needs a checkpoint, and the filter, or levels stay for ever with a count of 0.
    """
    ones = lines.map(lambda line: (level_of(line), 1))
    return ones.reduceByKeyAndWindow(operator.add, operator.sub, seconds, INTERVAL, filterFunc=lambda counted: counted[1] > 0)


def count_so_far(lines: DStream[str]) -> DStream[tuple[str, int]]:
    """Of all batches: the state of a key is what a function of Python makes of its values and the state before."""
    def update(values: Iterable[int], before: int | None) -> int:
        return sum(values) + (before or 0)

    return lines.map(lambda line: (level_of(line), 1)).updateStateByKey(update)


def run_on_queue(spark: SparkContext, batches: list[list[str]], window: int, checkpoint: Path) -> tuple[list[Counts], Counts]:
    """Counts of the window that ends with each batch, and of all, from a queue: one RDD a batch."""
    context = StreamingContext(spark, INTERVAL)
    context.checkpoint(str(checkpoint))
    lines = context.queueStream([spark.parallelize(batch, 2) for batch in batches])
    windows, totals = _kept(count_in_window(lines, window)), _kept(count_so_far(lines))
    _run(context, lambda: min(len(windows), len(totals)) >= len(batches))
    return windows[: len(batches)], totals[len(batches) - 1]


def run_on_socket(spark: SparkContext, host: str, port: int, number: int) -> Counts:
    """Counts of so many lines that a server at host and port sends."""
    context = StreamingContext(spark, INTERVAL)
    counted = _kept(count_in_batch(context.socketTextStream(host, port)))
    _run(context, lambda: sum(sum(each.values()) for each in counted) >= number)
    levels = {level for batch in counted for level in batch}
    return {level: sum(batch.get(level, 0) for batch in counted) for level in levels}


def _kept(counts: DStream[tuple[str, int]]) -> list[Counts]:
    """What comes of the stream, batch by batch, as it comes: foreachRDD runs here, in the driver."""
    found: list[Counts] = []

    def keep(rdd: RDD[tuple[str, int]]) -> None:
        found.append(dict(rdd.collect()))

    counts.foreachRDD(keep)
    return found


def _run(context: StreamingContext, is_done: Callable[[], bool]) -> None:
    context.start()
    deadline = time.monotonic() + PATIENCE
    try:
        while not is_done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the batches did not come within {PATIENCE:g} s")
            time.sleep(0.2)
    finally:
        context.stop(stopSparkContext=False, stopGraceFully=False)
