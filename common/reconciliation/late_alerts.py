"""What came too late for the stream: the events are in `events`, and the alerts that they would have raised join `alerts` here.

Such an alert came through no topic: its kafka_partition and kafka_offset are -1, as a backfilled event's partition is. It has
no part in comparisons of the stream with history or with labels (see `batch.came_live`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common import tables
from common.archive.archive_tables import ALERTS_SCHEMA, PARTITION
from common.batch.batch import came_live
from common.kafka.topics import topic_names
from common.reconciliation.lineage import late_events
from common.reconciliation.reconcile import judged_again
from common.streaming.checkpoint_topics import of_present_topic
from common.vertical import Vertical
from common.workspace import Workspace

NOWHERE = -1


@dataclass(frozen=True)
class Late:
    """events: those behind the watermark of a query that came to them; alerts: those lost to it; added: new in `alerts`."""

    events: int
    alerts: int
    added: int


def keep_late(spark: SparkSession, vertical: Vertical, workspace: Workspace, rule_settings: object) -> Late:
    """After `reconcile`: put the alerts that only the watermark lost into `alerts`, each once, however often this is done."""
    events = of_present_topic(came_live(spark, workspace)[0], workspace, topic_names(vertical).events)
    behind = late_events(spark, vertical, workspace, events).select("event_id").distinct().count()
    compared = tables.read(spark, workspace.table("reconciled"))
    lost = compared.where("status = 'late' and stream_score is null").select("alert_id")
    count = lost.count()
    if not count:
        return Late(behind, 0, 0)
    found = judged_again(spark, vertical, workspace, events.drop(PARTITION), rule_settings).join(lost, "alert_id", "left_semi")
    # By the newest event behind it, so that one that grew since, as after a redrive, replaces itself, and never the stream's.
    raised = tables.read(spark, workspace.table("alerts")).where("kafka_offset >= 0").select("alert_id")
    stored = _as_stored(found).join(raised, "alert_id", "left_anti")
    return Late(behind, count, tables.upsert(stored, workspace.table("alerts"), ["alert_id"], "ingest_time"))


def _as_stored(alerts: DataFrame) -> DataFrame:
    return alerts.withColumns({
        "first_event_time": F.col("event_time"),
        "alert_time": F.lit(datetime.now(UTC)),
        "topic": F.lit(None).cast("string"),
        "kafka_partition": F.lit(NOWHERE),
        "kafka_offset": F.lit(NOWHERE).cast("long"),
        PARTITION: F.to_date("event_time"),
    }).select(*ALERTS_SCHEMA.names)
