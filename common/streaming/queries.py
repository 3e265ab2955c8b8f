"""Starts and stops streaming queries, Kafka to Kafka: in real-time mode where Spark accepts the plan, else in micro-batches."""

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import DataStreamWriter, StreamingQuery

from common import contract
from common.alerts import to_kafka
from common.deployment import Deployment
from common.errors import UserError, first_line
from common.failures import cause_texts
from common.kafka.connection import Connection
from common.kafka.topics import end_offsets, topic_names, topic_of
from common.published.reference_data import ReferenceData, join_reference_data
from common.settings import Settings
from common.spark.session import methods_for, use_pool
from common.streaming.state import check_state
from common.vertical import Query, Vertical

LOG = logging.getLogger(__name__)

REAL_TIME, MICRO_BATCH = "real-time", "micro-batch"
# What batch jobs and the archive's micro-batches get beside the slots that real-time queries hold for good.
BATCH_SLOTS = 4
STOP_GRACE_SECONDS = 5.0  # that queries get to end at the end of all work; service managers kill after 10

DISK_FULL = "No space left on device"
RECORDS_GONE = (
    "records that it had not read are not in the topic any more: Kafka's retention is shorter than the lag. Give the topic more "
    "(retention.bytes, retention.ms); to go on without them, remove the query's checkpoint"
)
UNREADABLE_TIMESTAMP = (
    "a record's timestamp, as its producer wrote it, is beyond what Spark can hold, and Spark cannot pass over it: set "
    "message.timestamp.type=LogAppendTime on the topic (hybrid topics names it), then have that record deleted "
    "(kafka-delete-records), or archive and judge from a new topic"
)
SLOW_PYTHON = "Timed out while waiting for the Python worker to connect back"
FOREIGN_BYTES = "Too large frame"  # the first bytes of what is not Spark's, read as a length
MORE_MEMORY = "HYBRID_DRIVER_MEMORY, as 6g"
MEMORY = f"Spark has too little memory for this: give it more ({MORE_MEMORY})"
KNOWN_FAILURES = {
    "Could not allocate memory": MEMORY,
    "java.lang.OutOfMemoryError": MEMORY,
    "TaskResultLost": "a task's result was lost, as its machine is gone or had no room to keep it: give Spark more memory "
    f"({MORE_MEMORY})",
    SLOW_PYTHON: "the machine was too busy to start a Python process within the 10 s that Spark waits; give it less to do beside",
    FOREIGN_BYTES: "another program spoke to a port of Spark's, as a client does that looks for a server which was there before",
    DISK_FULL: f"the disk is full ({DISK_FULL})",
    "OffsetOutOfRangeException": RECORDS_GONE,
    "Some data may have been lost because they are not available in Kafka any more": RECORDS_GONE,
    "that overflows when converting to Spark's microsecond-precision TimestampType": UNREADABLE_TIMESTAMP,
}
TRACEBACK = "Traceback (most recent call last):"
# A line of a Python stack that names an error, or the Java error that py4j puts below it.
ERROR_LINE = re.compile(r"(?:: )?((?:[\w$]+\.)*[A-Z]\w*(?:Error|Exception)\b.*)")


class QueryEnded(UserError):
    """A query that should be running has ended."""


@dataclass(frozen=True)
class RunningQuery:
    """A started query and the mode in which Spark runs it.

    reason: why it runs in micro-batches, else "". interval: seconds between checkpoints in real-time mode, else 0.
    """

    query: Query
    streaming: StreamingQuery
    mode: str
    reason: str = ""
    interval: int = 0


def task_slots(verticals: list[Vertical], partitions: Mapping[str, int], settings: Settings) -> int:
    """Task slots that the verticals' queries hold for good, and those left for the archive and batch.

    partitions: by topic, as `ensure_topics` found them. Without those of a vertical's events none of its queries is counted.
    """
    held_slots = sum(
        partitions[topic] + (settings.shuffle_partitions if query.stateful else 0)
        for vertical in verticals
        if (topic := topic_names(vertical).events) in partitions
        for query in vertical.queries
    )
    return held_slots + BATCH_SLOTS


def read_topic(
    spark: SparkSession, connection: Connection, topic: str, max_offsets: int | None = None, from_end: bool = False
) -> DataFrame:
    """A topic's Kafka records as a stream, from its beginning or present end; a checkpoint resumes where it stopped."""
    # Spark's own "latest" is the end that the query finds once it has started: what came meanwhile would be left out.
    starting = json.dumps({topic: end_offsets(connection, topic)}) if from_end else "earliest"
    options = {"subscribe": topic, "startingOffsets": starting, "failOnDataLoss": "true"}
    if max_offsets:
        options["maxOffsetsPerTrigger"] = str(max_offsets)
    return spark.readStream.format("kafka").options(**options, **connection.spark_source_options()).load()


@dataclass(frozen=True)
class QueryInputs:
    """What a query is built with beside its records: reference data, the rules' settings (LiveSettings as a rule), checkpoint.

    interval: seconds between checkpoints in real-time mode.
    """

    data: ReferenceData
    rules: Any
    checkpoint: str
    interval: int


