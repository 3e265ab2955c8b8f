"""The same count over a file: batch is a stream that ends."""

from pyspark.sql import SparkSession

from examples.log_levels.levels import count_levels


def count_in_file(spark: SparkSession, path: str) -> dict[str, int]:
    """Levels and their counts. path: a file with a log line, as JSON, in each line."""
    return {row.level: row["count"] for row in count_levels(spark.read.text(path)).collect()}
