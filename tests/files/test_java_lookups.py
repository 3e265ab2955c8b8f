"""PySpark's look-ups of Java's classes: once each, and what is not there is still not there."""

import pytest
from py4j.protocol import Py4JError
from pyspark.sql import functions as F

pytestmark = pytest.mark.files

LOOKUP = "r\n"  # py4j's command to look for a class, a package or a member


@pytest.fixture
def lookups(spark, monkeypatch):
    """The look-ups that were sent to Java so far."""
    client, sent = spark._jvm._gateway_client, []
    send = client.send_command

    def noting(command, *words, **more):
        if command.startswith(LOOKUP):
            sent.append(command)
        return send(command, *words, **more)

    monkeypatch.setattr(client, "send_command", noting)
    return sent


def build(spark):
    rows = spark.range(3).withColumn("a", F.lit(1) + F.col("id"))
    rows = rows.select(F.transform(F.array("a"), lambda one: one + 1).alias("b"))
    return [row.b for row in rows.where(F.size("b") > 0).collect()]


def test_an_operation_looks_for_its_classes_once(spark, lookups):
    assert build(spark) == [[2], [3], [4]]
    lookups.clear()
    assert build(spark) == [[2], [3], [4]]
    assert [sent for sent in lookups if "functions" in sent or "PythonSQLUtils" in sent] == []


def test_what_is_not_there_is_not_there_and_packages_are_looked_into(spark):
    assert spark._jvm.java.lang.Math.max(1, 2) == 2
    assert spark._jvm.functions is spark._jvm.functions
    with pytest.raises(Py4JError):
        spark._jvm.functions.no_such_function(1)
    with pytest.raises(TypeError):
        spark._jvm.NoSuchClass()
