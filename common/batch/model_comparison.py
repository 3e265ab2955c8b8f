"""Compares the challenger with the champion on events that both scored live (table `shadow`) and whose labels are known."""

from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from common import tables
from common.archive.history import read_history, until_today
from common.deployment import Deployment
from common.kafka.topics import topic_names
from common.models.metrics import ranking_metrics
from common.models.protocol import with_labels
from common.published.model_registry import challenger
from common.published.versions import MODEL, in_force
from common.streaming.checkpoint_topics import of_present_topic
from common.streaming.shadow import SHADOW_SCHEMA, SIDES


@dataclass(frozen=True)
class ModelComparison:
    """Both models on the same labelled events of the stream; metrics as `common.models.metrics` has them."""

    events: int
    champion: dict[str, float]
    challenger: dict[str, float]

    def describe(self) -> str:
        """Both average precisions in one line, for people."""
        challenger, champion = (f"{metrics['average_precision']:.3f}" for metrics in (self.challenger, self.champion))
        return f"average precision {challenger} against {champion} of the champion, on {self.events:,} events"

    def is_better(self, margin: float) -> bool:
        """Whether the challenger's average precision lies above the champion's by `margin` or more."""
        # A measure that is not a number, as without anomalies, proves nothing.
        return self.challenger["average_precision"] - self.champion["average_precision"] >= margin


def compare_models(spark: SparkSession, deployment: Deployment) -> ModelComparison | None:
    """Champion and challenger on the events that both scored live and whose labels are known by now; None without any."""
    vertical, workspace = deployment.vertical, deployment.workspace
    candidate, champion = challenger(workspace.tables), in_force(workspace.tables, MODEL)
    path = workspace.table("shadow")
    if candidate is None or champion is None or not tables.table_exists(path):
        return None
    tables.ensure_table(path, SHADOW_SCHEMA)  # an earlier version's lacks columns
    events, labels, _ = read_history(spark, workspace)
    newest_time = until_today(events).agg(F.max(vertical.event_time)).first()[0]  # type: ignore[index]
    if newest_time is None:
        return None
    is_old_enough = F.col(vertical.event_time) <= F.lit(newest_time - timedelta(seconds=vertical.label_delay.total_seconds()))
    is_of_both = (F.col("champion_version") == champion.version) & (F.col("challenger_version") == candidate.version)
    scores = tables.read(spark, path).where(is_of_both).withColumnRenamed("ingest_time", "scored_until")
    # Of the topic that is there now, as places of one before it are those of other events; unknown in rows of an earlier version.
    topic_events = of_present_topic(events.where(is_old_enough), workspace, topic_names(vertical).events)
    is_scored_after = F.coalesce(F.col("scored_until") >= F.col("ingest_time"), F.lit(True))
    rows = topic_events.join(scores, ["kafka_partition", "kafka_offset"]).where(is_scored_after).drop("scored_until")
    labelled_rows = with_labels(vertical, events, rows, labels.where(F.col("known_time") <= F.lit(newest_time)))
    day, entity = F.to_date(vertical.event_time).alias("day"), F.col(vertical.entity).alias("entity")
    both_scores: pd.DataFrame = labelled_rows.select(day, entity, "label", *[f"{side}_score" for side in SIDES]).toPandas()
    if both_scores.empty:
        return None
    metrics = [ranking_metrics(both_scores.rename(columns={f"{side}_score": "score"})) for side in SIDES]
    champion_metrics, challenger_metrics = metrics
    return ModelComparison(len(both_scores), champion_metrics, challenger_metrics)
