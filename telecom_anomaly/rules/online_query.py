"""Runs the online detector inside Spark: one state for each cell and measurement, in micro-batches.

The detector is a Python class, so its state is kept in Python (transformWithState), which real-time mode fails on: expect
seconds. It takes the rows of a series in the order in which they arrived and passes over one that is not newer than the last, so
that a stream, however cut into batches, and the table that it became give the same alerts.
"""

import struct
from collections.abc import Iterator
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle

from common.authoring import OnlineDetector, Rule, judge
from telecom_anomaly.baselines import is_suspect
from telecom_anomaly.settings import TelecomSettings

SCORES = T.StructType(
    [
        T.StructField("cell_id", T.StringType()),
        T.StructField("metric", T.StringType()),
        T.StructField("report_id", T.StringType()),
        T.StructField("event_micros", T.LongType()),
        T.StructField("ingest_micros", T.LongType()),
        T.StructField("value", T.DoubleType()),
        T.StructField("online_score", T.DoubleType()),
    ]
)
STATE = T.StructType([T.StructField("newest_micros", T.LongType()), T.StructField("numbers", T.BinaryType())])


def online_anomaly(settings: TelecomSettings) -> Column:
    """Rarity of a measurement among all its own earlier ones (`common.models.online_detector`). Per cell and measurement."""
    return F.col("online_score")


RULES = (
    Rule(
        name="online_anomaly",
        score=online_anomaly,
        threshold="online_anomaly",
        reason=lambda settings: F.format_string("%s of %.1f is unlike this cell's own past", F.col("metric"), F.col("value")),
        evidence=lambda settings: F.col("report_id"),
        severity="warning",
        critical_at=float("inf"),
        live=False,  # the detector in the state needs it: an alarm suppresses those that follow
    ),
)


def online(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Alerts of the online detector over the measurements that settings name; suspect reports and gaps are passed over."""
    metrics = [F.struct(F.lit(name).alias("metric"), F.col(name).alias("value")) for name in settings.online_metrics.split(",")]
    measured = (
        reports.where(~is_suspect())
        .select(
            "cell_id",
            "report_id",
            "kafka_partition",
            "kafka_offset",
            F.unix_micros("event_time").alias("event_micros"),
            F.unix_micros("ingest_time").alias("ingest_micros"),
            F.explode(F.array(*metrics)).alias("measured"),
        )
        .select("*", "measured.metric", "measured.value")
        .drop("measured")
        .where("value IS NOT NULL")
    )
    detector = SeriesDetector(settings.online_anomaly, settings.online_grace)
    scores = measured.groupBy("cell_id", "metric").transformWithState(
        statefulProcessor=detector, outputStructType=SCORES, outputMode="update", timeMode="none"
    )
    times = {"event_time": F.timestamp_micros("event_micros"), "ingest_time": F.timestamp_micros("ingest_micros")}
    subject = F.concat_ws("|", "report_id", "metric")
    return judge(scores.withColumns(times), RULES, settings, vertical="telecom_anomaly", entity="cell_id", subject=subject)


class SeriesDetector(StatefulProcessor):
    """The detector of one cell's measurement. Between micro-batches Spark keeps it as bytes.

    threshold: of the score. grace: measurements of a cell before one may be an alert.
    """

    def __init__(self, threshold: float, grace: int) -> None:
        self.threshold = threshold
        self.grace = grace

    def init(self, handle: StatefulProcessorHandle) -> None:
        self.state = handle.getValueState("series", STATE)

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:
        newest, detector = self._read_state()
        for row in sorted(rows, key=lambda row: (row.kafka_partition, row.kafka_offset)):
            if row.event_micros <= newest:
                continue
            newest = row.event_micros
            score = detector.score_one(newest / 1e6, row.value)
            detector.learn_one(newest / 1e6, row.value)
            if score >= self.threshold and detector.count > self.grace:
                yield Row(
                    cell_id=key[0],
                    metric=key[1],
                    report_id=row.report_id,
                    event_micros=newest,
                    ingest_micros=row.ingest_micros,
                    value=row.value,
                    online_score=score,
                )
        numbers = detector.state_numbers()
        self.state.update((newest, struct.pack(f"<{len(numbers)}d", *numbers)))

    def close(self) -> None:
        """Nothing is open."""

    def _read_state(self) -> tuple[int, OnlineDetector]:
        """When the newest measurement was (microseconds; -1 before the first), and the detector."""
        stored_state = self.state.get()
        if stored_state is None:
            return -1, OnlineDetector(self.threshold)
        newest, packed_numbers = stored_state
        detector = OnlineDetector.from_state_numbers([number for (number,) in struct.iter_unpack("<d", packed_numbers)])
        detector.threshold = self.threshold  # the stored one is that of the last start's settings
        return newest, detector
