"""Counts every record, every alert and every baseline after a chaos run, against what was sent."""

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
from common.archive.archive_tables import PARTITION, came_through_kafka, events_schema, is_backfilled
from common.archive.history import read_history, read_live_history
from common.deployment import Deployment
from common.kafka.topics import topic_names
from common.privacy.pseudonyms import decrypt
from common.reconciliation.reconcile import AGREEING, STATUSES, reconcile
from common.vertical import Vertical
from loadtests.chaos.expected import ExpectedRecords, digest
from loadtests.chaos.fault_injection import FaultReport

OFFSET_COLUMNS = ("kafka_partition", "kafka_offset")


@dataclass(frozen=True)
class Count:
    """One count of the verification. expected: None for a count that is only shown."""

    name: str
    count: int
    expected: int | None = None

    @property
    def is_right(self) -> bool:
        return self.expected is None or self.count == self.expected


def count_records(
    spark: SparkSession, deployment: Deployment, expected_records: ExpectedRecords, fault_report: FaultReport, offsets: int
) -> list[Count]:
    """Counts every record that was sent: on the topic once, and in one table once. offsets: how many the topic has given out."""
    vertical, workspace = deployment.vertical, deployment.workspace
    events, _, _ = read_live_history(spark, workspace)
    quarantine = tables.read(spark, workspace.table("quarantine"))
    rejected_records = quarantine.where(F.col("topic") == topic_names(vertical).events)
    archived_offsets = events.select(*OFFSET_COLUMNS).unionByName(rejected_records.select(*OFFSET_COLUMNS))
    rows, distinct_offsets = archived_offsets.count(), archived_offsets.distinct().count()
    rows_by_id = Counter({row[0]: row[1] for row in events.groupBy(vertical.event_id).count().collect()})
    unexpected_events = rows_by_id.total() - sum(rows_by_id[name] for name in expected_records.ids)
    quarantined_values = _count_by_digest(rejected_records, bool(vertical.pseudonymised))
    unexpected_values = quarantined_values - expected_records.rejected
    counts = [
        Count("records on the topic", offsets - fault_report.rolled_back, expected_records.count + fault_report.fuzz_sent),
        Count("records in a table", distinct_offsets, expected_records.count + fault_report.fuzz_sent),
        Count("records in tables more than once", rows - distinct_offsets, 0),
        Count(
            "known valid events in `events`", sum(name in rows_by_id for name in expected_records.ids), len(expected_records.ids)
        ),
        Count("events in `events` more than once", sum(count > 1 for count in rows_by_id.values()), 0),
        Count(
            "known repeated and broken records in `quarantine`",
            (quarantined_values & expected_records.rejected).total(),
            expected_records.rejected.total(),
        ),
        Count("records in `quarantine` without a reason", rejected_records.where("reason is null").count(), 0),
        Count("labels", tables.row_count(workspace.table("labels")), expected_records.labels),
        Count("labels or alerts in `quarantine`", quarantine.count() - rejected_records.count(), 0),
    ]
    if not expected_records.fuzz:
        return [*counts, Count("records that nobody sent", unexpected_events + unexpected_values.total(), 0)]
    unsent_records = unexpected_values - Counter(map(digest, expected_records.fuzz))
    taken_or_refused = fault_report.fuzz_sent + fault_report.fuzz_refused
    return [
        *counts,
        Count("fuzzed records: on the topic or refused by Kafka", taken_or_refused, len(expected_records.fuzz)),
        Count("fuzzed records: refused by Kafka as too large", fault_report.fuzz_refused),
        Count("fuzzed records: valid all the same", unexpected_events),
        Count(
            "fuzzed records: in `events` or in `quarantine`",
            unexpected_events + unexpected_values.total(),
            fault_report.fuzz_sent,
        ),
        Count("records that nobody sent", unsent_records.total(), 0),
    ]


def _count_by_digest(rejected_records: DataFrame, is_encrypted: bool) -> Counter[str]:
    raw = decrypt(F.col("raw")) if is_encrypted else F.col("raw")
    counts = rejected_records.groupBy(F.sha2(F.coalesce(raw, F.lit(b"")), 256).alias("digest")).count().toArrow()
    return Counter(dict(zip(counts["digest"].to_pylist(), counts["count"].to_pylist(), strict=True)))


def count_alerts(spark: SparkSession, deployment: Deployment, fault_report: FaultReport) -> list[Count]:
    """Counts alerts: each of the topic must be in the table once, each of the table agree with history (`hybrid reconcile`)."""
    _, _, alerts = read_live_history(spark, deployment.workspace)
    rows, distinct_alerts = alerts.count(), alerts.select("alert_id").distinct().count()
    by_status = Counter[str]()
    for (_, status), count in reconcile(spark, deployment).counts.items():
        by_status[status] += count
    return [
        Count("different alerts in `alerts`", distinct_alerts, fault_report.alerts),
        Count("alerts in `alerts` more than once", rows - distinct_alerts, 0),
        *(Count(f"alerts against history: {name}", by_status[name], None if name in AGREEING else 0) for name in STATUSES),
    ]


def count_baselines(spark: SparkSession, deployment: Deployment, expected_records: ExpectedRecords, as_of: date) -> list[Count]:
    """Compares, row by row, the baselines learnt from the tables with those learnt from the same events without any stream."""
    vertical = deployment.vertical
    events, labels, _ = read_history(spark, deployment.workspace)
    backfilled_events, streamed_events = events.where(is_backfilled()), events.where(came_through_kafka())
    expected_events = _parse_expected(spark, vertical, expected_records)
    streamed_events = streamed_events.join(expected_events.select(vertical.event_id), vertical.event_id, "left_semi")  # no fuzz
    from_tables, from_expected = (
        vertical.learn(backfilled_events.unionByName(rows), labels, [as_of]) for rows in (streamed_events, expected_events)
    )
    return [
        Count(
            f"baselines of {name}, rows that differ",
            count_differing_keys(vertical.baselines[name].key, from_tables[name], from_expected[name]),
            0,
        )
        for name in from_tables
    ] + [Count("baselines, rows", sum(baselines.count() for baselines in from_expected.values()))]


def _parse_expected(spark: SparkSession, vertical: Vertical, expected_records: ExpectedRecords) -> DataFrame:
    """The valid events as the events table has them."""
    count = len(expected_records.values)
    records = pa.table(
        {
            "key": pa.nulls(count, pa.binary()),
            "value": pa.array(expected_records.values, pa.binary()),
            "topic": pa.nulls(count, pa.string()),
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pa.array(range(count), pa.int64()),
            "timestamp": pa.array([datetime.now(UTC)] * count, pa.timestamp("us", tz="UTC")),
        }
    )
    events = contract.valid_events(spark.createDataFrame(records), vertical)
    return events.withColumn(PARTITION, F.to_date(vertical.event_time)).select(*events_schema(vertical).names)


def count_differing_keys(key: str, rows: DataFrame, other_rows: DataFrame) -> int:
    """Keys whose rows are not the same on both sides, rounding and the order within arrays aside."""
    by_key, others_by_key = ({row[key]: row for row in side.toArrow().to_pylist()} for side in (rows, other_rows))
    return sum(not _is_same(by_key.get(name), others_by_key.get(name)) for name in by_key.keys() | others_by_key.keys())


def _is_same(value: Any, other: Any) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-12) or (value != value and other != other)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_same, sorted(value, key=repr), sorted(other, key=repr)))
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(_is_same(value[name], other[name]) for name in value)
    return bool(value == other)
