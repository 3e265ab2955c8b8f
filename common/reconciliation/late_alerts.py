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
    behind = find_late_events(spark, deployment, events).select("event_id").distinct().count()
    compared = tables.read(spark, workspace.table("reconciled"))
    lost = compared.where("status = 'late' and stream_score is null").select("alert_id")
    count = lost.count()
    if not count:
        return LateAlerts(behind, 0, 0)
    alerts = recompute_alerts(spark, deployment, events.drop(PARTITION)).join(lost, "alert_id", "left_semi")
    # By the newest event behind it, so that one that grew since, as after a redrive, replaces itself, and never the stream's.
    raised = tables.read(spark, workspace.table("alerts")).where(came_through_kafka()).select("alert_id")
    stored = _as_stored(alerts).join(raised, "alert_id", "left_anti")
    added = tables.upsert(stored, workspace.table("alerts"), tables.MergeRule(["alert_id"], "ingest_time"))
    return LateAlerts(behind, count, added)


def _as_stored(alerts: DataFrame) -> DataFrame:
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
