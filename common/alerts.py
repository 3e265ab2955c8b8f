"""Defines the shape that all alerts share, bounds their size, and makes Kafka records of them."""

from typing import Literal, get_args

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.columns import let

# rules: a hash of the rules and their settings, and after a + the version of published thresholds (`live_thresholds`).
VERSIONS = T.StructType([T.StructField(name, T.StringType()) for name in ("baseline", "model", "rules")])

ALERT_SCHEMA = T.StructType(
    [
        T.StructField("alert_id", T.StringType()),
        T.StructField("vertical", T.StringType()),
        T.StructField("rule", T.StringType()),
        T.StructField("entity_id", T.StringType()),
        T.StructField("event_time", T.TimestampType()),
        T.StructField("severity", T.StringType()),
        T.StructField("score", T.DoubleType()),
        T.StructField("threshold", T.DoubleType()),
        T.StructField("reasons", T.StringType()),
        T.StructField("versions", VERSIONS),
        T.StructField("event", T.StringType()),  # the id, or a JSON array of the ids, of the events behind it
        T.StructField("ingest_time", T.TimestampType()),
    ]
)

# Of one alert, so that Kafka takes it (1 MB by default) with every character escaped; a contract bounds ids.
MAX_EVIDENCE_BYTES = 100_000
MAX_REASON_CHARACTERS = 1_000

# Perceived severities of ITU-T X.733, as TM Forum's TMF642 has them; an alarm that is over is updated to "cleared".
Severity = Literal["cleared", "warning", "minor", "major", "critical"]
SEVERITIES: tuple[str, ...] = get_args(Severity)


def alert_rows(rows: DataFrame, verdict: Column, *, vertical: str, entity: str, subject: Column) -> DataFrame:
    """Rows that are alerts already, in the shape of ALERT_SCHEMA: for what `judge` cannot say, such as an alarm that clears.

    verdict: a struct of rule, severity, score, threshold, reason (text for people) and evidence: the id, or a JSON array of the
    ids, of the events behind the alert, in an order that is the same however they came. What is beyond MAX_EVIDENCE_BYTES and
    MAX_REASON_CHARACTERS is left out, and `reasons` says how many of the events are named. The rest as for `judge`.
    """
    bounded_evidence = _bounded_evidence(verdict.evidence, verdict.reason)
    versions = {
        name: F.col(f"{name}_version") if f"{name}_version" in rows.columns else F.lit(None).cast("string")
        for name in VERSIONS.names
    }
    return rows.select(
        F.substring(F.sha2(F.concat_ws("|", F.lit(vertical), verdict.rule, subject), 256), 1, 32).alias("alert_id"),
        F.lit(vertical).alias("vertical"),
        verdict.rule.alias("rule"),
        F.col(entity).alias("entity_id"),
        F.col("event_time"),
        verdict.severity.alias("severity"),
        verdict.score.cast("double").alias("score"),
        verdict.threshold.cast("double").alias("threshold"),
        bounded_evidence.reasons.alias("reasons"),
        F.struct(*[version.alias(name) for name, version in versions.items()]).alias("versions"),
        bounded_evidence.event.alias("event"),
        F.col("ingest_time"),
    )


def _bounded_evidence(evidence: Column, reason: Column) -> Column:
    """struct(event, reasons): the evidence, or where it is too large as many of its first ids as MAX_EVIDENCE_BYTES hold."""
    short_reason = F.left(reason, F.lit(MAX_REASON_CHARACTERS))

    def event_and_reasons(event: Column, reasons: Column) -> Column:
        return F.struct(event.alias("event"), reasons.alias("reasons"))

    def first_ids_of(ids: Column) -> Column:
        first_ids = F.slice(ids, 1, _fitting_id_count(ids))
        remark = F.format_string("; %d of %d events are named", F.size(first_ids), F.size(ids))
        return F.when(ids.isNotNull(), event_and_reasons(F.to_json(first_ids), F.concat(short_reason, remark)))

    of_many = F.when(evidence.startswith("["), let(F.from_json(evidence, "array<string>"), first_ids_of))
    # A character of UTF-8 is four bytes at most.
    of_one = event_and_reasons(F.left(evidence, F.lit(MAX_EVIDENCE_BYTES // 4)), short_reason)
    of_all = event_and_reasons(evidence, short_reason)
    return F.when(F.octet_length(evidence) > MAX_EVIDENCE_BYTES, F.coalesce(of_many, of_one)).otherwise(of_all)


def _fitting_id_count(ids: Column) -> Column:
    """How many of the first ids a JSON array of MAX_EVIDENCE_BYTES bytes has room for."""

    def step(so_far: Column, event_id: Column) -> Column:
        # The array of one has two brackets, one of which stands for the comma or bracket that follows.
        size = so_far["size"] + F.octet_length(F.to_json(F.array(event_id))) - 1
        fits = F.when(size <= MAX_EVIDENCE_BYTES, 1).otherwise(0)
        return F.struct(size.alias("size"), (so_far["count"] + fits).alias("count"))

    return F.aggregate(ids, F.struct(F.lit(1).alias("size"), F.lit(0).alias("count")), step)["count"]


def to_kafka(alerts: DataFrame) -> DataFrame:
    """Alerts, or other rows of a query, as Kafka records: JSON keyed by entity, so that updates of one alert stay in order."""
    return alerts.select(F.col("entity_id").alias("key"), F.to_json(F.struct(*alerts.columns)).alias("value"))


def event_ids(event: str) -> Column:
    """The ids behind an alert as an array, from its column `event`."""
    text = F.col(event)
    return F.when(text.startswith("["), F.from_json(text, "array<string>")).otherwise(F.array(text))
