"""Adds to `alerts` those that the stream lost because their events came behind its watermark.

Such an alert came through no topic (`archive_tables.NO_PARTITION`, `NO_OFFSET`). It has no part in comparisons of the stream with
history or with labels (`history.read_live_history`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common import tables
from common.archive.archive_tables import ALERTS_SCHEMA, NO_OFFSET, NO_PARTITION, PARTITION, came_through_kafka
from common.archive.history import read_live_history
from common.deployment import Deployment
from common.kafka.topics import topic_names
from common.reconciliation.lineage import find_late_events
from common.reconciliation.reconcile import recompute_alerts
from common.streaming.checkpoint_topics import of_present_topic


@dataclass(frozen=True)
class LateAlerts:
    """events: those behind the watermark of a query that came to them; alerts: those lost to it; added: new in `alerts`."""

    events: int
    alerts: int
    added: int


def add_late_alerts(spark: SparkSession, deployment: Deployment) -> LateAlerts:
    """After `reconcile`: put the alerts that only the watermark lost into `alerts`, each once, however often this is done."""
    vertical, workspace = deployment.vertical, deployment.workspace
    events = of_present_topic(read_live_history(spark, workspace)[0], workspace, topic_names(vertical).events)
    event_count = find_late_events(spark, deployment, events).select("event_id").distinct().count()
    comparison = tables.read(spark, workspace.table("reconciled"))
    lost_ids = comparison.where("status = 'late' and stream_score is null").select("alert_id")
    lost_count = lost_ids.count()
    if not lost_count:
        return LateAlerts(event_count, 0, 0)
    alerts = recompute_alerts(spark, deployment, events.drop(PARTITION)).join(lost_ids, "alert_id", "left_semi")
    # By its newest event, so that a late alert that grew since, as after a redrive, replaces itself, and never the stream's.
    stream_ids = tables.read(spark, workspace.table("alerts")).where(came_through_kafka()).select("alert_id")
    late_rows = _table_rows(alerts).join(stream_ids, "alert_id", "left_anti")
    added_count = tables.upsert(late_rows, workspace.table("alerts"), tables.MergeRule(["alert_id"], "ingest_time"))
    return LateAlerts(event_count, lost_count, added_count)


def _table_rows(alerts: DataFrame) -> DataFrame:
    """The alerts in the shape of the table `alerts`, as ones that came through no topic."""
    return alerts.withColumns(
        {
            "first_event_time": F.col("event_time"),
            "alert_time": F.lit(datetime.now(UTC)),
            "topic": F.lit(None).cast("string"),
            "kafka_partition": F.lit(NO_PARTITION),
            "kafka_offset": F.lit(NO_OFFSET).cast("long"),
            PARTITION: F.to_date("event_time"),
        }
    ).select(*ALERTS_SCHEMA.names)
