"""Keeps only alerts whose window the watermark has closed.

Batch sees every window close; a query in append mode raises only alerts behind its watermark.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.vertical import Query


def only_closed(query: Query, alerts: DataFrame, events: DataFrame, rule_settings: object) -> DataFrame:
    """The alerts of `query` over the table `events`, less those whose windows had not closed when the newest event came.

    Only queries in append mode wait for the watermark. Their alerts' event_time is the window's end; it must come from an
    aggregate: Spark 4.3.0 pushes a filter on a session window's own end below the aggregation, where it changes sessions.
    """
    if query.output_mode != "append":
        return alerts
    newest = events.agg(F.max("event_time")).first()
    watermark = F.lit(newest[0] if newest else None) - F.expr(f"interval {getattr(rule_settings, 'watermark', '0 seconds')}")
    return alerts.where(F.col("event_time") <= watermark)
