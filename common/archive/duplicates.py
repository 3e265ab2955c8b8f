"""Which events came before, within a batch and against the table, and which records are in a table already."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.archive.archive_tables import PARTITION, RECORD


def without_stored(rows: DataFrame, stored: DataFrame) -> DataFrame:
    """The rows whose records are not in `stored`, which has the columns RECORD."""
    present = stored.join(F.broadcast(rows.select(*RECORD)), [*RECORD], "left_semi")
    return rows.join(F.broadcast(present), [*RECORD], "left_anti")


def find_repetitions(events: DataFrame, stored: DataFrame, event_id: str) -> DataFrame:
    """Ids that occur more than once within a day, in `events` (valid ones) and `stored` together, with the places where they do.

    stored: id, day and RECORD of the rows in the table, of the days that occur in `events`. Columns: id, day, `first_new` (place
    of its first event), `first_stored` and `stored_places`. Few rows as a rule, so that events need not be sorted to find them.
    """
    identity = [event_id, PARTITION]
    ids = events.select(*identity, *RECORD)
    earlier = stored.join(F.broadcast(events.select(*identity)), identity, "left_semi").withColumn("is_stored", F.lit(True))
    place, is_stored = F.struct(*RECORD), F.col("is_stored")
    return (
        ids.withColumn("is_stored", F.lit(False)).unionByName(earlier)
        .groupBy(*identity)
        .agg(
            F.count("*").alias("times"),
            F.min(F.when(~is_stored, place)).alias("first_new"),
            F.min(F.when(is_stored, place)).alias("first_stored"),
            F.collect_list(F.when(is_stored, place)).alias("stored_places"),
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
    place = F.struct(*RECORD)
    first = F.coalesce("first_stored", "first_new")
    detail = F.format_string("first seen at partition %d, offset %d", first["kafka_partition"], first["kafka_offset"])
    later = F.col("first_stored").isNotNull() | (F.col("first_new") != place)
    joined = events.join(F.broadcast(repetitions), [event_id, PARTITION], "left")
    new = joined.where(F.coalesce(~F.array_contains("stored_places", place), F.lit(True)))
    return new.withColumns(
        {
            "reason": F.when(later, F.lit("duplicate")).otherwise(F.col("reason")),
            "detail": F.when(later, detail).otherwise(F.col("detail")),
        }
    ).select(events.columns)
