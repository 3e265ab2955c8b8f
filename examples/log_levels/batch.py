"""Counts the log lines of a file by level, with the function that the stream uses."""

from pyspark.sql import SparkSession

from examples.log_levels.levels import count_levels


def count_in_file(spark: SparkSession, path: str) -> dict[str, int]:
    """Levels and their counts. path: a file with a log line, as JSON, in each line."""
    return {row.level: row["count"] for row in count_levels(spark.read.text(path)).collect()}
