"""Which events came before: within a batch, and against the table."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

PLACE = ("kafka_partition", "kafka_offset", "ingest_time")


def without_duplicates(events: DataFrame, stored: DataFrame, event_id: str) -> DataFrame:
    """`events` (valid ones) less those that are in `stored` already; a later one of the same id gets its reason.

    stored: id and PLACE of the rows in the table, of the days that occur in `events`. A stored row of the same place
    is the event itself, there since an earlier attempt at this batch: it is neither new nor a duplicate. Of several new
    events of one id the first by partition and offset counts. So each attempt splits a batch alike.
    """
    earlier = stored.join(F.broadcast(events.select(event_id)), event_id, "left_semi").withColumn("is_stored", F.lit(True))
    both = events.withColumn("is_stored", F.lit(False)).unionByName(earlier, allowMissingColumns=True)
    place = F.struct(*PLACE)
    of_id = Window.partitionBy(event_id)
    in_order = of_id.orderBy(F.desc("is_stored"), "kafka_partition", "kafka_offset")
    ranked = (
        both.withColumn("stored_places", F.collect_list(F.when(F.col("is_stored"), place)).over(of_id))
        .withColumn("rank", F.row_number().over(in_order))
        .withColumn("first", F.first(place).over(in_order))
    )
    new = ranked.where(~F.col("is_stored") & ~F.array_contains("stored_places", place))
    detail = F.format_string("first seen at partition %d, offset %d", "first.kafka_partition", "first.kafka_offset")
    later = F.col("rank") > 1
    return new.withColumns({
        "reason": F.when(later, F.lit("duplicate")).otherwise(F.col("reason")),
        "detail": F.when(later, detail).otherwise(F.col("detail")),
    }).drop("is_stored", "stored_places", "rank", "first")
