"""What a session compiles for whom."""

import pytest
from pyspark.sql import functions as F

from common.processing.session import LONGEST_METHOD, LONGEST_STATEFUL_METHOD, METHOD_LIMIT, methods_for

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
