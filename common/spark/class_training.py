"""Runs Spark and the broker briefly, with work like ours, so that Java can store the classes for it (`embedded.class_data`)."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from common.embedded.kafka import BrokerProcess, EmbeddedKafka
from common.spark.session import SessionMode, start_session

GRACE_SECONDS = 120.0  # in which an ending Java writes its classes
EVENT = '{"id": "%d", "entity": "e%d", "event_time": "2020-01-01T00:00:%02d.000Z", "value": %d.5}'
SCHEMA = "id string, entity string, event_time timestamp, value double"


def train_broker(options: Sequence[str]) -> None:
    """Run a broker with these options of Java: it takes a record, and ends."""
    with (
        tempfile.TemporaryDirectory(prefix="hybrid-classes-") as folder,
        EmbeddedKafka(Path(folder), process=BrokerProcess(options, GRACE_SECONDS)) as kafka,
    ):
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        producer.produce("classes", b"value", b"key")
        producer.flush(20)


def train_spark(options: Sequence[str]) -> None:
    """Run a Spark session with these options of Java in a process of its own, until its work is done."""
    subprocess.run([sys.executable, "-m", __name__, *options], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _run_queries(spark: SparkSession, folder: Path) -> None:
    rows = [(None, bytearray((EVENT % (n, n % 5, n % 60, n)).encode()), "topic", 0, n) for n in range(200)]
    records = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long")
    records.withColumn("timestamp", F.current_timestamp()).write.parquet(str(folder / "records"))
    stored_records = spark.read.parquet(str(folder / "records"))
    stream = spark.readStream.schema(stored_records.schema).parquet(str(folder / "records"))
    events = _events(stored_records)
    days = events.withColumn("day", F.to_date("event_time"))
    days.write.partitionBy("day").parquet(str(folder / "days"))
    history = spark.read.parquet(str(folder / "days")).where(F.col("day") >= F.lit("2019-01-01"))
    baselines = history.groupBy("entity").agg(F.mean("value").alias("mean"), F.expr("percentile(value, 0.5)").alias("median"))
    with_baselines = events.join(F.broadcast(baselines), "entity", "left").persist()
    with_baselines.where("value > mean").count()
    with_baselines.join(history.select("id", F.col("value").alias("before")), "id", "left_anti").toArrow()
    for frame, mode in ((_windows(_events(stream)), "update"), (_events(stream), "append")):
        writer = frame.writeStream.outputMode(mode).option("checkpointLocation", str(folder / f"checkpoint-{mode}"))
        writer.foreachBatch(_collect).trigger(availableNow=True).start().awaitTermination()


def _collect(rows: DataFrame, number: int) -> None:
    rows.collect()


def _events(records: DataFrame) -> DataFrame:
    with_event = records.withColumn("event", F.from_json(F.col("value").cast("string"), SCHEMA, {"mode": "PERMISSIVE"}))
    return with_event.select("event.*", "timestamp", F.sha2("value", 256).alias("hash")).where("event_time is not null")


def _windows(events: DataFrame) -> DataFrame:
    windows = (
        events.withWatermark("event_time", "1 hour")
        .groupBy(F.window("event_time", "1 day", "12 hours"), "entity")
        .agg(F.sort_array(F.collect_set(F.struct("event_time", "id", "value"))).alias("events"), F.max("timestamp").alias("at"))
    )
    large = F.filter("events", lambda event: event.value > 1)
    verdicts = F.array(F.struct(F.lit("rule").alias("rule"), F.size(large).cast("double").alias("score")))
    alerts = windows.withColumn("verdict", F.explode(F.filter(verdicts, lambda verdict: verdict.score >= 1)))
    return alerts.select(F.col("entity").alias("key"), F.to_json(F.struct("verdict", "at")).alias("value"))


def _main(options: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="hybrid-classes-") as name:
        folder = Path(name)
        spark = start_session("classes", 4, folder / "spark", mode=SessionMode(is_brief=True, java_options=tuple(options)))
        java = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
        try:
            _run_queries(spark, folder)
        finally:
            spark.stop()
            java.stdin.close()  # upon which Java ends, and writes its classes
            java.wait()


if __name__ == "__main__":
    _main(sys.argv[1:])
