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

from common.deployment import Deployment
from common.kafka.connection import Connection
from common.kafka.topics import topic_names
from common.published.reference_data import ReferenceData
from common.rules import Rule, judge
from common.settings import Settings, load
from common.spark.session import start_session
from common.streaming.queries import REAL_TIME, QueryInputs, read_topic, start_query, task_slots
from common.vertical import Query, Vertical
from common.workspace import Workspace
from finance_fraud import VERTICAL
from loadtests.bench.peers.card_rules import AMOUNT, JOB_NAME, VELOCITY, ZSCORE


class CardJobSettings(BaseSettings):
    """The job's numbers; README.md says what the names mean."""

    velocity: float
    amount_cents: float
    zscore: float
    least_events: int
    window_seconds: int = Field(gt=0)
    watermark_seconds: int = Field(gt=0)


def card_windows(transactions: DataFrame, settings: CardJobSettings) -> DataFrame:
    """Alerts on a card's tumbling window, which is judged anew at every event."""
    cents = (F.col("amount") * 100 + 0.5).cast("long")
    windows = (
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
    return judge(windows, RULES, settings, vertical=JOB_NAME, entity="card_id", subject=subject)


def _velocity(settings: CardJobSettings) -> Column:
    return F.col("count")


def _amount(settings: CardJobSettings) -> Column:
    return F.col("largest")


def _zscore(settings: CardJobSettings) -> Column:
    is_defined = (F.col("count") >= settings.least_events) & (F.col("spread") > 0)
    above_mean = (F.col("count") * F.col("largest") - F.col("total")).cast("double")
    return F.when(is_defined, above_mean / F.sqrt(F.col("spread").cast("double")))


def _reason(settings: CardJobSettings) -> Column:
    mean = F.col("total") / F.col("count") / 100
    deviation = F.sqrt(F.col("spread").cast("double")) / F.col("count") / 100
    return F.to_json(F.struct("count", mean.alias("mean"), deviation.alias("deviation")))


def _no_evidence(settings: CardJobSettings) -> Column:
    return F.lit(None).cast("string")


RULES = (
    Rule(VELOCITY, _velocity, "velocity", _reason, _no_evidence),
    Rule(AMOUNT, _amount, "amount_cents", _reason, _no_evidence),
    Rule(ZSCORE, _zscore, "zscore", _reason, _no_evidence),
)
QUERY = Query("windows", RULES, card_windows, stateful=True)


def card_vertical() -> Vertical[CardJobSettings]:
    """The events and contract of finance_fraud, with the single query of this job."""
    transactions: Vertical[Any] = VERTICAL
    return replace(
        transactions, name=JOB_NAME, settings=CardJobSettings, queries=(QUERY,), baselines={}, model=None, scenarios=()
    )


def main(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    settings = load(
        Settings,
        data=folder,
        bootstrap_servers=job["servers"],
        checkpoint_interval=job["checkpoint_seconds"],
        partitions=job["partitions"],
        shuffle_partitions=job["partitions"],
    )
    # Its alerts go to `<vertical>.<topic of the query>`, so both are named after the run's topic.
    prefix, _, topic = job["alerts"].rpartition(".")
    query = replace(QUERY, topic=topic)
    vertical = replace(card_vertical(), name=prefix, queries=(query,))
    slots = task_slots([vertical], {topic_names(vertical).events: job["partitions"]}, settings)
    spark = start_session(JOB_NAME, slots, folder, settings)
    rules = CardJobSettings(**{name: job[name] for name in CardJobSettings.model_fields})
    deployment = Deployment(vertical, Workspace(folder, vertical.name), settings, rules, Connection.from_settings(settings))
    event_records = read_topic(spark, deployment.kafka, job["events"])
    no_data = ReferenceData({}, spark.createDataFrame([], "none int"))
    inputs = QueryInputs(no_data, rules, str(folder / "checkpoint"), settings.checkpoint_interval)
    running_query = start_query(event_records, deployment, query, inputs)
    if running_query.mode != REAL_TIME:
        raise SystemExit(f"not in real-time mode: {running_query.reason}")
    running_query.streaming.awaitTermination()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