def start_query(records: DataFrame, deployment: Deployment, query: Query, inputs: QueryInputs) -> RunningQuery:
    """Start one of the vertical's queries on `records`; its rows go to `<vertical>.<its topic>`. Raises OtherState."""
    use_pool(records.sparkSession, "streams")
    vertical = deployment.vertical
    events = contract.valid_events(records, vertical, contract.TimeBounds.from_settings(deployment.settings))
    rows = _with_observed_versions(join_reference_data(events, inputs.data, vertical, query, inputs.rules))
    alerts = query.build(rows, inputs.rules)
    check_state(alerts, inputs.checkpoint)
    options = {"topic": topic_of(vertical, query), "checkpointLocation": inputs.checkpoint, **deployment.kafka.spark_options()}
    writer = (
        to_kafka(alerts)
        .writeStream.queryName(f"{vertical.name}.{query.name}")
        .format("kafka")
        .options(**options)
        .outputMode(query.output_mode)
    )
    with methods_for(records.sparkSession, query.stateful):
        return _start(writer, query, inputs.interval)


def _start(writer: DataStreamWriter, query: Query, interval: int) -> RunningQuery:
    if query.micro_batch_reason:
        return RunningQuery(query, writer.trigger(processingTime="0 seconds").start(), MICRO_BATCH, query.micro_batch_reason)
    try:
        # The stubs of PySpark 4.3.0 do not know this trigger yet.
        in_real_time = writer.trigger(realTime=f"{interval} seconds")  # type: ignore[call-overload]
        return RunningQuery(query, in_real_time.start(), REAL_TIME, interval=interval)
    except PySparkException as refusal:
        reason = first_line(refusal)
        LOG.warning("%s runs in micro-batches, as real-time mode refuses it: %s", query.name, reason)
        return RunningQuery(query, writer.trigger(processingTime="0 seconds").start(), MICRO_BATCH, f"Spark refuses: {reason}")


def _with_observed_versions(events: DataFrame) -> DataFrame:
    """Events whose versions each batch reports in its progress: reconcile needs to know which judged which offsets."""
    newest = [F.max(F.col(name)).alias(name) for name in ("baseline_version", "model_version") if name in events.columns]
    return events.observe("versions", *newest) if newest else events


def raise_if_ended(streaming: StreamingQuery, name: str) -> None:
    """Raises QueryEnded, with Spark's reason in one line, when the query does not run any more."""
    if not streaming.isActive:
        reason = reason_of(streaming.exception())
        raise QueryEnded(
            f"streaming query {name} ended: {reason}; what it had not finished is done again when it is started again"
        )


def ended_by_chance(streaming: StreamingQuery) -> bool:
    """Whether it ended for a reason outside of it that is unlikely to come again at once.

    That is: a busy machine started its Python process later than Spark waits, or another program's bytes came to Spark's port.
    """
    reasons = () if streaming.isActive else cause_texts(streaming.exception())
    return any(chance in reason for chance in (SLOW_PYTHON, FOREIGN_BYTES) for reason in reasons)


def reason_of(failure: Exception | None) -> str:
    """Of a failure that Spark reports with a chain of causes, the one line that a person can act on."""
    if failure is None:
        return "it was stopped from outside"
    if reason := known_reason(failure):
        return reason
    chain = cause_texts(failure)
    failure_line, cause_line = _most_telling_line(chain[0]), _most_telling_line(chain[-1])
    return failure_line if cause_line in chain[0] else f"{failure_line} (caused by {cause_line})"


def known_reason(failure: Exception) -> str | None:
    """What to do about a failure of Spark, for people, if it is one of KNOWN_FAILURES; else None."""
    chain = cause_texts(failure)
    return next((advice for text, advice in KNOWN_FAILURES.items() if any(text in cause for cause in chain)), None)


def _most_telling_line(text: str) -> str:
    """The line that says most: the first, or where Python raised it the error below its stack."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    _, is_pythons, stack = text.partition(TRACEBACK)
    errors = [match.group(1) for line in stack.splitlines() if (match := ERROR_LINE.match(line))]
    return errors[-1] if is_pythons and errors else lines[0]


def stop_all(queries: Mapping[str, StreamingQuery], within: float | None = None) -> None:
    """Stop every query, by name, side by side; what one has in flight is done again when it resumes from its checkpoint.

    A query that waits for a broker that is gone stops late. Where `within` seconds are given it is left running after them, to
    end by itself or with the session.
    """
    threads = [Thread(target=_stop, args=named_query, daemon=True) for named_query in queries.items()]
    for thread in threads:
        thread.start()
    deadline = None if within is None else time.monotonic() + within
    for thread in threads:
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _stop(name: str, streaming: StreamingQuery) -> None:
    try:
        streaming.stop()
    except (PySparkException, Py4JError, OSError) as problem:  # OSError: Java ended meanwhile
        LOG.info("%s stopped with: %s", name, first_line(problem))
