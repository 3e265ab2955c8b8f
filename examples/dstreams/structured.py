"""Counts with Structured Streaming: rows have columns, Spark plans all of it, and time stands in the rows."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from examples.dstreams.lines import UNREADABLE

LINE = "time timestamp, line string"  # a line, and the second in which it came: a DStream's batch was its only time


def with_level(lines: DataFrame) -> DataFrame:
    """Adds `level`. Was: level_of, a function of Python for each line."""
    level = F.get_json_object("line", "$.level")
    return lines.withColumn("level", F.coalesce(level, F.lit(UNREADABLE)))


def count_in_window(lines: DataFrame, seconds: int) -> DataFrame:
    """Counts by level and window. Was: reduceByKeyAndWindow, by the reader's clock.

    A row's own time decides which windows it is in; a late row is in them too, until the watermark has passed them.
    """
    window = F.window("time", f"{seconds} seconds", "1 second")
    return with_level(lines).withWatermark("time", "10 seconds").groupBy(window, "level").count()


def count_so_far(lines: DataFrame) -> DataFrame:
    """Counts by level. Was: updateStateByKey, which went through every key in every batch. Spark keeps the counts, in RocksDB."""
    return with_level(lines).groupBy("level").count()


def read_files(spark: SparkSession, folder: Path) -> DataFrame:
    """The lines of a folder, a file a batch. Was: queueStream, which is for tests; here a test is a folder of files."""
    return spark.readStream.schema(LINE).option("maxFilesPerTrigger", 1).json(str(folder))


def run_to_table(counts: DataFrame, name: str, checkpoint: Path) -> DataFrame:
    """Run a streaming count to the end of its input; returns its result, a table in memory.

    Was: foreachRDD with a collect. A sink takes its place: the console, Kafka, files; or foreachBatch, with a DataFrame.
    """
    query = (
        counts.writeStream.format("memory")
        .queryName(name)
        .outputMode("complete")
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return counts.sparkSession.table(name)
