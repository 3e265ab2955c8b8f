"""What came of a disturbed run: every record, every alert and every baseline, counted against what was sent."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common import contract, tables
from common.archive.archive_tables import PARTITION, events_schema
from common.archive.history import read_live_history
from common.archive.history import read_history
from common.kafka.topics import topic_names
from common.privacy.pseudonyms import decrypted
from common.reconciliation.reconcile import AGREEING, STATUSES, reconcile
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.chaos.expected import Known, digest
from loadtests.chaos.fault_injection import Disturbed

PLACE = ("kafka_partition", "kafka_offset")


@dataclass(frozen=True)
class Count:
    """wanted: None for what is only told."""

    what: str
    found: int
    wanted: int | None = None

    @property
    def holds(self) -> bool:
        return self.wanted is None or self.found == self.wanted


def records_kept(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, known: Known, disturbed: Disturbed, ends: int
) -> list[Count]:
    """Every record that was sent: on the topic once, and in one table once. ends: how many offsets the topic has given."""
    events, _, _ = read_live_history(spark, workspace)
    quarantine = tables.read(spark, workspace.table("quarantine"))
    rejected = quarantine.where(F.col("topic") == topic_names(vertical).events)
    sent = known.records + disturbed.fuzz_sent
    places = events.select(*PLACE).unionByName(rejected.select(*PLACE))
    kept, different = places.count(), places.distinct().count()
    by_id = Counter({row[0]: row[1] for row in events.groupBy(vertical.event_id).count().collect()})
    others = by_id.total() - sum(by_id[name] for name in known.ids)
    in_quarantine = _digests(rejected, bool(vertical.pseudonymised))
    beside = in_quarantine - known.rejected
    counts = [
        Count("records on the topic", ends - disturbed.rolled_back, sent),
        Count("records in a table", different, sent),
        Count("records in tables more than once", kept - different, 0),
        Count("known valid events in `events`", sum(name in by_id for name in known.ids), len(known.ids)),
        Count("events in `events` more than once", sum(count > 1 for count in by_id.values()), 0),
        Count(
            "known repeated and broken records in `quarantine`",
            (in_quarantine & known.rejected).total(),
            known.rejected.total(),
        ),
        Count("records in `quarantine` without a reason", rejected.where("reason is null").count(), 0),
        Count("labels", tables.row_count(workspace.table("labels")), known.labels),
        Count("labels or alerts in `quarantine`", quarantine.count() - rejected.count(), 0),
    ]
    if not known.fuzz:
        return [*counts, Count("records that nobody sent", others + beside.total(), 0)]
    unknown = beside - Counter(map(digest, known.fuzz))
    return [
        *counts,
        Count("fuzzed records: on the topic or refused by Kafka", disturbed.fuzz_sent + disturbed.fuzz_refused, len(known.fuzz)),
        Count("fuzzed records: refused by Kafka as too large", disturbed.fuzz_refused),
        Count("fuzzed records: valid all the same", others),
        Count("fuzzed records: in `events` or in `quarantine`", others + beside.total(), disturbed.fuzz_sent),
        Count("records that nobody sent", unknown.total(), 0),
    ]


def _digests(rejected: DataFrame, hidden: bool) -> Counter[str]:
    raw = decrypted(F.col("raw")) if hidden else F.col("raw")
    counted = rejected.groupBy(F.sha2(F.coalesce(raw, F.lit(b"")), 256).alias("digest")).count()
    found = counted.toArrow()
    return Counter(dict(zip(found["digest"].to_pylist(), found["count"].to_pylist(), strict=True)))


def alerts_kept(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, rules: object, disturbed: Disturbed
) -> list[Count]:
    """Every alert: of the topic's, in the table once; of the table's, what history says."""
    _, _, alerts = read_live_history(spark, workspace)
    rows, different = alerts.count(), alerts.select("alert_id").distinct().count()
    by_status = Counter[str]()
    for (_, status), count in reconcile(spark, vertical, workspace, rules).counts.items():
        by_status[status] += count
    return [
        Count("different alerts in `alerts`", different, disturbed.alerts),
        Count("alerts in `alerts` more than once", rows - different, 0),
        *(Count(f"alerts against history: {name}", by_status[name], None if name in AGREEING else 0) for name in STATUSES),
    ]


def baselines_kept(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, known: Known, as_of: date
) -> list[Count]:
    """The baselines of the disturbed tables, row by row, beside those of the same events that no stream ever carried."""
    events, labels, _ = read_history(spark, workspace)
    backfilled, came = events.where("kafka_partition < 0"), events.where("kafka_partition >= 0")
    never_sent = _never_sent(spark, vertical, known)
    came = came.join(never_sent.select(vertical.event_id), vertical.event_id, "left_semi")  # without valid fuzz
    learnt, expected = (vertical.learn(backfilled.unionByName(each), labels, [as_of]) for each in (came, never_sent))
    return [
        Count(f"baselines of {name}, rows that differ", differing(vertical.baselines[name].key, learnt[name], expected[name]), 0)
        for name in learnt
    ] + [Count("baselines, rows", sum(frame.count() for frame in expected.values()))]


def _never_sent(spark: SparkSession, vertical: Vertical, known: Known) -> DataFrame:
    """The valid events as the events table has them."""
    count = len(known.values)
    records = pa.table({
        "key": pa.nulls(count, pa.binary()),
        "value": pa.array(known.values, pa.binary()),
        "topic": pa.nulls(count, pa.string()),
        "partition": pa.array([0] * count, pa.int32()),
        "offset": pa.array(range(count), pa.int64()),
        "timestamp": pa.array([datetime.now(UTC)] * count, pa.timestamp("us", tz="UTC")),
    })
    events = contract.accepted(spark.createDataFrame(records), vertical)
    return events.withColumn(PARTITION, F.to_date(vertical.event_time)).select(*events_schema(vertical).names)


def differing(key: str, found: DataFrame, expected: DataFrame) -> int:
    """Keys whose rows are not the same on both sides, rounding and the order within arrays aside."""
    ours, theirs = ({row[key]: row for row in each.toArrow().to_pylist()} for each in (found, expected))
    return sum(not _same(ours.get(name), theirs.get(name)) for name in ours.keys() | theirs.keys())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (one != one and other != other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, sorted(one, key=repr), sorted(other, key=repr)))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)
