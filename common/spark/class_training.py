"""Has Spark and the broker do a little of what they do here, so that the classes for it can be kept (`embedded.class_data`)."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common.embedded.kafka import BrokerProcess, EmbeddedKafka
from common.spark.session import start_session

GRACE = 120.0  # seconds for Java to write its classes when it ends
EVENT = '{"id": "%d", "entity": "e%d", "event_time": "2020-01-01T00:00:%02d.000Z", "value": %d.5}'
SCHEMA = "id string, entity string, event_time timestamp, value double"


def train_broker(options: Sequence[str]) -> None:
    """A broker with these options of Java that takes a record, and ends."""
    with (
        tempfile.TemporaryDirectory(prefix="hybrid-classes-") as folder,
        EmbeddedKafka(Path(folder), process=BrokerProcess(options, GRACE)) as kafka,
    ):
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        producer.produce("classes", b"value", b"key")
        producer.flush(20)


def train_spark(options: Sequence[str]) -> None:
    """A Spark session with these options of Java, in a process of its own, that ends when all is done."""
    subprocess.run([sys.executable, "-m", __name__, *options], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _work(spark: SparkSession, folder: Path) -> None:
    lines = [(None, bytearray((EVENT % (n, n % 5, n % 60, n)).encode()), "topic", 0, n) for n in range(200)]
    records = spark.createDataFrame(lines, "key binary, value binary, topic string, partition int, offset long")
    records.withColumn("timestamp", F.current_timestamp()).write.parquet(str(folder / "records"))
    stored = spark.read.parquet(str(folder / "records"))
    stream = spark.readStream.schema(stored.schema).parquet(str(folder / "records"))
    events = _events(stored)
    days = events.withColumn("day", F.to_date("event_time"))
    days.write.partitionBy("day").parquet(str(folder / "days"))
    history = spark.read.parquet(str(folder / "days")).where(F.col("day") >= F.lit("2019-01-01"))
    usual = history.groupBy("entity").agg(F.mean("value").alias("mean"), F.expr("percentile(value, 0.5)").alias("median"))
    joined = events.join(F.broadcast(usual), "entity", "left").persist()
    joined.where("value > mean").count()
    joined.join(history.select("id", F.col("value").alias("before")), "id", "left_anti").toArrow()
    for frame, mode in ((_windows(_events(stream)), "update"), (_events(stream), "append")):
        writer = frame.writeStream.outputMode(mode).option("checkpointLocation", str(folder / f"checkpoint-{mode}"))
        writer.foreachBatch(_collect).trigger(availableNow=True).start().awaitTermination()


def _collect(rows: DataFrame, number: int) -> None:
    rows.collect()


def _events(records: DataFrame) -> DataFrame:
    parsed = records.withColumn("event", F.from_json(F.col("value").cast("string"), SCHEMA, {"mode": "PERMISSIVE"}))
    return parsed.select("event.*", "timestamp", F.sha2("value", 256).alias("hash")).where("event_time is not null")


def _windows(events: DataFrame) -> DataFrame:
    windows = events.withWatermark("event_time", "1 hour").groupBy(F.window("event_time", "1 day", "12 hours"), "entity").agg(
        F.sort_array(F.collect_set(F.struct("event_time", "id", "value"))).alias("events"), F.max("timestamp").alias("at"))
    large = F.filter("events", lambda event: event.value > 1)
    verdicts = F.array(F.struct(F.lit("rule").alias("rule"), F.size(large).cast("double").alias("score")))
    alerts = windows.withColumn("verdict", F.explode(F.filter(verdicts, lambda verdict: verdict.score >= 1)))
    return alerts.select(F.col("entity").alias("key"), F.to_json(F.struct("verdict", "at")).alias("value"))


def _main(options: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="hybrid-classes-") as name:
        folder = Path(name)
        spark = start_session("classes", 4, folder / "spark", is_brief=True, java_options=options)
        java = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
        try:
            _work(spark, folder)
        finally:
            spark.stop()
            java.stdin.close()  # by which it ends, and writes its classes
            java.wait()


if __name__ == "__main__":
    _main(sys.argv[1:])
