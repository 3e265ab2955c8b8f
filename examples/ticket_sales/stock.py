"""Detects from the answers alone whether a show was oversold, and how long its seats will last."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from examples.ticket_sales.tickets import CAPACITY, GRANTED

ANSWER = "request_id string, show string, seats int, status string, free_seats int, time long"


def parse_answers(records: DataFrame) -> DataFrame:
    """Kafka's records as answers: the columns of ANSWER."""
    return records.select(F.from_json(F.col("value").cast("string"), ANSWER).alias("answer")).select("answer.*")


def stock_of_shows(answers: DataFrame) -> DataFrame:
    """By show: sold, free_seats, is_oversold, is_miscounted, refused, and for how many seconds the rest lasts at the pace so far.

    Seats are counted from the requests that were granted. is_miscounted: the sellers' own count, the `free_seats` of their
    answers, is another.
    """
    capacity = F.create_map(*[F.lit(part) for show in CAPACITY.items() for part in show])
    seats = F.when(F.col("status") == GRANTED, F.col("seats")).otherwise(0)
    shows = answers.groupBy("show").agg(
        F.sum(seats).alias("sold"),
        F.sum(F.when(F.col("status") == GRANTED, 0).otherwise(1)).alias("refused"),
        F.min("free_seats").alias("least_free_seats"),
        ((F.max("time") - F.min("time")) / 1_000).alias("seconds"),
    )
    free_seats = capacity[F.col("show")] - F.col("sold")
    pace = F.try_divide(F.col("sold"), F.col("seconds"))
    is_miscounted = free_seats != F.col("least_free_seats")
    return shows.select(
        "show",
        "sold",
        free_seats.alias("free_seats"),
        (free_seats < 0).alias("is_oversold"),
        is_miscounted.alias("is_miscounted"),
        "refused",
        F.when(free_seats > 0, F.try_divide(free_seats, pace)).otherwise(0.0).alias("lasts_seconds"),
    )
