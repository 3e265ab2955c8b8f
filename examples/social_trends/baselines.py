"""What batch learns of terms for the running rules: the season of each, that is, when and how often it is usually posted on."""

from collections.abc import Callable
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.authoring import load
from examples.social_trends.sentiment import sentiment
from examples.social_trends.settings import SocialTrendsSettings

BASELINE_DAYS = 28

# Columns of a baseline beside its key and `as_of`. by_hour: posts in an hour of the day (UTC), 24; by_weekday: times what is
# usual on all days, 7, Monday first.
BASELINE = T.StructType(
    [
        T.StructField("days", T.LongType()),
        T.StructField("by_hour", T.ArrayType(T.DoubleType())),
        T.StructField("by_weekday", T.ArrayType(T.DoubleType())),
        T.StructField("negative_share", T.DoubleType()),
    ]
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"term"}: one row per term and `as_of` day of `days`, from the whole days (UTC) before it.

    Posts known by then to be anomalous are left out: they would teach that anomalies are usual. A weekday that occurred once
    counts little: its factor is drawn towards 1, as if the term had one more such day of what is usual.
    """
    first_day = min(days) - timedelta(days=BASELINE_DAYS)
    # Each post once for every day of `days`, then only those of the days before it.
    dated_posts = history.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    age_days = F.datediff(F.col("as_of"), F.to_date("event_time"))
    past_posts = dated_posts.where(
        (F.col("event_time") >= F.lit(first_day).cast("timestamp")) & age_days.between(1, BASELINE_DAYS)
    )
    anomalous_posts = labels.select(F.col("event_id").alias("post_id"), "known_time").dropDuplicates(["post_id"])
    is_anomalous = F.coalesce(F.col("known_time") <= F.col("as_of").cast("timestamp"), F.lit(False))
    ordinary_posts = past_posts.join(anomalous_posts, "post_id", "left").where(~is_anomalous)
    is_negative = sentiment(F.col("text")) <= load(SocialTrendsSettings).negative
    # Of each hour of each day first, then of the term: a few thousand rows a term at most.
    hours = ordinary_posts.groupBy("term", "as_of", F.to_date("event_time").alias("day"), F.hour("event_time").alias("hour")).agg(
        F.count("*").alias("posts"), F.count_if(is_negative).alias("negative")
    )
    terms = hours.groupBy("term", "as_of").agg(
        F.min("day").alias("first_day"),
        F.sum("posts").alias("posts"),
        F.sum("negative").alias("negative"),
        F.collect_list(F.struct("day", "hour", "posts")).alias("hours"),
    )
    day_count = F.datediff(F.col("as_of"), F.col("first_day"))
    seasons = terms.select(
        "term",
        "as_of",
        day_count.cast("long").alias("days"),
        F.transform(F.sequence(F.lit(0), F.lit(23)), lambda hour: _posts_at(hour) / day_count).alias("by_hour"),
        F.transform(F.sequence(F.lit(0), F.lit(6)), lambda weekday: _weekday_factor(weekday, day_count)).alias("by_weekday"),
        ((F.col("negative") + 1) / (F.col("posts") + 5)).alias("negative_share"),
    )
    return {"term": seasons}


def _posts_at(hour_of_day: Column) -> Column:
    return _posts_in(lambda hour: hour.hour == hour_of_day)


def _weekday_factor(weekday: Column, day_count: Column) -> Column:
    """Posts on that weekday, over what as many days usually have; both with one usual day more."""
    usual = F.col("posts") / day_count
    dates = F.sequence(F.col("first_day"), F.date_sub(F.col("as_of"), F.lit(1)))
    matching_days = F.size(F.filter(dates, lambda day: F.weekday(day) == weekday))
    return (_posts_in(lambda hour: F.weekday(hour.day) == weekday) + usual) / (usual * (matching_days + 1))


def _posts_in(is_counted: Callable[[Column], Column]) -> Column:
    """Sum of the posts of those of `hours` that `is_counted` is true of."""
    hours = F.filter("hours", is_counted)
    return F.aggregate(hours, F.lit(0).cast("long"), lambda total, hour: total + hour.posts).cast("double")
