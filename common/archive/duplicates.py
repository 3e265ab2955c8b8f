"""Finds which events of a batch came before, within it or in the table, and which of its records a table already holds."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.archive.archive_tables import PARTITION, RECORD


def without_stored(rows: DataFrame, stored_rows: DataFrame) -> DataFrame:
    """The rows whose records are not in `stored_rows`, which have the columns RECORD."""
    common_records = stored_rows.join(F.broadcast(rows.select(*RECORD)), [*RECORD], "left_semi")
    return rows.join(F.broadcast(common_records), [*RECORD], "left_anti")


def find_repetitions(events: DataFrame, stored_events: DataFrame, event_id: str) -> DataFrame:
    """Ids that occur more than once within a day, in `events` (valid ones) and `stored_events` together, and in which records.

    stored_events: id, day and RECORD of the rows in the table, of the days that occur in `events`. Columns: id, day, `first_new`
    (the record of its first new event), `first_stored` and `stored_places`. They are few as a rule, so that events need not be
    sorted to find them.
    """
    identity = [event_id, PARTITION]
    ids = events.select(*identity, *RECORD)
    earlier = stored_events.join(F.broadcast(events.select(*identity)), identity, "left_semi").withColumn(
        "is_stored", F.lit(True)
    )
    record, is_stored = F.struct(*RECORD), F.col("is_stored")
    return (
        ids.withColumn("is_stored", F.lit(False)).unionByName(earlier)
        .groupBy(*identity)
        .agg(
            F.count("*").alias("times"),
            F.min(F.when(~is_stored, record)).alias("first_new"),
            F.min(F.when(is_stored, record)).alias("first_stored"),
            F.collect_list(F.when(is_stored, record)).alias("stored_places"),
        )
        .where("times > 1")
        .drop("times")
    )  # fmt: skip


def without_duplicates(events: DataFrame, repetitions: DataFrame, event_id: str) -> DataFrame:
    """`events` (valid ones) less those that are in the table already; a later one of the same id gets its reason.

    repetitions: `find_repetitions` of these events. A stored row of the same record is the event itself, there since an earlier
    attempt at this batch: it is neither new nor a duplicate. Of several new events of one id the first by partition and offset
    counts. So each attempt splits a batch alike.
    """
    record = F.struct(*RECORD)
    first_record = F.coalesce("first_stored", "first_new")
    places = (first_record["kafka_partition"], first_record["kafka_offset"])
    detail = F.format_string("first seen at partition %d, offset %d", *places)
    is_duplicate = F.col("first_stored").isNotNull() | (F.col("first_new") != record)
    with_repetitions = events.join(F.broadcast(repetitions), [event_id, PARTITION], "left")
    new_events = with_repetitions.where(F.coalesce(~F.array_contains("stored_places", record), F.lit(True)))
    return new_events.withColumns(
        {
            "reason": F.when(is_duplicate, F.lit("duplicate")).otherwise(F.col("reason")),
            "detail": F.when(is_duplicate, detail).otherwise(F.col("detail")),
        }
    ).select(events.columns)
