"""Silent cells over Spark: raised when the watermark passes them, over with the next report, from a stream as from a table."""

from datetime import datetime, timedelta

import pytest
from pyspark.sql import functions as F

from common.closed_windows import only_closed
from telecom_anomaly import detector
from telecom_anomaly.rules.silence import silence
from telecom_anomaly.settings import TelecomSettings

pytestmark = pytest.mark.files

SETTINGS = TelecomSettings(watermark="20 minutes")
QUERY = next(query for query in detector.QUERIES if query.name == "silence")
START = datetime(2020, 3, 2, 8)
SCHEMA = "report_id string, cell_id string, event_time timestamp, ingest_time timestamp"


def at(minute, cell="C1"):
    time = START + timedelta(minutes=minute)
    return f"{cell}-{minute}", cell, time, time


@pytest.fixture
def alarms_of(spark):
    """(report id, severity, score, event_time's minute) of each alarm over reports given as rows, in the order of time."""

    def run(rows):
        alarms = silence(spark.createDataFrame(rows, SCHEMA), SETTINGS).orderBy("event_time").collect()
        return [(alarm.event, alarm.severity, alarm.score, (alarm.event_time - START).total_seconds() / 60) for alarm in alarms]

    return run


def test_a_silence_is_known_when_time_has_passed_it_and_is_over_with_the_next_report(alarms_of):
    assert alarms_of([at(0), at(15), at(30)]) == [("C1-30", "major", 3.0, 82.5)]
    assert alarms_of([at(0), at(15), at(150), at(165), at(180)]) == [
        ("C1-15", "cleared", 9.0, 150.0),
        ("C1-180", "major", 3.0, 232.5),
    ]


def test_it_is_not_over_before_the_watermark_has_passed_the_next_report(alarms_of):
    assert alarms_of([at(0), at(15), at(150), at(165)]) == [("C1-15", "major", 3.0, 67.5), ("C1-165", "major", 3.0, 217.5)]


def test_silences_can_be_filtered_by_the_time_at_which_they_were_known(spark):
    def early(rows):
        alarms = silence(spark.createDataFrame(rows, SCHEMA), SETTINGS)
        return [alarm.event for alarm in alarms.where(F.col("event_time") <= F.lit(START + timedelta(hours=2))).collect()]

    assert early([at(0), at(15), at(240), at(255)]) == ["C1-15"]
    assert early([at(240), at(255)]) == []


def test_two_reports_lost_are_no_silence_and_three_are(alarms_of):
    assert [report for report, *_ in alarms_of([at(0), at(45)])] == ["C1-45"]  # only the end of the data
    assert [report for report, *_ in alarms_of([at(0), at(60)])] == ["C1-0", "C1-60"]


def test_each_silence_has_an_id_of_its_own(spark):
    alarms = silence(spark.createDataFrame([at(0), at(90), at(900), at(930), at(0, "C2")], SCHEMA), SETTINGS).collect()
    assert len({alarm.alert_id for alarm in alarms}) == len(alarms) == 4
    assert all(alarm.rule == "silent_cell" and alarm.vertical == "telecom_anomaly" for alarm in alarms)
    assert sorted((alarm.reasons for alarm in alarms if alarm.severity == "cleared"), reverse=True) == [
        "no report for 90 minutes, 6 whole periods",
        "no report for 810 minutes, 54 whole periods",
    ]


def test_a_stream_in_pieces_says_what_its_table_says(spark, tmp_path):
    # A report late but in time (C1-75), two behind the watermark of the batch before (C2-60, C3-0), silences over and not over.
    batches = [
        [at(0), at(15), at(0, "C2")],
        [at(80), at(75), at(70, "C2")],
        [at(90)],
        [at(300), at(330, "C2"), at(0, "C3"), at(60, "C2")],
        [at(315), at(600, "C4")],
    ]
    for rows in batches:
        part = spark.createDataFrame(rows, SCHEMA).coalesce(1)
        part.write.mode("append").parquet(str(tmp_path / "reports"))
    stream = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).parquet(str(tmp_path / "reports"))
    came = []
    query = (
        silence(stream, SETTINGS)
        .writeStream.outputMode("append")
        .foreachBatch(lambda alarms, number: came.extend(alarms.collect()))
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    from_stream = {alarm.alert_id: (alarm.event, alarm.severity, alarm.score) for alarm in came}
    in_time = spark.read.parquet(str(tmp_path / "reports")).where(~F.col("report_id").isin("C2-60", "C3-0"))
    batch = only_closed(QUERY, silence(in_time, SETTINGS), in_time, SETTINGS).collect()
    assert from_stream == {alarm.alert_id: (alarm.event, alarm.severity, alarm.score) for alarm in batch}
    assert set(from_stream.values()) == {
        ("C1-15", "cleared", 4.0),
        ("C1-90", "cleared", 14.0),
        ("C2-0", "cleared", 4.0),
        ("C2-70", "cleared", 17.0),
        ("C1-315", "major", 3.0),
        ("C2-330", "major", 3.0),
    }
