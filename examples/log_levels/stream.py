"""Counts a topic's log lines by level on the terminal, with Structured Streaming in some 15 lines."""

from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from examples.log_levels.levels import count_levels


def count_on_terminal(spark: SparkSession, servers: str, topic: str, checkpoint: str) -> StreamingQuery:
    """Start the query; after each batch the terminal shows every level's count so far."""
    lines = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", servers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    return (
        count_levels(lines)
        .orderBy("level")
        .writeStream.format("console")
        .outputMode("complete")
        .option("checkpointLocation", checkpoint)
        .start()
    )
