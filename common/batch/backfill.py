"""Writes simulated history straight into Delta tables, days in parallel, by the generator and the seed of the live stream."""

import os
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from common import tables
from common.archive.archive_tables import LABELS_SCHEMA, NO_PARTITION, PARTITION, ensure_tables, events_schema, is_backfilled
from common.deployment import Deployment
from common.errors import UserError
from common.privacy.pseudonyms import entity_pseudonym, with_pseudonyms
from common.simulation.generated_events import GeneratedEvents
from common.vertical import Vertical
from common.workspace import Workspace

# A day's labels travel beside its events as one more column, so that the generator runs once.
LABEL = T.StructField(
    "label",
    T.StructType(
        [
            T.StructField("scenario", T.StringType()),
            T.StructField("case_id", T.StringType()),
            T.StructField("known_time", T.TimestampType()),
        ]
    ),
)


class OtherHistory(UserError):
    """Some of the days were backfilled before, by another seed or for another number of days; the message says which."""


def backfill(spark: SparkSession, deployment: Deployment, seed: int, start: date, days: int, population: BaseModel) -> int:
    """Write `days` days from `start` to `events` and `labels`; returns the number of events written.

    Idempotent: the same seed, start and days a second time add nothing, whatever the generator would make of them now; other
    days that overlap with what is there raise OtherHistory. ingest_time is the simulated time of arrival; as no Kafka record
    stands behind a row, its partition is -1 and its offset counts within the day.
    """
    vertical, workspace = deployment.vertical, deployment.workspace
    name = f"backfill-{seed}-{start}-{days}"
    ensure_tables(vertical, workspace)
    _check_days(spark, workspace, name, start, days)
    labelled_events = _generate_days(spark, vertical, seed, start, days, population).persist()
    try:
        labels = labelled_events.where("label is not null").select(
            F.col(vertical.event_id).alias("event_id"),
            entity_pseudonym(vertical, F.col(vertical.entity)).alias("entity_id"),
            "label.scenario",
            "label.case_id",
            F.col(vertical.event_time).alias("event_time"),
            "label.known_time",
        )
        events = labelled_events.select(*with_pseudonyms(vertical, events_schema(vertical).names))
        event_count = tables.append(events, workspace.table("events"), query=name, batch=0)
        tables.append(labels.select(*LABELS_SCHEMA.names), workspace.table("labels"), query=name, batch=0)
        return event_count
    finally:
        labelled_events.unpersist()


def _check_days(spark: SparkSession, workspace: Workspace, name: str, start: date, days: int) -> None:
    path = workspace.table("events")
    if tables.open_table(path).transaction_version(name) is not None:
        return
    new_days = [start + timedelta(days=number) for number in range(days)]
    backfilled = tables.read(spark, path, new_days, [PARTITION, "kafka_partition"]).where(is_backfilled())
    first_day, last_day = backfilled.agg(F.min(PARTITION), F.max(PARTITION)).first()  # type: ignore[misc]
    if first_day:
        raise OtherHistory(
            f"of these days {first_day} to {last_day} were backfilled into {path} before, by another seed or for another number "
            "of days: use another data folder, or a --start behind them"
        )


def _generate_days(
    spark: SparkSession, vertical: Vertical, seed: int, start: date, days: int, population: BaseModel
) -> DataFrame:
    """The events table's rows and their labels; a day depends on nothing but the seed and itself."""
    schema = T.StructType([*events_schema(vertical).fields, LABEL])
    arrow_schema = to_arrow_schema(schema, timezone="UTC")
    generate_day, event_id = vertical.generate_day, vertical.event_id

    def make_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column("id").to_pylist():
                day = start + timedelta(days=number)
                yield from _rows(generate_day(seed, day, population), day, event_id, arrow_schema).to_batches(20_000)

    # A Python worker a core: a local session has many more slots than cores, and each worker takes its memory.
    context = spark.sparkContext
    workers = (os.cpu_count() or 1) if (context.master or "").startswith("local") else context.defaultParallelism
    return spark.range(0, days, 1, numPartitions=min(days, workers)).mapInArrow(make_rows, schema)


def _rows(chunk: GeneratedEvents, day: date, event_id: str, schema: pa.Schema) -> pa.Table:
    """A day's events with the columns of the events table, and their labels as column `label`."""
    events, labels = chunk.events, chunk.labels
    count = events.num_rows
    position = {name: row for row, name in enumerate(labels.column("event_id").to_pylist())}
    label_rows = [position.get(name) for name in events.column(event_id).to_pylist()]
    label_values = labels.select(["scenario", "case_id", "known_time"]).to_pylist()
    label = [None if row is None else label_values[row] for row in label_rows]
    columns = {name: events.column(name) for name in events.column_names} | {
        "ingest_time": pa.array(chunk.arrival_time.astype("datetime64[us]")).cast(pa.timestamp("us", tz="UTC")),
        "topic": pa.nulls(count, pa.string()),
        "kafka_partition": pa.array(np.full(count, NO_PARTITION, np.int32)),
        "kafka_offset": pa.array(np.arange(count, dtype=np.int64)),
        PARTITION: pa.array([day] * count, pa.date32()),
        "label": pa.array(label, schema.field("label").type),
    }
    return pa.table(
        [columns[name].cast(schema.field(name).type) if name != "label" else columns[name] for name in schema.names],
        schema=schema,
    )
