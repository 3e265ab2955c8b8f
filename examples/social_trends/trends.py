"""What batch learns of terms (their season), and what it reports to people (trends)."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.monitoring.plots import Bars, Chart, DailyLines, draw_all
from common.settings import load
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

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("by_term", DailyLines("Posts, by term", "term", "posts", "posts a day")),
    ("mood", Bars("Mood, by term", "term", "mean_sentiment", "mean sentiment of its posts, -1 to 1")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
)


def baselines(history: DataFrame, labels: DataFrame, days: list[date]) -> dict[str, DataFrame]:
    """{"term"}: one row per term and `as_of` day of `days`, from the whole days (UTC) before it.

    Posts known by then to be anomalous are left out: they would teach that anomalies are usual. A weekday that was seen once
    counts little: its factor is drawn towards 1, as if the term had one more such day of what is usual.
    """
    first = min(days) - timedelta(days=BASELINE_DAYS)
    asked = history.withColumn("as_of", F.explode(F.array(*[F.lit(day) for day in days])))
    age = F.datediff(F.col("as_of"), F.to_date("event_time"))
    past = asked.where((F.col("event_time") >= F.lit(first).cast("timestamp")) & age.between(1, BASELINE_DAYS))
    known = labels.select(F.col("event_id").alias("post_id"), "known_time").dropDuplicates(["post_id"])
    is_known = F.coalesce(F.col("known_time") <= F.col("as_of").cast("timestamp"), F.lit(False))
    ordinary = past.join(known, "post_id", "left").where(~is_known)
    is_negative = sentiment(F.col("text")) <= load(SocialTrendsSettings).negative
    # Of each hour of each day first, then of the term: a few thousand rows a term at most.
    hours = ordinary.groupBy("term", "as_of", F.to_date("event_time").alias("day"), F.hour("event_time").alias("hour")).agg(
        F.count("*").alias("posts"), F.count_if(is_negative).alias("negative"))
    of_term = hours.groupBy("term", "as_of").agg(
        F.min("day").alias("first_day"),
        F.sum("posts").alias("posts"),
        F.sum("negative").alias("negative"),
        F.collect_list(F.struct("day", "hour", "posts")).alias("hours"),
    )
    span = F.datediff(F.col("as_of"), F.col("first_day"))
    learnt = of_term.select(
        "term",
        "as_of",
        span.cast("long").alias("days"),
        F.transform(F.sequence(F.lit(0), F.lit(23)), lambda hour: _posts(lambda each: each.hour == hour) / span).alias("by_hour"),
        F.transform(F.sequence(F.lit(0), F.lit(6)), lambda day: _weekday_factor(day, span)).alias("by_weekday"),
        ((F.col("negative") + 1) / (F.col("posts") + 5)).alias("negative_share"),
    )
    return {"term": learnt}


def _posts(which: Any) -> Column:
    chosen = F.filter("hours", which)
    return F.aggregate(chosen, F.lit(0).cast("long"), lambda sum, each: sum + each.posts).cast("double")


def _weekday_factor(weekday: Column, span: Column) -> Column:
    """Posts on that weekday, over what as many days usually have; both with one usual day more."""
    usual = F.col("posts") / span
    dates = F.sequence(F.col("first_day"), F.date_sub(F.col("as_of"), F.lit(1)))
    such_days = F.size(F.filter(dates, lambda day: F.weekday(day) == weekday))
    return (_posts(lambda each: F.weekday(each.day) == weekday) + usual) / (usual * (such_days + 1))


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: Any = None) -> dict[str, DataFrame]:
    """Posts by day and term; how each term's posts feel; alerts by day and rule."""
    day = F.to_date("event_time").alias("day")
    return {
        "by_term": history.groupBy(day, "term").agg(F.count("*").alias("posts")),
        "mood": history.groupBy("term").agg(
            F.count("*").alias("posts"), F.round(F.avg(sentiment(F.col("text"))), 4).alias("mean_sentiment")),
        "alerts_by_rule": alerts.groupBy(day, "rule").agg(F.count("*").alias("alerts")),
    }


def plots(tables: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Draw the trends that have rows as PNG into `folder`; returns the files."""
    return draw_all(tables, CHARTS, folder)
