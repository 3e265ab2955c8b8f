"""A driver process to be killed: archives the Kafka-shaped files of a folder, one file a batch, and ends when all are in.

python archive_driver.py FOLDER, with the input in FOLDER/in; tables and checkpoint come to lie beside it.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

from pyspark.sql import types as T

from common.archive.archive import archive_events
from common.archive.archive_tables import ensure_tables
from common.deployment import Deployment
from common.spark.session import start_session
from common.workspace import Workspace

READINGS = SimpleNamespace(
    pseudonymised=(),
    name="meters",
    event_id="reading_id",
    entity="meter_id",
    event_time="event_time",
    contract=tuple(
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}}
        for name in ("reading_id", "meter_id", "event_time")
    ),
    event_schema=T.StructType().add("reading_id", "string").add("meter_id", "string").add("event_time", "timestamp"),
)
RECORD = (
    T.StructType()
    .add("key", "binary")
    .add("value", "binary")
    .add("topic", "string")
    .add("partition", "integer")
    .add("offset", "long")
    .add("timestamp", "timestamp")
)


def main():
    folder = Path(sys.argv[1])
    spark = start_session("archive", 2, folder / "spark")
    workspace = Workspace(folder / "data", "meters")
    ensure_tables(READINGS, workspace)
    records = spark.readStream.schema(RECORD).option("maxFilesPerTrigger", 1).parquet(str(folder / "in"))
    settings = SimpleNamespace(future_tolerance=300, event_age_days=0, archive_interval=0, vacuum_hours=168)
    query = archive_events(records, Deployment(READINGS, workspace, settings, rules=None))
    query.processAllAvailable()
    query.stop()
    spark.stop()


if __name__ == "__main__":
    main()
