"""A streaming query that ends says why, and one that was stopped at any moment starts again."""

from contextlib import suppress

import pytest

from common.streaming.queries import DISK_FULL, QueryEnded, raise_if_ended, reason_of

pytestmark = pytest.mark.files

SCHEMA = "value string"


def started(spark, folder, checkpoint, name):
    stream = spark.readStream.schema(SCHEMA).parquet(str(folder)).groupBy("value").count()
    writer = stream.writeStream.format("noop").outputMode("update").option("checkpointLocation", str(checkpoint))
    return writer.queryName(name).trigger(availableNow=True).start()


def test_one_that_was_killed_in_its_first_batch_starts_again(spark, tmp_path):
    folder, checkpoint = tmp_path / "events", tmp_path / "checkpoint"
    spark.createDataFrame([("a",), ("b",)], SCHEMA).write.parquet(str(folder))
    for left in ("offsets/.0.c0ffee.tmp", "state/0/0/.1.zip.c0ffee.tmp"):
        (checkpoint / left).parent.mkdir(parents=True)
        (checkpoint / left).touch()
    query = started(spark, folder, checkpoint, "killed_once")
    query.awaitTermination()
    assert query.exception() is None
    assert query.lastProgress.numInputRows == 2


def test_what_ended_it_is_said_down_to_the_first_cause(spark, tmp_path):
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "part-0.parquet").write_bytes(b"no Parquet at all")
    query = started(spark, folder, tmp_path / "checkpoint", "misread")
    with pytest.raises(Exception, match=r"part-0\.parquet"):
        query.awaitTermination()
    with pytest.raises(QueryEnded, match=r"misread ended: .*part-0.parquet.*\(caused by .*is not a Parquet file") as ended:
        raise_if_ended(query, "misread")
    assert "\n" not in str(ended.value)


def test_an_error_of_python_in_a_batch_is_said_with_its_message(spark, tmp_path):
    spark.createDataFrame([("a",)], SCHEMA).write.parquet(str(tmp_path / "events"))

    def fail(batch, number):
        raise ValueError(f"nothing goes right in batch {number}")

    def fail_in_java(batch, number):
        batch.select("nothing")

    wrong = "ValueError: nothing goes right in batch 0"
    for name, function, said in (("python", fail, wrong), ("java", fail_in_java, "nothing")):
        writer = spark.readStream.schema(SCHEMA).parquet(str(tmp_path / "events")).writeStream.foreachBatch(function)
        query = writer.option("checkpointLocation", str(tmp_path / name)).queryName(name).trigger(availableNow=True).start()
        with suppress(Exception):
            query.awaitTermination()
        with pytest.raises(QueryEnded, match=rf"{name} ended: .*{said}") as ended:
            raise_if_ended(query, name)
        assert "Traceback" not in str(ended.value) and "\n" not in str(ended.value)


class Caused(Exception):
    def __init__(self, said, cause=None):
        super().__init__(said)
        self._cause = cause


def test_a_full_disk_is_said_wherever_in_the_chain_it_stands():
    full = Caused(f"java.io.IOException: {DISK_FULL}", Caused("status 5"))
    chain = Caused("[STREAM_FAILED] it failed", Caused("no commit", full))
    assert reason_of(chain) == "the disk is full (No space left on device)"
    assert "Kafka's retention" in reason_of(Caused("it failed", Caused("org.apache.kafka.OffsetOutOfRangeException: at 7")))
    slow = Caused("java.net.SocketTimeoutException: Timed out while waiting for the Python worker to connect back")
    assert "too busy" in reason_of(Caused("Python worker failed to connect back.", slow))
    assert reason_of(None) == "it was stopped from outside"
    assert reason_of(Caused("\n")) == ""
