"""Counts from topic to topic, in micro-batches or in real-time mode: only the trigger differs."""

from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from examples.log_levels.levels import count_levels

MICRO_BATCHES = {"processingTime": "0 seconds"}  # the next batch as soon as one is done
REAL_TIME = {"realTime": "1 minute"}  # a batch of a minute, which its rows pass one by one; a checkpoint after each


def count_to_topic(
    spark: SparkSession, servers: str, source: str, target: str, checkpoint: str, trigger: dict[str, Any]
) -> StreamingQuery:
    """Start a query that sends each new count of a level to `target`: key the level, value the count."""
    lines = (
        spark.readStream.format("kafka")
        .options(**{"kafka.bootstrap.servers": servers, "subscribe": source, "startingOffsets": "earliest"})
        .load()
    )
    counts = count_levels(lines).select(F.col("level").alias("key"), F.col("count").cast("string").alias("value"))
    return (
        counts.writeStream.format("kafka")
        .options(**{"kafka.bootstrap.servers": servers, "topic": target, "checkpointLocation": checkpoint})
        .outputMode("update")
        .trigger(**trigger)
        .start()
    )
