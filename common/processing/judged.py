"""Which versions judged which offsets, and under which watermark: table `judged`, written as batches end (`recording`).

Reconcile needs it: history is to be judged by what judged it live, and an event is late only where the watermark of
its own batch had passed it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import tables
from common.processing.versions import BASELINE, MODEL, SETTINGS, versions
from common.vertical import Query, Vertical
from common.workspace import Workspace

BEYOND = 1 << 62  # after any offset

JUDGED_SCHEMA = T.StructType(
    [
        T.StructField("query", T.StringType()),
        T.StructField("checkpoint", T.StringType()),
        T.StructField("batch", T.LongType()),
        T.StructField("kafka_partition", T.IntegerType()),
        T.StructField("start_offset", T.LongType()),
        T.StructField("end_offset", T.LongType()),
        T.StructField("baseline_version", T.StringType()),
        T.StructField("model_version", T.StringType()),
        T.StructField("settings_version", T.StringType()),
        T.StructField("watermark", T.TimestampType()),
        T.StructField("ended_at", T.TimestampType()),
    ]
)


class NothingJudged(Exception):
    """A query is not on record: it never ran over this data."""


@dataclass(frozen=True)
class Judged:
    """Offsets [start, end) of a partition (None: of any), the versions that judged them, and the watermark they met.

    settings: "" before thresholds were published; None where the batch had nothing to judge.
    """

    partition: int | None
    start: int
    end: int
    baseline: str | None
    model: str | None
    settings: str | None
    watermark: datetime | None


def judged_ranges(workspace: Workspace, query: Query) -> list[Judged]:
    """What judged each offset, without gaps or overlap from offset 0 to BEYOND, by the progress that `query` reported.

    Of several attempts at a batch the last counts, and of several checkpoints, for a new one judges all anew. A batch that
    ended without a report (a kill came between) is taken to be judged as the one after it. What lies beyond was judged by
    the batch that was under way in the end: by the versions in force when the last progress was reported.

    Raises NothingJudged.
    """
    return _ranges(workspace, query, _reported(workspace).get(query.name, []))


def _ranges(workspace: Workspace, query: Query, rows: list[dict[str, Any]]) -> list[Judged]:
    if not rows:
        raise NothingJudged(f"query {query.name} has judged nothing yet: start detect, or run, on this data first")
    last_try = {(row["batch"], row["kafka_partition"]): row for row in rows if row["kafka_partition"] is not None}
    reported = [
        Judged(row["kafka_partition"], row["start_offset"], row["end_offset"], row["baseline_version"], row["model_version"],
               row["settings_version"], row["watermark"])
        for row in last_try.values()
    ]  # fmt: skip
    then = max(row["ended_at"] for row in rows)
    found = [version for version in versions(workspace.tables) if version.created_at <= then]
    in_force = {kind: next((v.version for v in reversed(found) if v.kind == kind), None) for kind in (BASELINE, MODEL, SETTINGS)}
    model = in_force[MODEL] if query.model else None
    watermark = max((each.watermark for each in reported if each.watermark), default=None)
    beyond = Judged(None, 0, BEYOND, in_force[BASELINE], model, in_force[SETTINGS] or "", watermark)
    by_partition = groupby(sorted(reported, key=lambda each: (each.partition or 0, each.start)), lambda each: each.partition)
    return [each for partition, own in by_partition for each in _gapless(partition, list(own), beyond)] or [beyond]


def _reported(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    """By query the rows of its newest checkpoint, as they were written; those of its starts have no checkpoint."""
    if not tables.table_exists(workspace.table("judged")):
        return {}
    rows = tables.read_arrow(workspace.table("judged")).sort_by("ended_at").to_pylist()
    newest = {row["query"]: row["checkpoint"] for row in rows if row["checkpoint"]}
    reported = defaultdict(list)
    for row in rows:
        if row["checkpoint"] == newest.get(row["query"]) or row["kafka_partition"] is None:
            reported[row["query"]].append(row)
    return reported


@dataclass(frozen=True)
class Era:
    """A stretch of a query's life under the same thresholds: the offsets judged in it, and the newest watermark in it.

    The watermark of an append query is of batches in which something closed: those alone had rows to judge.
    """

    settings: str
    ranges: list[Judged]
    watermark: datetime | None


def settings_eras(workspace: Workspace, query: Query) -> list[Era]:
    """What `query` judged, by the thresholds it judged with, in the order in which they were in force.

    A batch that had nothing to judge counts to the one before it, as it makes no difference.
    """
    rows = _reported(workspace).get(query.name, [])
    published = ["", *dict.fromkeys(each.version for each in versions(workspace.tables) if each.kind == SETTINGS)]
    of_version: dict[str, list[Judged]] = {version: [] for version in published}
    for _, own in groupby(_ranges(workspace, query, rows), lambda each: each.partition):
        so_far = ""
        for each in own:
            so_far = so_far if each.settings is None else each.settings
            of_version[so_far].append(each)
    met: dict[str | None, datetime] = {}
    for row in rows:
        if watermark := row["watermark"]:
            met[row["settings_version"]] = max(watermark, met.get(row["settings_version"], watermark))
    return [Era(version, own, met.get(version)) for version, own in of_version.items() if own or version in met]


def _gapless(partition: int | None, reported: list[Judged], beyond: Judged) -> Iterator[Judged]:
    first = replace(reported[0], start=0)
    ranges = [first, *(replace(later, start=earlier.end) for earlier, later in pairwise(reported))]
    yield from (each for each in ranges if each.start < each.end)
    yield replace(beyond, partition=partition, start=reported[-1].end)


def judged_ends(workspace: Workspace) -> dict[tuple[str, int], int]:
    """By query and partition, the offset up to which batches of its newest checkpoint have ended; empty before any did."""
    ends: dict[tuple[str, int], int] = {}
    for query, rows in _reported(workspace).items():
        for row in rows:
            if row["end_offset"] is not None:
                place = query, row["kafka_partition"]
                ends[place] = max(row["end_offset"], ends.get(place, 0))
    return ends


def late_events(spark: SparkSession, vertical: Vertical, workspace: Workspace, events: DataFrame) -> DataFrame:
    """event_id, rule and late_seconds of the events that were behind the watermark when a rule's query came to them."""
    columns = "kafka_partition int, start_offset long, end_offset long, watermark timestamp, rule string"
    rows = [
        (each.partition, each.start, each.end, each.watermark, rule.name)
        for query in vertical.queries
        if query.stateful and query.rules
        for each in judged_ranges(workspace, query)
        if each.watermark
        for rule in query.rules
    ]
    ranges = F.broadcast(spark.createDataFrame(rows, columns).withColumnRenamed("kafka_partition", "partition"))
    inside = (F.col("kafka_offset") >= F.col("start_offset")) & (F.col("kafka_offset") < F.col("end_offset"))
    of_partition = F.col("partition").isNull() | (F.col("partition") == F.col("kafka_partition"))
    time = F.col(vertical.event_time)
    behind = (F.unix_millis("watermark") - F.unix_millis(time)) / 1000
    late = events.join(ranges, inside & of_partition & (time < F.col("watermark")))
    return late.select(F.col(vertical.event_id).alias("event_id"), "rule", behind.alias("late_seconds"))
