"""The challenger on the stream: scored beside the champion on the same rows, kept in table `shadow`, never alerted.

A query of its own, in micro-batches a checkpoint interval apart, that runs only while there is a challenger: it costs the
real-time queries nothing, and a challenger of another structure starts it anew. It begins with what comes from then on.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
from confluent_kafka.admin import AdminClient
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.streaming import StreamingQuery

from common import contract, tables
from common.batch.as_of_day import until_today
from common.batch.batch import history
from common.kafka.connection import Connection
from common.kafka.topics import topic_names
from common.models.metrics import ranking_metrics
from common.models.protocol import with_labels
from common.models.scoring import with_score
from common.published.model_registry import challenger
from common.published.reference_data import live, model_of, prepared, with_baselines
from common.published.versions import MODEL, Version, in_force
from common.settings import Settings
from common.spark.session import use_pool
from common.streaming.checkpoint_topics import check_topics, of_present_topic
from common.streaming.queries import read_topic
from common.vertical import Vertical
from common.workspace import Workspace

SIDES = ("champion", "challenger")

# The record of the newest event behind a row says which event was scored; in a session of several, the last of a batch.
SHADOW_SCHEMA = T.StructType([
    T.StructField("kafka_partition", T.IntegerType()),
    T.StructField("kafka_offset", T.LongType()),
    T.StructField("ingest_time", T.TimestampType()),
    *[T.StructField(f"{side}_{what}", kind) for side in SIDES
      for what, kind in (("version", T.StringType()), ("score", T.DoubleType()))],
])


@dataclass(frozen=True)
class Compared:
    """Both models on the same labelled events of the stream; metrics as `common.models.metrics` has them."""

    events: int
    champion: dict[str, float]
    challenger: dict[str, float]

    def line(self) -> str:
        """Both in one line."""
        one, other = (f"{side['average_precision']:.3f}" for side in (self.challenger, self.champion))
        return f"average precision {one} against {other} of the champion, on {self.events:,} events"

    def is_better(self, margin: float) -> bool:
        """Whether the challenger's average precision lies above the champion's by `margin` or more."""
        # A measure that is not a number, as without anomalies, proves nothing.
        return self.challenger["average_precision"] - self.champion["average_precision"] >= margin


def start_shadow(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, connection: Connection, settings: Settings, rule_settings: Any
) -> StreamingQuery | None:
    """Score the challenger, if there is one, beside the champion from now on."""
    waiting, champion = challenger(workspace.tables), in_force(workspace.tables, MODEL)
    if waiting is None or champion is None or vertical.model is None:
        return None
    use_pool(spark, "streams")
    path, name = workspace.table("shadow"), f"shadow-{waiting.version}"
    tables.ensure_table(path, SHADOW_SCHEMA)
    topic = topic_names(vertical).events
    admin = AdminClient(connection.client_options())
    check_topics(spark, admin, connection, workspace, {topic: [workspace.checkpoint(name)]})
    records = read_topic(spark, connection, topic, from_end=True)
    accepted = contract.accepted(records, vertical, contract.TimeBounds.of(settings))
    query = next(query for query in vertical.queries if query.model)
    known = with_baselines(accepted, live(spark, workspace.tables, vertical), vertical, query)
    rows = prepared(known, query, rule_settings)

    def keep(batch: DataFrame, number: int) -> None:
        tables.append(batch, path, query=tables.query_of(batch), batch=number)

    return (
        scored(vertical.model.with_features(rows), vertical, champion, waiting)
        .writeStream.queryName(f"{vertical.name}.{name}")
        .foreachBatch(keep)
        .option("checkpointLocation", workspace.checkpoint(name))
        .outputMode("update")
        .trigger(processingTime=f"{settings.checkpoint_interval} seconds")
        .start()
    )


def scored(rows: DataFrame, vertical: Vertical, champion: Version, waiting: Version) -> DataFrame:
    """Rows of features in the shape of SHADOW_SCHEMA."""
    for side, model in zip(SIDES, (champion, waiting), strict=True):
        with_one = with_score(rows, model_of(model.details, vertical)).drop("model_parameters")
        rows = with_one.withColumnsRenamed({"model_version": f"{side}_version", "model_score": f"{side}_score"})
    return rows.select(*SHADOW_SCHEMA.names)


def compare(spark: SparkSession, vertical: Vertical, workspace: Workspace) -> Compared | None:
    """Champion and challenger on the events that both scored live and whose labels are known by now; None without any."""
    waiting, champion = challenger(workspace.tables), in_force(workspace.tables, MODEL)
    path = workspace.table("shadow")
    if waiting is None or champion is None or not tables.table_exists(path):
        return None
    events, labels, _ = history(spark, workspace)
    now = until_today(events).agg(F.max(vertical.event_time)).first()[0]  # type: ignore[index]
    if now is None:
        return None
    old_enough = F.col(vertical.event_time) <= F.lit(now - timedelta(seconds=vertical.label_delay.total_seconds()))
    is_theirs = (F.col("champion_version") == champion.version) & (F.col("challenger_version") == waiting.version)
    scores = tables.read(spark, path).where(is_theirs).withColumnRenamed("ingest_time", "scored_until")
    # Of the topic that is there now, as places of one before it are those of other events; unknown in rows of an earlier version.
    came = of_present_topic(events.where(old_enough), workspace, topic_names(vertical).events)
    is_its = F.coalesce(F.col("scored_until") >= F.col("ingest_time"), F.lit(True))
    rows = came.join(scores, ["kafka_partition", "kafka_offset"]).where(is_its).drop("scored_until")
    labelled = with_labels(vertical, events, rows, labels.where(F.col("known_time") <= F.lit(now)))
    day, entity = F.to_date(vertical.event_time).alias("day"), F.col(vertical.entity).alias("entity")
    told: pd.DataFrame = labelled.select(day, entity, "label", *[f"{side}_score" for side in SIDES]).toPandas()
    if told.empty:
        return None
    measured = [ranking_metrics(told.rename(columns={f"{side}_score": "score"})) for side in SIDES]
    return Compared(len(told), *measured)
