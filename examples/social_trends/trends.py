"""What batch reports to people: posts by term, the mood of each term's posts, alerts by rule."""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.authoring import Bars, Chart, DailyLines
from examples.social_trends.sentiment import sentiment

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("by_term", DailyLines("Posts, by term", "term", "posts", "posts a day")),
    ("mood", Bars("Mood, by term", "term", "mean_sentiment", "mean sentiment of its posts, -1 to 1")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
)


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: Any = None) -> dict[str, DataFrame]:
    """Posts by day and term; mean sentiment of each term's posts; alerts by day and rule."""
    day = F.to_date("event_time").alias("day")
    return {
        "by_term": history.groupBy(day, "term").agg(F.count("*").alias("posts")),
        "mood": history.groupBy("term").agg(
            F.count("*").alias("posts"), F.round(F.avg(sentiment(F.col("text"))), 4).alias("mean_sentiment")
        ),
        "alerts_by_rule": alerts.groupBy(day, "rule").agg(F.count("*").alias("alerts")),
    }
