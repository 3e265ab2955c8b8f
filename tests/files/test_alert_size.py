"""However many events are behind an alert, Kafka takes it, and which of them it names depends on nothing but the alert."""

import json
import random
from datetime import datetime

import pytest
from pyspark.sql import functions as F

from common.alerts import MAX_EVIDENCE_BYTES, alert_rows, event_ids, to_kafka

pytestmark = pytest.mark.files

TAKEN = 1_000_000  # bytes of key and value that every default takes: of topics, and of Java's and C's producers
ODD = ['"', "\\", ",", '","', "[", "]", "\n", "\x01", "ü", "🚲", " ", "a", "b"]


def ids_of(count, length, odd=False):
    chance = random.Random(count)
    return [f"{number}-" + "".join(chance.choices(ODD if odd else "abc", k=length))[:length] for number in range(count)]


def alerts_of(spark, evidence, reason="why"):
    rows = [(f"e{number}", datetime(2026, 1, 1), datetime(2026, 1, 1), text) for number, text in enumerate(evidence)]
    found = spark.createDataFrame(rows, "entity string, event_time timestamp, ingest_time timestamp, evidence string")
    return alert_rows(
        found.withColumn("verdict", F.struct(
            F.lit("r").alias("rule"), F.lit("major").alias("severity"), F.lit(2.0).alias("score"), F.lit(1.0).alias("threshold"),
            F.lit(reason).alias("reason"), F.col("evidence"))),
        F.col("verdict"), vertical="v", entity="entity", subject=F.col("entity"))  # fmt: skip


def test_an_alert_names_the_first_events_behind_it_as_far_as_they_have_room(spark):
    many = [
        ids_of(16_000, 64),
        ids_of(3_000, 60, odd=True),
        ids_of(3_000, 60, odd=True)[::-1],
        ids_of(3, 60_000),
        ["\x01" * 300_000, "b"],
    ]
    few = [ids_of(1_400, 60), ids_of(100, 60, odd=True), ["a"], []]
    texts = [json.dumps(ids, ensure_ascii=False, separators=(",", ":")) for ids in many + few]
    found = alerts_of(spark, texts)
    rows = found.withColumn("ids", event_ids("event")).collect()
    for ids, row in zip(many, rows, strict=False):
        assert row.ids == ids[: len(row.ids)] and len(row.ids) < len(ids)
        room = MAX_EVIDENCE_BYTES - len(row.event.encode())
        assert 0 <= room <= len(json.dumps(ids[len(row.ids)])) + 1, "no more than the next has no room"
        assert row.reasons == f"why; {len(row.ids)} of {len(ids)} events are named"
    for text, row in zip(texts[len(many) :], rows[len(many) :], strict=True):
        assert (row.event, row.reasons) == (text, "why"), "as it always was"
    sizes = to_kafka(found).select(F.octet_length("key") + F.octet_length("value")).collect()
    assert max(size for (size,) in sizes) < TAKEN


def test_neither_one_long_id_nor_long_words_make_an_alert_that_kafka_refuses(spark):
    evidence = ["x" * 900_000, "\x01" * 900_000, "🚲" * 300_000, "[" * 900_000, "short", None]
    found = alerts_of(spark, evidence, reason="\x01" * 300_000)
    rows = found.collect()
    assert all(text.startswith(row.event) for text, row in zip(evidence[:4], rows, strict=False))
    assert [row.event for row in rows[4:]] == ["short", None]
    sizes = to_kafka(found).select(F.octet_length("key") + F.octet_length("value")).collect()
    assert max(size for (size,) in sizes) < TAKEN
