"""The stock detector: reads the answers alone, and knows whether a show was oversold and how long its seats will last."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from examples.ticket_sales.tickets import CAPACITY, GRANTED

ANSWER = "request_id string, show string, seats int, status string, left int, time long"


def parse_answers(records: DataFrame) -> DataFrame:
    """Kafka's records as answers: the columns of ANSWER."""
    return records.select(F.from_json(F.col("value").cast("string"), ANSWER).alias("answer")).select("answer.*")


def stock_of_shows(answers: DataFrame) -> DataFrame:
    """By show: sold, left, is_oversold, refused, and for how many seconds the rest lasts at the pace so far.

    Counted anew from what was granted: that the sellers' own count of what is left is the same is a proof, not an assumption.
    """
    capacity = F.create_map(*[F.lit(each) for pair in CAPACITY.items() for each in pair])
    seats = F.when(F.col("status") == GRANTED, F.col("seats")).otherwise(0)
    counted = answers.groupBy("show").agg(
        F.sum(seats).alias("sold"),
        F.sum(F.when(F.col("status") == GRANTED, 0).otherwise(1)).alias("refused"),
        F.min("left").alias("least_left"),
        ((F.max("time") - F.min("time")) / 1_000).alias("seconds"),
    )
    left = capacity[F.col("show")] - F.col("sold")
    pace = F.try_divide(F.col("sold"), F.col("seconds"))
    return counted.select(
        "show", "sold", left.alias("left"), (left < 0).alias("is_oversold"), (left != F.col("least_left")).alias("is_miscounted"),
        "refused", F.when(left > 0, F.try_divide(left, pace)).otherwise(0.0).alias("lasts_seconds"))
