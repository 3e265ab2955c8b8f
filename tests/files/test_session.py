"""What a session compiles for whom, and what a command says when a job of it fails."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from common import runtime
from common.settings import Settings
from common.spark.options import LONGEST_METHOD, LONGEST_STATEFUL_METHOD, METHOD_LIMIT
from common.spark.session import methods_for
from common.streaming.queries import DISK_FULL, QueryEnded

pytestmark = pytest.mark.files


def test_a_query_keeps_the_limit_that_it_was_started_with_and_the_session_its_own(spark, tmp_path):
    (tmp_path / "in").mkdir()
    kept = {}

    def note(rows, number):
        kept[number] = rows.sparkSession.conf.get(METHOD_LIMIT)

    rows = spark.readStream.schema("text string").text(str(tmp_path / "in")).select(F.length("text"))
    writer = rows.writeStream.foreachBatch(note).option("checkpointLocation", str(tmp_path / "checkpoint"))
    with methods_for(spark, stateful=True):
        query = writer.start()
    try:
        assert spark.conf.get(METHOD_LIMIT) == str(LONGEST_METHOD)
        (tmp_path / "in" / "one").write_text("a\n")
        query.processAllAvailable()
    finally:
        query.stop()
    assert kept == {0: str(LONGEST_STATEFUL_METHOD)}


def test_the_session_has_its_own_limit_back_where_a_query_does_not_start(spark):
    with pytest.raises(ValueError), methods_for(spark, stateful=True):
        raise ValueError
    assert spark.conf.get(METHOD_LIMIT) == str(LONGEST_METHOD)


def test_an_expression_is_read_as_it_is_written(spark):
    for text in ("${env:HOME}", "${spark.app.id}", "${system:user.dir}"):
        assert spark.range(1).select(F.expr(f"'{text}'")).first()[0] == text


@pytest.fixture
def commands_session(monkeypatch, tmp_path):
    """The session that a command works in, without a Java of its own that ends with it."""
    monkeypatch.setattr(runtime, "start_session", lambda *_, **__: SimpleNamespace(stop=lambda: None))
    return lambda: runtime.session([], Settings(data=tmp_path))


def failing(spark, words):
    return spark.range(1).select(F.raise_error(F.lit(words)))


@pytest.mark.parametrize("run", ["collect", "toArrow"])
@pytest.mark.parametrize(("words", "told"), [
    ("java.lang.OutOfMemoryError: Java heap space", "HYBRID_DRIVER_MEMORY"),
    ("Could not allocate memory to grow BytesToBytesMap.", "HYBRID_DRIVER_MEMORY"),
    ("Task 3 in stage 8.0 failed: TaskResultLost (result lost from block manager)", "HYBRID_DRIVER_MEMORY"),
    (DISK_FULL, "the disk is full"),
])  # fmt: skip
def test_a_job_that_the_machine_is_too_small_for_is_told_in_words(spark, commands_session, run, words, told):
    with pytest.raises(QueryEnded, match=told), commands_session():
        getattr(failing(spark, words), run)()


def test_another_failure_of_a_job_stays_what_it_is(spark, commands_session):
    with pytest.raises(PySparkException, match="something else"), commands_session():
        failing(spark, "something else").collect()


def test_a_java_that_cannot_start_is_told_with_what_it_was_given_and_another_spark_is_none_of_ours(tmp_path):
    command = (
        "import sys; from pathlib import Path; from common.spark.session import start_session; "
        "start_session('t', 1, Path(sys.argv[1]))"
    )
    environment = {**os.environ, "HYBRID_DRIVER_MEMORY": "0g", "SPARK_HOME": str(tmp_path / "another")}
    ended = subprocess.run([sys.executable, "-c", command, tmp_path], env=environment, capture_output=True, text=True)
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("common.embedded.java.JavaError: Spark's Java ended while it started"), ended.stderr
    assert "0g of memory (HYBRID_DRIVER_MEMORY)" in told
    assert "Invalid maximum heap size" in (tmp_path / "spark.log").read_text()
