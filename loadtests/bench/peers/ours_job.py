"""The card job in this project: native aggregates in Spark's real-time mode, by the project's contract, rules and alerts."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.kafka.connection import Connection
from common.kafka.topics import topic_names
from common.published.reference_data import Learnt
from common.rules import Rule, judge
from common.settings import Settings, load
from common.spark.session import start_session
from common.streaming.queries import REAL_TIME, read_topic, start_query, task_slots
from common.vertical import Query, Vertical
from finance_fraud import VERTICAL
from loadtests.bench.peers.card_rules import AMOUNT, NAME, VELOCITY, ZSCORE


class CardJob(BaseSettings):
    """The job's numbers; what the names mean is told in README.md."""

    velocity: float
    amount_cents: float
    zscore: float
    least_events: int
    window_seconds: int = Field(gt=0)
    watermark_seconds: int = Field(gt=0)


def windows(transactions: DataFrame, settings: CardJob) -> DataFrame:
    """Alerts on a card's tumbling window, which is judged anew at every event."""
    cents = (F.col("amount") * 100 + 0.5).cast("long")
    found = (
        transactions.withWatermark("event_time", f"{settings.watermark_seconds} seconds")
        .groupBy(F.window("event_time", f"{settings.window_seconds} seconds"), "card_id")
        .agg(
            F.count("*").alias("count"),
            F.sum(cents).alias("total"),
            F.sum(cents * cents).alias("squares"),
            F.max(cents).alias("largest"),
            F.max("event_time").alias("event_time"),
            F.max("ingest_time").alias("ingest_time"),
        )
        .withColumn("spread", F.col("count") * F.col("squares") - F.col("total") * F.col("total"))
    )
    subject = F.concat_ws("|", "card_id", F.unix_timestamp(F.col("window.start")).cast("string"))
    return judge(found, RULES, settings, vertical=NAME, entity="card_id", subject=subject)


def _velocity(settings: CardJob) -> Column:
    return F.col("count")


def _amount(settings: CardJob) -> Column:
    return F.col("largest")


def _zscore(settings: CardJob) -> Column:
    known = (F.col("count") >= settings.least_events) & (F.col("spread") > 0)
    above = (F.col("count") * F.col("largest") - F.col("total")).cast("double")
    return F.when(known, above / F.sqrt(F.col("spread").cast("double")))


def _said(settings: CardJob) -> Column:
    mean = F.col("total") / F.col("count") / 100
    deviation = F.sqrt(F.col("spread").cast("double")) / F.col("count") / 100
    return F.to_json(F.struct("count", mean.alias("mean"), deviation.alias("deviation")))


def _no_event(settings: CardJob) -> Column:
    return F.lit(None).cast("string")


RULES = (
    Rule(VELOCITY, _velocity, "velocity", _said, _no_event),
    Rule(AMOUNT, _amount, "amount_cents", _said, _no_event),
    Rule(ZSCORE, _zscore, "zscore", _said, _no_event),
)
QUERY = Query("windows", RULES, windows, stateful=True)


def card_vertical() -> Vertical:
    """The events and contract of finance_fraud, with the one query of this job."""
    return replace(VERTICAL, name=NAME, settings=CardJob, queries=(QUERY,), baselines={}, model=None, scenarios=())


def main(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    settings = load(
        Settings, data=folder, bootstrap_servers=job["servers"], checkpoint_interval=job["checkpoint_seconds"],
        partitions=job["partitions"], shuffle_partitions=job["partitions"],
    )
    # Its alerts go to `<vertical>.<topic of the query>`, so both are named after the run's topic.
    prefix, _, topic = job["alerts"].rpartition(".")
    query = replace(QUERY, topic=topic)
    vertical = replace(card_vertical(), name=prefix, queries=(query,))
    slots = task_slots([vertical], {topic_names(vertical).events: job["partitions"]}, settings)
    spark = start_session(NAME, slots, folder, settings)
    connection = Connection.from_settings(settings)
    rules = CardJob(**{name: job[name] for name in CardJob.model_fields})
    records = read_topic(spark, connection, job["events"])
    learnt = Learnt({}, spark.createDataFrame([], "none int"))
    running = start_query(records, vertical, query, learnt, rules, connection, str(folder / "checkpoint"), settings)
    if running.mode != REAL_TIME:
        raise SystemExit(f"not in real-time mode: {running.reason}")
    running.streaming.awaitTermination()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
