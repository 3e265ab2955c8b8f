"""The rules of social_trends: what each scores, and which window it reads.

Per term and window (real-time mode, RocksDB state): the set of the term's posts, so that one that was sent twice counts once.
Per term, text and window (real-time mode, RocksDB state): the authors who post one and the same text.
What is counted never decreases while a window fills.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Query, Rule, Scenario, judge, parse_span
from examples.social_trends.sentiment import sentiment
from examples.social_trends.settings import SocialTrendsSettings

VERTICAL = "social_trends"


def burst(settings: SocialTrendsSettings) -> Column:
    """Standard deviations of the window's posts above what is usual for the term at that hour and weekday. Per term and window.

    Posts come as a Poisson process does: the deviation of an expected number is its square root, and at least one post. Null
    for a term that has been posted about for less than `min_days` days: a new term has no season.
    """
    return _deviations(F.size("posts").cast("double"), F.col("expected"), settings)


def outrage(settings: SocialTrendsSettings) -> Column:
    """The same of its negative posts (`negative`), by the share that is usual for the term. Per term and window.

    The number of negative posts and not their share: a share decreases again, which a window's score must never do.
    """
    return _deviations(F.size(_negative_posts(settings)).cast("double"), F.col("expected") * F.col("negative_share"), settings)


def copied_text(settings: SocialTrendsSettings) -> Column:
    """Different authors of one and the same text of `least_text` characters or more. Per term, text and window."""
    return F.size(F.array_distinct(F.transform("posts", lambda post: post.author_id))).cast("double")


def _deviations(count: Column, expected: Column, settings: SocialTrendsSettings) -> Column:
    return F.when(F.col("days") >= settings.min_days, (count - expected) / F.sqrt(F.greatest(expected, F.lit(1.0))))


def _negative_posts(settings: SocialTrendsSettings) -> Column:
    return F.filter("posts", lambda post: post.sentiment <= settings.negative)


def _ids_of(posts: Column) -> Column:
    """The ids of an array of posts, as JSON."""
    return F.to_json(F.transform(posts, lambda post: post.post_id))


BY_TERM = (
    Rule(
        "burst",
        burst,
        "burst",
        lambda settings: F.format_string("%d posts where %.1f are usual", F.size("posts"), "expected"),
        lambda settings: _ids_of(F.col("posts")),
    ),
    Rule(
        "outrage",
        outrage,
        "outrage",
        lambda settings: F.format_string(
            "%d negative posts where %.1f are usual",
            F.size(_negative_posts(settings)),
            F.col("expected") * F.col("negative_share"),
        ),
        lambda settings: _ids_of(_negative_posts(settings)),
    ),
)
BY_TEXT = (
    Rule(
        "copied_text",
        copied_text,
        "copied_text",
        lambda settings: F.format_string("%.0f authors post the same %d characters", copied_text(settings), "characters"),
        lambda settings: _ids_of(F.col("posts")),
    ),
)


def by_term(posts: DataFrame, settings: SocialTrendsSettings) -> DataFrame:
    """Alerts over a term's posts within a window, against its newest season."""
    season = F.struct("ingest_time", "baseline_version", "days", "by_hour", "by_weekday", "negative_share")
    post = F.struct("event_time", "post_id", sentiment(F.col("text")).alias("sentiment"))
    windows = (
        posts.withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.window, settings.slide), "term")
        .agg(F.collect_set(post).alias("posts"), F.max("event_time").alias("event_time"), F.max(season).alias("newest"))
        .select("window", "term", F.sort_array("posts").alias("posts"), "event_time", "newest.*")
    )
    start, hours = F.col("window.start"), parse_span(settings.window).total_seconds() / 3_600
    usual = F.get("by_hour", F.hour(start)) * F.get("by_weekday", F.weekday(start)) * hours
    rows = windows.withColumn("expected", usual)
    return judge(rows, BY_TERM, settings, vertical=VERTICAL, entity="term", subject=_key_and_window("term"))


def by_text(posts: DataFrame, settings: SocialTrendsSettings) -> DataFrame:
    """Alerts over the posts of one text within a window."""
    long_posts = posts.where(F.char_length("text") >= settings.least_text)
    windows = (
        long_posts.withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.window, settings.slide), "term", F.sha2("text", 256).alias("text_hash"))
        .agg(
            F.sort_array(F.collect_set(F.struct("event_time", "post_id", "author_id"))).alias("posts"),
            F.max("event_time").alias("event_time"),
            F.max("ingest_time").alias("ingest_time"),
            F.max(F.char_length("text")).alias("characters"),
        )
    )
    return judge(windows, BY_TEXT, settings, vertical=VERTICAL, entity="term", subject=_key_and_window("term", "text_hash"))


def _key_and_window(*columns: str) -> Column:
    """What an alert over a window is about: its key and when the window began."""
    return F.concat_ws("|", *columns, F.col("window.start").cast("string"))


QUERIES = (
    Query("by_term", BY_TERM, by_term, baselines=("term",), stateful=True),
    Query("by_text", BY_TEXT, by_text, stateful=True),
)
# Beside each scenario what a plain threshold on a single event would look at.
SCENARIOS = (
    Scenario("viral", ("burst",), lambda: F.char_length("text")),
    Scenario("outrage", ("outrage", "burst"), lambda: -sentiment(F.col("text"))),
    Scenario("campaign", ("copied_text",), lambda: F.char_length("text")),
)
