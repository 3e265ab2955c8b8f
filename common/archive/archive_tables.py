"""Defines the columns of the archive's tables, and makes their rows of Kafka records."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import contract, tables
from common.alerts import ALERT_SCHEMA
from common.vertical import Vertical
from common.workspace import Workspace

PARTITION = "event_day"  # UTC date of the event time
QUARANTINE_PARTITION = "ingest_day"
MOST_BYTES = 900_000  # of a dead letter's key and value: with its headers less than the 1 MB that Spark's producer sends
HEADER_BYTES = 10_000  # room for a dead letter's headers

PLACE_FIELDS = [
    T.StructField("topic", T.StringType()),
    T.StructField("kafka_partition", T.IntegerType()),
    T.StructField("kafka_offset", T.LongType()),
]
# Which Kafka record a row is of: each is in a table once. The time is Kafka's own of the record; a topic that was made anew, or
# another cluster's of the same name, has other records at the same places.
RECORD = ("topic", "kafka_partition", "kafka_offset", "ingest_time")

# The place of a row that came through no topic: a backfilled event's partition (its offset counts within the day), and both of an
# alert that batch added as its events were late.
NO_PARTITION = NO_OFFSET = -1

QUARANTINE_SCHEMA = T.StructType(
    [
        T.StructField("reason", T.StringType()),
        T.StructField("detail", T.StringType()),
        T.StructField("raw", T.BinaryType()),
        T.StructField("key", T.BinaryType()),
        *PLACE_FIELDS,
        T.StructField("ingest_time", T.TimestampType()),
        T.StructField(QUARANTINE_PARTITION, T.DateType()),
    ]
)

LABELS_SCHEMA = T.StructType(
    [
        T.StructField("event_id", T.StringType()),
        T.StructField("entity_id", T.StringType()),
        T.StructField("scenario", T.StringType()),
        T.StructField("case_id", T.StringType()),  # which anomaly: its events share it
        T.StructField("event_time", T.TimestampType()),
        T.StructField("known_time", T.TimestampType()),
    ]
)

# alert_time: when Kafka got the alert (its newest update); minus ingest_time that is how long judging took.
ALERTS_SCHEMA = T.StructType(
    [
        *ALERT_SCHEMA.fields,
        T.StructField(
            "first_event_time", T.TimestampType()
        ),  # event_time when it was first raised; event_time moves with updates
        T.StructField("alert_time", T.TimestampType()),
        *PLACE_FIELDS,
        T.StructField(PARTITION, T.DateType()),
    ]
)


def events_schema(vertical: Vertical) -> T.StructType:
    """The event's own columns, when and where it came in, and its day."""
    return T.StructType(
        [
            *vertical.event_schema.fields,
            T.StructField("ingest_time", T.TimestampType()),
            *PLACE_FIELDS,
            T.StructField(PARTITION, T.DateType()),
        ]
    )


def came_through_kafka() -> Column:
    """Whether a row of `events` or `alerts` was a Kafka record: neither backfilled nor added by batch."""
    return F.col("kafka_partition") >= 0


def is_backfilled() -> Column:
    """Whether a row of `events` was written by backfill rather than read from Kafka."""
    return F.col("kafka_partition") < 0


def ensure_tables(vertical: Vertical, workspace: Workspace) -> None:
    """Creates the vertical's tables that are missing: events, quarantine, labels, alerts."""
    tables.ensure_table(workspace.table("events"), events_schema(vertical), [PARTITION])
    tables.ensure_table(workspace.table("quarantine"), QUARANTINE_SCHEMA, [QUARANTINE_PARTITION])
    tables.ensure_table(workspace.table("labels"), LABELS_SCHEMA)
    tables.ensure_table(workspace.table("alerts"), ALERTS_SCHEMA, [PARTITION])


def to_quarantine(invalid_records: DataFrame) -> DataFrame:
    """Rows with a reason, in the shape of the quarantine table."""
    return invalid_records.withColumn(QUARANTINE_PARTITION, F.to_date("ingest_time")).select(*QUARANTINE_SCHEMA.names)


def to_dead_letters(quarantined: DataFrame, most_bytes: int = MOST_BYTES) -> DataFrame:
    """Kafka records: key and value as they came, where they have room, and headers that say why, from where and how large.

    most_bytes: of a record's key and value together. They may have come compressed, and Spark's producer counts plain bytes;
    `left_out` names which is in the quarantine only.
    """
    names = ("reason", "detail", "topic", "kafka_partition", "kafka_offset", "key_bytes", "value_bytes", "left_out")
    headers = [F.struct(F.lit(name.removeprefix("kafka_")).alias("key"), _bytes(F.col(name)).alias("value")) for name in names]
    sizes = {"key_bytes": F.octet_length("key"), "value_bytes": F.octet_length("raw")}
    key_bytes, value_bytes = (F.coalesce(size, F.lit(0)) for size in sizes.values())
    no_key = key_bytes > most_bytes
    no_value = F.when(no_key, value_bytes).otherwise(key_bytes + value_bytes) > most_bytes
    letters = quarantined.withColumns(sizes).withColumn("left_out", _names_where({"key": no_key, "value": no_value}))
    key, value = F.when(~no_key, F.col("key")), F.when(~no_value, F.col("raw"))
    return letters.select(key.alias("key"), value.alias("value"), F.array(*headers).alias("headers"))


def parse_json(records: DataFrame, schema: T.StructType, required: tuple[str, ...]) -> DataFrame:
    """Records of our own making (labels, alerts): their fields, the Kafka columns, and a reason where one is unreadable.

    Anybody who may write to the topic may have written them: a time that not every reader of the table could hold is a reason.
    """
    field_rows = records.select(
        F.from_json(F.col("value").cast("string"), schema).alias("fields"),
        F.col("value").alias("raw"),
        "key",
        "topic",
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        contract.ingest_time().alias("timestamp"),
    )
    times = [field.name for field in schema if isinstance(field.dataType, T.TimestampType)]
    missing_fields = _names_where({name: F.col(f"fields.{name}").isNull() for name in required})
    unstorable_times = _names_where({name: ~contract.is_storable(F.col(f"fields.{name}")) for name in times})
    return field_rows.select(
        "fields.*",
        "raw",
        "key",
        "topic",
        "kafka_partition",
        "kafka_offset",
        "timestamp",
        F.when(missing_fields != "", F.lit("unreadable")).when(unstorable_times != "", F.lit("out_of_range")).alias("reason"),
        F.when(missing_fields != "", F.concat(F.lit("missing or unreadable: "), missing_fields))
        .when(unstorable_times != "", F.concat(F.lit(f"not within {contract.STORABLE_YEARS}: "), unstorable_times))
        .alias("detail"),
    )


def _names_where(conditions: dict[str, Column]) -> Column:
    """The names whose condition is true, as text."""
    return F.concat_ws(", ", *[F.when(is_true, F.lit(name)) for name, is_true in conditions.items()])


def _bytes(value: Column) -> Column:
    return F.coalesce(value.cast("string"), F.lit("")).cast("binary")
