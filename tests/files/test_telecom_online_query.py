"""The online detector in Spark's state: the same alerts as the plain detector, from a table as from a stream in pieces."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from common.models.online_detector import THRESHOLD, OnlineDetector
from telecom_anomaly.rules.online_query import online
from telecom_anomaly.settings import TelecomSettings

pytestmark = pytest.mark.files

START = datetime(2020, 3, 2)
SCHEMA = (
    "report_id string, cell_id string, event_time timestamp, ingest_time timestamp, suspect_flag boolean, "
    "DRB_RlcSduDelayDl double, RRC_ConnMean double, kafka_partition int, kafka_offset long"
)
SETTINGS = TelecomSettings()
SPIKES = {"C1": (400, 700), "C2": (550,)}


def series(cell, reports=800):
    rng = np.random.default_rng(len(SPIKES[cell]))
    values = 200 + 50 * np.sin(2 * np.pi * np.arange(reports) / 96) + rng.normal(0, 5, reports)
    for spike in SPIKES[cell]:
        values[spike] += 900
    return values


def rows(cell):
    """A cell's reports in the order in which they arrive; a duplicate, a late one, a suspect one and a gap among them."""
    reports = []
    for number, value in enumerate(series(cell)):
        time = START + timedelta(minutes=15 * number)
        reports.append([f"{cell}-{number}", cell, time, time, False, float(value), 40.0])
    reports.insert(450, list(reports[400]))
    reports.insert(500, [f"{cell}-late", cell, START + timedelta(minutes=15 * 300 + 7), START, False, 9_999.0, 40.0])
    reports[600][4:6] = [True, 9_999.0]
    reports[650][5] = None
    return [(*row, 0 if cell == "C1" else 1, offset) for offset, row in enumerate(reports)]


def expected(cell):
    detector, scores = OnlineDetector(), {}
    newest = datetime.min
    for report_id, _, time, _, is_suspect, value, *_ in rows(cell):
        if is_suspect or value is None or time <= newest:
            continue
        newest = time
        seconds = time.replace(tzinfo=UTC).timestamp()
        score = detector.score_one(seconds, value)
        detector.learn_one(seconds, value)
        if score >= THRESHOLD and detector.count > SETTINGS.online_grace:
            scores[report_id] = score
    return scores


@pytest.fixture(scope="module")
def arrived(spark, tmp_path_factory):
    """The reports of two cells in five files, in order of arrival."""
    path = tmp_path_factory.mktemp("reports")
    every = [row for pair in zip(rows("C1"), rows("C2"), strict=True) for row in pair]
    size = len(every) // 5 + 1
    for number in range(5):
        part = spark.createDataFrame(every[number * size : (number + 1) * size], SCHEMA)
        part.coalesce(1).write.mode("append").parquet(str(path))
    assert spark.streams.active == []  # batch state needs the session's streams to have been asked for once
    return str(path)


def test_a_table_gives_the_alerts_of_the_plain_detector(spark, arrived):
    alerts = online(spark.read.parquet(arrived), SETTINGS).collect()
    scores = expected("C1") | expected("C2")
    assert {alert.event: alert.score for alert in alerts} == pytest.approx(scores)
    assert {"C1-400", "C1-700", "C2-550"} <= set(scores) and not {"C1-late", "C1-600"} & set(scores)
    [alert] = [alert for alert in alerts if alert.event == "C1-400"]
    assert (alert.entity_id, alert.rule, alert.threshold) == ("C1", "online_anomaly", THRESHOLD)
    assert {alert.severity for alert in alerts} == {"warning"} and max(scores.values()) > 2 * THRESHOLD
    assert alert.event_time == START + timedelta(minutes=6_000) and "DRB_RlcSduDelayDl" in alert.reasons


def test_a_stream_in_pieces_gives_the_same(spark, arrived, tmp_path):
    stream = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).option("latestFirst", False).parquet(arrived)
    scores, batches = {}, []

    def keep(alerts, number):
        batches.append(number)
        scores.update({alert.event: alert.score for alert in alerts.collect()})

    query = (
        online(stream, SETTINGS)
        .writeStream.outputMode("update")
        .foreachBatch(keep)
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    assert len(batches) >= 5
    assert scores == pytest.approx(expected("C1") | expected("C2"))


def test_a_cell_that_is_hardly_known_raises_nothing(spark, arrived):
    eager = online(spark.read.parquet(arrived), TelecomSettings(online_grace=0)).collect()
    patient = online(spark.read.parquet(arrived), TelecomSettings(online_grace=600)).collect()
    assert "C1-400" in {alert.event for alert in eager}
    assert {alert.event for alert in patient} == {alert.event for alert in eager if int(alert.event.split("-")[1]) > 600}


def test_each_measurement_that_settings_name_is_a_series_of_its_own(spark, arrived):
    both = TelecomSettings(online_metrics="DRB_RlcSduDelayDl,RRC_ConnMean")
    delays = online(spark.read.parquet(arrived), SETTINGS).collect()
    assert sorted(a.alert_id for a in online(spark.read.parquet(arrived), both).collect()) == sorted(a.alert_id for a in delays)
    assert online(spark.read.parquet(arrived), TelecomSettings(online_metrics="RRC_ConnMean")).collect() == []


def test_a_measurement_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="DRB_Nonsense"):
        TelecomSettings(online_metrics="DRB_Nonsense")
