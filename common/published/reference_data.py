"""Publishes the reference data of running queries under versions, and joins events with it: baselines, model and thresholds.

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
from common.clock import now_after
from common.models.scoring import score_column
from common.models.storage import from_json
from common.models.training import TrainedModel
from common.published.versions import BASELINE, MODEL, InForceSource, Version, baseline_path, in_force, shape_of, versions_in
from common.vertical import Query, Vertical

VERSIONS_SCHEMA = T.StructType(
    [
        T.StructField("kind", T.StringType()),
        T.StructField("version", T.StringType()),
        T.StructField("as_of", T.StringType()),
        T.StructField("created_at", T.TimestampType()),
        T.StructField("details", T.StringType()),
    ]
)
MODEL_SCHEMA = T.StructType(
    [
        T.StructField("model_version", T.StringType()),
        T.StructField("model_parameters", T.ArrayType(T.DoubleType())),
    ]
)


@dataclass(frozen=True)
class ReferenceData:
    """What a query's events are joined with: a frame by baseline, and one row of the model's version and parameters.

    scoring: the model whose structure the queries run; its parameters are data (in `model`) and change under a running query; a
    model of another structure needs the query restarted from its checkpoint.
    """

    baselines: Mapping[str, DataFrame]
    model: DataFrame
    scoring: TrainedModel | None = None


def publish_baselines(frames: Mapping[str, DataFrame], vertical: Vertical, folder: str, as_of: str) -> Version:
    """Write every frame to `<folder>/baselines_<name>` under one new version and put that version in force."""
    # The time at which it begins makes the version unique, so that a publication killed half-way is never mistaken for its retry.
    started_at = datetime.now(UTC)
    version = Version(BASELINE, f"{as_of}.{started_at:%Y%m%d%H%M%S%f}", as_of, started_at, {"tables": sorted(frames)})
    for name, rows in frames.items():
        columns = [F.col(field.name).cast(field.dataType) for field in vertical.baselines[name].schema]
        versioned = rows.select(*columns).withColumn("baseline_version", F.lit(version.version))
        path = baseline_path(folder, name)
        tables.ensure_table(path, versioned.schema, partition_by=["baseline_version"])
        tables.append(versioned, path, query=f"baselines-{version.version}", batch=0)
    # In force from now, not from `started_at`: a query's batch that began meanwhile has read the version before.
    return put_in_force(replace(version, created_at=datetime.now(UTC)), folder)


def live_reference_data(spark: SparkSession, folder: str, vertical: Vertical) -> ReferenceData:
    """Frames for streaming joins, each read again in its newest version at every batch."""
    version = T.StructField("baseline_version", T.StringType())
    frames = {
        name: read_in_force(spark, folder, name, T.StructType([*baseline.schema, version]))
        for name, baseline in vertical.baselines.items()
    }
    model = in_force(folder, MODEL)
    parameters = read_in_force(spark, folder, MODEL, MODEL_SCHEMA, shape_of(model.details) if model else "")
    return ReferenceData(frames, parameters, model_of(model.details, vertical) if model else None)


def model_of(details: Mapping[str, Any], vertical: Vertical) -> TrainedModel:
    """The model that a version holds in its details. Raises UnsafeModel for one that is not the vertical's."""
    return from_json(details, vertical.model.features if vertical.model else ())


def join_reference_data(events: DataFrame, data: ReferenceData, vertical: Vertical, query: Query, rules: Any) -> DataFrame:
    """The rows that `query` builds its alerts from: events with its baselines, prepared where it prepares them, and scored."""
    return with_model(prepare_rows(with_baselines(events, data, vertical, query), query, rules), data, vertical, query)


def with_baselines(events: DataFrame, data: ReferenceData, vertical: Vertical, query: Query) -> DataFrame:
    """Events joined with the baselines that `query` names, and `baseline_version`."""
    for name in query.baselines:
        rows = data.baselines[name].withColumnRenamed("baseline_version", f"{name}_baseline_version")
        events = events.join(F.broadcast(rows), vertical.baselines[name].key, "left")
    version_columns = [F.col(f"{name}_baseline_version") for name in query.baselines]
    return events.withColumn("baseline_version", F.coalesce(*version_columns)) if version_columns else events


def prepare_rows(events: DataFrame, query: Query, rules: Any) -> DataFrame:
    """The rows that the model is to score: the events, or what `query` makes of them."""
    return query.prepare(events, rules) if query.prepare else events


def with_model(rows: DataFrame, data: ReferenceData, vertical: Vertical, query: Query) -> DataFrame:
    """Rows with the model's features, model_version and model_score, where `query` asks for them."""
    if not query.model or not vertical.model:
        return rows
    rows = vertical.model.with_features(rows.join(F.broadcast(data.model), how="left"))
    score = score_column(data.scoring) if data.scoring else F.lit(None).cast("double")
    return rows.withColumn("model_score", score)


def read_in_force(spark: SparkSession, folder: str, name: str, schema: T.StructType, shape: str = "") -> DataFrame:
    """A baseline, the model (of that shape) or the thresholds: in the version in force whenever the frame is evaluated."""
    spark.dataSource.register(InForceSource)
    options = {"folder": folder, "name": name, "shape": shape}
    return spark.read.format(InForceSource.name()).schema(schema).options(**options).load()


def put_in_force(version: Version, folder: str) -> Version:
    """Append to the versions table: `version` is the newest of its kind from now on, whatever the clock did. As appended."""
    return publish(lambda _: version, folder)


def publish(choose: Callable[[list[Version]], Version], folder: str) -> Version:
    """Put in force the version that `choose` makes of all versions so far, oldest first; returned as it was published.

    Where another process publishes at the same moment, `choose` is called again with the other's version among them. If it
    raises, nothing is published.
    """
    path, published_version = f"{folder}/versions", None
    tables.ensure_table(path, VERSIONS_SCHEMA)

    def row(table: DeltaTable) -> dict[str, Any]:
        nonlocal published_version
        earlier_versions = versions_in(table)
        version = choose(earlier_versions)
        if earlier_versions and earlier_versions[-1].created_at >= version.created_at:
            version = replace(version, created_at=now_after(earlier_versions[-1].created_at))
        published_version = version
        return {**version.__dict__, "details": json.dumps(version.details, sort_keys=True)}

    tables.append_row_after(row, VERSIONS_SCHEMA, path)
    assert published_version is not None
    return published_version
