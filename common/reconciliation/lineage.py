"""Reads the lineage: which versions judged which offsets, under which watermark (table `judged`, see `progress_log`).

Reconcile needs it: history has to be judged by the versions that judged it live, and an event is late only where the watermark
of its own batch had passed it.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common import tables
from common.deployment import Deployment
from common.errors import UserError
from common.kafka.topics import topic_names
from common.published.versions import BASELINE, MODEL, SETTINGS, newest, versions
from common.streaming.checkpoint_topics import present_since
from common.streaming.lineage_rows import BEYOND, VERSIONS, merge_neighbours, read_rows
from common.vertical import Query
from common.workspace import Workspace

BUCKET_OFFSETS = 4_096  # offsets of a partition that are joined together
MAX_BROADCAST_RANGES = 100_000  # more are not sent to each task


class NoLineage(UserError):
    """The lineage has no row of a query: it never ran over this data."""


@dataclass(frozen=True)
class OffsetRange:
    """Offsets [start, end) of a partition (None: of any), and the versions that judged them.

    settings: "" before thresholds were published; None where the batch had nothing to judge.
    """

    partition: int | None
    start: int
    end: int
    baseline: str | None
    model: str | None
    settings: str | None


def read_ranges(workspace: Workspace, query: Query) -> list[OffsetRange]:
    """What judged each offset, without gaps or overlap from offset 0 to BEYOND, by the progress that `query` reported.

    How its reports are merged: `lineage_rows`. What lies beyond them was judged by the batch that was under way in the end: by
    the versions in force when the last progress was reported.

    Raises NoLineage.
    """
    return _to_ranges(merge_neighbours(_ranges(workspace, query, _read_reports(workspace, query)), VERSIONS))


def _to_ranges(ranges: pd.DataFrame) -> list[OffsetRange]:
    fields = ranges[["kafka_partition", "start_offset", "end_offset", *VERSIONS]].astype(object)
    return [OffsetRange(*row) for row in fields.where(fields.notna(), None).itertuples(index=False)]


def _read_reports(workspace: Workspace, query: Query) -> pd.DataFrame:
    """The merged rows of one query, in the order in which its batches ended. Raises NoLineage where there is none."""
    rows: pd.DataFrame = read_rows(workspace.table("judged"), query.name).to_pandas()
    if since := present_since(workspace, topic_names(workspace.vertical).events):
        rows = rows[rows["ended_at"] >= since]  # until the new checkpoint's first batch has ended, others are of the topic before
    if rows.empty:
        raise NoLineage(f"query {query.name} has judged nothing yet: start detect, or run, on this data first")
    return rows


def _ranges(workspace: Workspace, query: Query, rows: pd.DataFrame) -> pd.DataFrame:
    """By partition and offset: kafka_partition, start_offset, end_offset, the versions and the watermark. None: any partition."""
    known_versions = [version for version in versions(workspace.tables) if version.created_at <= rows["ended_at"].max()]
    in_force = {kind: getattr(newest(known_versions, kind), "version", None) for kind in (BASELINE, MODEL, SETTINGS)}
    beyond = {
        "end_offset": BEYOND,
        "baseline_version": in_force[BASELINE],
        "model_version": in_force[MODEL] if query.model else None,
        "settings_version": in_force[SETTINGS] or "",
        "watermark": rows["watermark"].max(),
    }
    of_partitions = rows[rows["kafka_partition"].notna()]
    if of_partitions.empty:
        return pd.DataFrame([{"kafka_partition": None, "start_offset": 0, **beyond}])
    ends = of_partitions.groupby("kafka_partition")["end_offset"].transform("max")
    open_ranges = of_partitions.assign(start_offset=ends).drop_duplicates("kafka_partition")
    open_ranges.loc[:, list(beyond)] = list(beyond.values())  # in place, as then columns of nothing but nulls keep their types
    finished_ranges = of_partitions[of_partitions["start_offset"] < of_partitions["end_offset"]]
    ranges = pd.concat([finished_ranges, open_ranges], ignore_index=True)
    ranges = ranges.astype(dict.fromkeys(["kafka_partition", "start_offset", "end_offset"], "int64"))
    return ranges.sort_values(["kafka_partition", "start_offset"], ignore_index=True)


@dataclass(frozen=True)
class Era:
    """A stretch of a query's life under the same thresholds: the offsets judged in it, and the newest watermark in it.

    The watermark of an append query is of batches in which something closed: those alone had rows to judge.
    """

    settings: str
    ranges: list[OffsetRange]
    watermark: datetime | None


def settings_eras(workspace: Workspace, query: Query) -> list[Era]:
    """What `query` judged, by the thresholds it judged with, in the order in which they were in force.

    A batch that had nothing to judge counts to the one before it, as it makes no difference.
    """
    rows = _read_reports(workspace, query)
    ranges = _ranges(workspace, query, rows)
    ranges["settings_version"] = ranges.groupby("kafka_partition", dropna=False)["settings_version"].ffill().fillna("")
    of_version = dict(iter(merge_neighbours(ranges, VERSIONS).groupby("settings_version")))
    watermarks = rows.dropna(subset=["watermark"]).groupby("settings_version")["watermark"].max().to_dict()
    in_order = ["", *dict.fromkeys(change.version for change in versions(workspace.tables) if change.kind == SETTINGS)]
    return [
        Era(version, _to_ranges(of_version[version]) if version in of_version else [], watermarks.get(version))
        for version in in_order
        if version in of_version or version in watermarks
    ]


def finished_ends(workspace: Workspace) -> dict[tuple[str, int], int]:
    """By query and partition, the offset up to which batches of its newest checkpoint have ended; empty before any did."""
    path = workspace.table("judged")
    if not tables.table_exists(path):
        return {}
    ends = {}
    for query in tables.read_arrow(path, columns=["query"])["query"].unique().to_pylist():
        rows = read_rows(path, query).to_pandas().dropna(subset=["kafka_partition"])
        for partition, end in rows.groupby("kafka_partition")["end_offset"].max().items():
            ends[query, int(partition)] = int(end)
    return ends


def find_late_events(spark: SparkSession, deployment: Deployment, events: DataFrame) -> DataFrame:
    """event_id, rule and late_seconds of the events that were behind the watermark when a rule's query came to them."""
    vertical, workspace = deployment.vertical, deployment.workspace
    queries = [query for query in vertical.queries if query.stateful and query.rules]
    ranges_by_query = [
        _ranges(workspace, query, _read_reports(workspace, query)).dropna(subset=["watermark"]).assign(number=number)
        for number, query in enumerate(queries, 1)
    ]
    last_offset = events.agg(F.max("kafka_offset")).first()[0]  # type: ignore[index]
    if last_offset is None or all(ranges.empty for ranges in ranges_by_query):
        return spark.createDataFrame([], "event_id string, rule string, late_seconds double")
    bucket_rows = _bucket_rows(pd.concat(ranges_by_query, ignore_index=True), last_offset)
    ranges = spark.createDataFrame(bucket_rows)
    ranges = F.broadcast(ranges) if bucket_rows.num_rows <= MAX_BROADCAST_RANGES else ranges
    # By buckets of offsets, as otherwise each event would be compared with each range.
    bucket = F.floor(F.col("kafka_offset") / BUCKET_OFFSETS)
    with_buckets = events.withColumns({"partition": F.col("kafka_partition"), "bucket": bucket})
    time = F.col(vertical.event_time)
    is_inside = (F.col("kafka_offset") >= F.col("start_offset")) & (F.col("kafka_offset") < F.col("end_offset"))
    late_events = with_buckets.join(ranges, ["partition", "bucket"]).where(is_inside & (time < F.col("watermark")))
    rules = F.array(*[F.array(*[F.lit(rule.name) for rule in query.rules]) for query in queries])
    late_seconds = (F.unix_millis("watermark") - F.unix_millis(time)) / 1000
    return late_events.select(
        F.col(vertical.event_id).alias("event_id"),
        F.explode(F.element_at(rules, F.col("number"))).alias("rule"),
        late_seconds.alias("late_seconds"),
    )


def _bucket_rows(ranges: pd.DataFrame, last_offset: int) -> pa.Table:
    """The ranges up to offset `last_offset`, each once for every bucket of offsets that it has a part in."""
    ranges = ranges[ranges["start_offset"] <= last_offset].astype({"kafka_partition": "int32", "number": "int32"})
    first_bucket = ranges["start_offset"].to_numpy() // BUCKET_OFFSETS
    times = (np.minimum(ranges["end_offset"].to_numpy() - 1, last_offset)) // BUCKET_OFFSETS - first_bucket + 1
    copies = np.repeat(np.arange(len(ranges)), times)
    nth = np.arange(len(copies)) - np.repeat(np.cumsum(times) - times, times)
    rows = ranges.iloc[copies].assign(bucket=first_bucket[copies] + nth).rename(columns={"kafka_partition": "partition"})
    columns = ["partition", "bucket", "start_offset", "end_offset", "watermark", "number"]
    return pa.Table.from_pandas(rows[columns], preserve_index=False)
