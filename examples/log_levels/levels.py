"""Counts log lines by level: one function, the same for a stream and for a table."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

LOG_LINE = "level string, message string"
UNREADABLE = "UNREADABLE"


def count_levels(lines: DataFrame) -> DataFrame:
    """Rows (level, count). lines: a text column `value`, JSON {"level", "message"}; another text counts as UNREADABLE."""
    log = lines.select(F.from_json(F.col("value").cast("string"), LOG_LINE).alias("log"))
    return log.groupBy(F.coalesce(F.upper("log.level"), F.lit(UNREADABLE)).alias("level")).count()
