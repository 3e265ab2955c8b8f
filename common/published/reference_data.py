"""What batch learnt, by version: baselines and models, published whole and read by streams that keep running.

A publication writes the rows of all its baselines under a new version, and then one row into the `versions` table:
that row is what puts the version in force, so a reader sees all of it or nothing. Old versions stay, for reconcile.

A static side of a streaming join is listed once, when the query starts. Reading it through a Python data source
makes Spark open the newest version again at every batch (in real-time mode: at every checkpoint interval).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import tables
from common.clock import after
from common.models.scoring import score_column
from common.models.storage import from_json
from common.models.training import TrainedModel
from common.published.versions import BASELINE, MODEL, LearntSource, Version, baseline_path, in_force, shape, versions_in
from common.vertical import Query, Vertical

VERSIONS_SCHEMA = T.StructType([
    T.StructField("kind", T.StringType()),
    T.StructField("version", T.StringType()),
    T.StructField("as_of", T.StringType()),
    T.StructField("created_at", T.TimestampType()),
    T.StructField("details", T.StringType()),
])
MODEL_SCHEMA = T.StructType([
    T.StructField("model_version", T.StringType()),
    T.StructField("model_parameters", T.ArrayType(T.DoubleType())),
])


@dataclass(frozen=True)
class Learnt:
    """What queries are joined with. scoring: the model whose structure the queries run; its parameters are data (in
    `model`) and change under a running query; a model of another structure needs the query restarted from its checkpoint.
    """

    baselines: Mapping[str, DataFrame]
    model: DataFrame
    scoring: TrainedModel | None = None


def publish_baselines(learnt: Mapping[str, DataFrame], vertical: Vertical, folder: str, as_of: str) -> Version:
    """Write every frame to `<folder>/baselines_<name>` under one new version and put that version in force."""
    # The time at which it begins makes the version unique, so that a publication killed half-way is never mistaken for its retry.
    begun = datetime.now(UTC)
    version = Version(BASELINE, f"{as_of}.{begun:%Y%m%d%H%M%S%f}", as_of, begun, {"tables": sorted(learnt)})
    for name, rows in learnt.items():
        columns = [F.col(field.name).cast(field.dataType) for field in vertical.baselines[name].schema]
        versioned = rows.select(*columns).withColumn("baseline_version", F.lit(version.version))
        path = baseline_path(folder, name)
        tables.ensure_table(path, versioned.schema, partition_by=["baseline_version"])
        tables.append(versioned, path, query=f"baselines-{version.version}", batch=0)
    # In force from now, not from when its rows began to be learnt: a batch of a query that began meanwhile read the one before.
    return put_in_force(replace(version, created_at=datetime.now(UTC)), folder)


def live(spark: SparkSession, folder: str, vertical: Vertical) -> Learnt:
    """Frames for streaming joins, each read again in its newest version at every batch."""
    frames = {
        name: followed(spark, folder, name, T.StructType([*baseline.schema, T.StructField("baseline_version", T.StringType())]))
        for name, baseline in vertical.baselines.items()
    }
    model = in_force(folder, MODEL)
    numbers = followed(spark, folder, MODEL, MODEL_SCHEMA, shape(model.details) if model else "")
    return Learnt(frames, numbers, model_of(model.details, vertical) if model else None)


def model_of(details: Mapping[str, Any], vertical: Vertical) -> TrainedModel:
    """The model that a version holds in its details. Raises UnsafeModel for one that is not the vertical's."""
    return from_json(details, vertical.model.features if vertical.model else ())


def with_learnt(events: DataFrame, learnt: Learnt, vertical: Vertical, query: Query, rule_settings: Any) -> DataFrame:
    """What `query` builds its alerts from: events with the baselines it asks for, prepared if it prepares them, and scored."""
    return with_model(prepared(with_baselines(events, learnt, vertical, query), query, rule_settings), learnt, vertical, query)


def with_baselines(events: DataFrame, learnt: Learnt, vertical: Vertical, query: Query) -> DataFrame:
    """Events joined with the baselines that `query` names, and `baseline_version`."""
    for name in query.baselines:
        rows = learnt.baselines[name].withColumnRenamed("baseline_version", f"{name}_baseline_version")
        events = events.join(F.broadcast(rows), vertical.baselines[name].key, "left")
    seen = [F.col(f"{name}_baseline_version") for name in query.baselines]
    return events.withColumn("baseline_version", F.coalesce(*seen)) if seen else events


def prepared(events: DataFrame, query: Query, rule_settings: Any) -> DataFrame:
    """The rows that the model is to score: the events, or what `query` makes of them."""
    return query.prepare(events, rule_settings) if query.prepare else events


def with_model(rows: DataFrame, learnt: Learnt, vertical: Vertical, query: Query) -> DataFrame:
    """Rows with the model's features, model_version and model_score, where `query` asks for them."""
    if not query.model or not vertical.model:
        return rows
    rows = vertical.model.with_features(rows.join(F.broadcast(learnt.model), how="left"))
    score = score_column(learnt.scoring) if learnt.scoring else F.lit(None).cast("double")
    return rows.withColumn("model_score", score)


def followed(spark: SparkSession, folder: str, name: str, schema: T.StructType, of_shape: str = "") -> DataFrame:
    """A baseline, the model (of that shape) or the thresholds, read again in the newest version whenever the frame is."""
    spark.dataSource.register(LearntSource)
    options = {"folder": folder, "name": name, "shape": of_shape}
    return spark.read.format("hybrid_learnt").schema(schema).options(**options).load()


def put_in_force(version: Version, folder: str) -> Version:
    """Append to the versions table: from now on `version` is the newest of its kind, whatever the clock did. As appended."""
    return publish(lambda _: version, folder)


def publish(choose: Callable[[list[Version]], Version], folder: str) -> Version:
    """Put in force what `choose` makes of all publications so far, oldest first; returned as it was published.

    Of several who publish at once each sees what those before it published: `choose` is then asked again. What it raises
    ends that, and nothing is published.
    """
    path, published = f"{folder}/versions", None
    tables.ensure_table(path, VERSIONS_SCHEMA)

    def row(table: DeltaTable) -> dict[str, Any]:
        nonlocal published
        before = versions_in(table)
        published = choose(before)
        if before and before[-1].created_at >= published.created_at:
            published = replace(published, created_at=after(before[-1].created_at))
        return {**published.__dict__, "details": json.dumps(published.details, sort_keys=True)}

    tables.append_row_after(row, VERSIONS_SCHEMA, path)
    assert published is not None
    return published
