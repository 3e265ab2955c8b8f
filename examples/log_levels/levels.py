"""What is counted: one function, which neither knows nor cares whether its rows are a stream."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

LOG_LINE = "level string, message string"
UNREADABLE = "UNREADABLE"


def count_levels(lines: DataFrame) -> DataFrame:
    """Rows (level, count). lines: a text column `value`, JSON {"level", "message"}; what is none counts as UNREADABLE."""
    log = lines.select(F.from_json(F.col("value").cast("string"), LOG_LINE).alias("log"))
    return log.groupBy(F.coalesce(F.upper("log.level"), F.lit(UNREADABLE)).alias("level")).count()
