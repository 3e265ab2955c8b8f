"""Scores the challenger beside the champion on the same rows of the stream, and keeps both scores in table `shadow`.

It raises no alert. It is a query of its own, in micro-batches a checkpoint interval apart, and runs only while there is a
challenger: it costs the real-time queries nothing, and a challenger of another structure starts it anew. It begins with the
records that come from then on.
"""

from confluent_kafka.admin import AdminClient
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.streaming import StreamingQuery

from common import contract, tables
from common.deployment import Deployment
from common.kafka.topics import topic_names
from common.models.scoring import with_score
from common.published.model_registry import challenger
from common.published.reference_data import live_reference_data, model_of, prepare_rows, with_baselines
from common.published.versions import MODEL, Version, in_force
from common.spark.session import use_pool
from common.streaming.checkpoint_topics import check_topics
from common.streaming.queries import read_topic
from common.vertical import Vertical

SIDES = ("champion", "challenger")

# The record of the newest event behind a row says which event was scored; in a session of several, the last of a batch.
SHADOW_SCHEMA = T.StructType(
    [
        T.StructField("kafka_partition", T.IntegerType()),
        T.StructField("kafka_offset", T.LongType()),
        T.StructField("ingest_time", T.TimestampType()),
        *[
            T.StructField(f"{side}_{column}", data_type)
            for side in SIDES
            for column, data_type in (("version", T.StringType()), ("score", T.DoubleType()))
        ],
    ]
)


def start_shadow(spark: SparkSession, deployment: Deployment) -> StreamingQuery | None:
    """Score the challenger, if there is one, beside the champion from now on."""
    vertical, workspace, connection = deployment.vertical, deployment.workspace, deployment.kafka
    candidate, champion = challenger(workspace.tables), in_force(workspace.tables, MODEL)
    if candidate is None or champion is None or vertical.model is None:
        return None
    use_pool(spark, "streams")
    path, name = workspace.table("shadow"), f"shadow-{candidate.version}"
    tables.ensure_table(path, SHADOW_SCHEMA)
    topic = topic_names(vertical).events
    admin = AdminClient(connection.client_options())
    check_topics(spark, admin, connection, workspace, {topic: [workspace.checkpoint(name)]})
    records = read_topic(spark, connection, topic, from_end=True)
    valid_events = contract.valid_events(records, vertical, contract.TimeBounds.from_settings(deployment.settings))
    query = next(query for query in vertical.queries if query.model)
    events = with_baselines(valid_events, live_reference_data(spark, workspace.tables, vertical), vertical, query)
    rows = prepare_rows(events, query, deployment.rules)

    def keep(batch: DataFrame, number: int) -> None:
        tables.append(batch, path, query=tables.query_id(batch), batch=number)

    return (
        score_both(vertical.model.with_features(rows), vertical, champion, candidate)
        .writeStream.queryName(f"{vertical.name}.{name}")
        .foreachBatch(keep)
        .option("checkpointLocation", workspace.checkpoint(name))
        .outputMode("update")
        .trigger(processingTime=f"{deployment.settings.checkpoint_interval} seconds")
        .start()
    )


def score_both(rows: DataFrame, vertical: Vertical, champion: Version, candidate: Version) -> DataFrame:
    """Rows of features in the shape of SHADOW_SCHEMA."""
    for side, model in zip(SIDES, (champion, candidate), strict=True):
        scored = with_score(rows, model_of(model.details, vertical)).drop("model_parameters")
        rows = scored.withColumnsRenamed({"model_version": f"{side}_version", "model_score": f"{side}_score"})
    return rows.select(*SHADOW_SCHEMA.names)
