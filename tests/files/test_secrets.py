"""No secret is in what failing queries of a vertical that names persons leave: errors, plans, logs, Spark's events, files."""

import base64
import hashlib
import json
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr
from pyspark.errors import PySparkException
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQueryException

from common import contract
from common.archive.archive import Batch, keep_events
from common.archive.archive_tables import ensure_tables
from common.failures import failure_trace
from common.installed import find_vertical
from common.kafka.security import Security
from common.privacy.keys import Key
from common.privacy.pseudonyms import decrypt
from common.streaming.queries import reason_of
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

KEY = hashlib.sha256(b"a planted key").digest()
PASSWORD = "pl4nted-Passw0rd"
SECRETS = {
    "the key": KEY,
    "the inner pad": bytes(byte ^ 0x36 for byte in KEY),
    "the outer pad": bytes(byte ^ 0x5C for byte in KEY),
    "the key of bytes": Key(KEY).encryption_key,
    "the password": PASSWORD.encode(),
}
MODES = ("simple", "extended", "codegen", "cost", "formatted")
HEALTH = find_vertical("health_monitoring")


@pytest.fixture(scope="module")
def left(spark, compiling, tmp_path_factory):
    """What is left of queries that ended in errors: texts by name, and the folder that they worked in."""
    folder = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as patch, compiling():
        patch.setenv("HYBRID_PSEUDONYM_KEY", base64.b64encode(KEY).decode())
        listener = listening(spark, folder / "spark-events")
        try:
            texts = {**plans(spark, folder), **errors(spark, folder), **secured(spark)}
        finally:
            spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
            listener.stop()
    (folder / "texts.json").write_text(json.dumps(texts))
    log = Path(spark.sparkContext.getConf().get("spark.local.dir")).parent / "spark.log"
    return texts, [*(path for path in folder.rglob("*") if path.is_file()), log]


def listening(spark, folder):
    """Spark's own event log, which its web page and history are made of, from now on."""
    folder.mkdir()
    scala_none = getattr(spark._jvm, "scala.None$").__getattr__("MODULE$")
    conf = spark.sparkContext._jsc.sc().getConf()
    for option in ("rolling.enabled", "compress"):
        conf.set(f"spark.eventLog.{option}", "false")
    listener = spark._jvm.org.apache.spark.scheduler.EventLoggingListener(
        "left", scala_none, spark._jvm.java.net.URI(folder.as_uri()), conf, spark.sparkContext._jsc.hadoopConfiguration()
    )
    listener.start()
    spark.sparkContext._jsc.sc().addSparkListener(listener)
    return listener


def records(spark, folder):
    """A stream of a file of Kafka records: valid ones, and one that is not."""
    chunk = next(iter(HEALTH.generate(1, date(2026, 1, 1), 1, HEALTH.population(**HEALTH.small), False)))
    values = [*[bytes(value) for value in chunk.messages.values][:50], b"{"]
    rows = [(b"k", value, "health_monitoring.events", 0, offset) for offset, value in enumerate(values)]
    frame = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long")
    frame = frame.withColumn("timestamp", F.lit("2030-01-01 00:00:00").cast("timestamp"))
    if not (folder / "in").exists():
        frame.coalesce(1).write.parquet(str(folder / "in"))
    return frame, spark.readStream.schema(frame.schema).parquet(str(folder / "in"))


def plans(spark, folder):
    frame, _ = records(spark, folder)
    parsed = contract.parse(frame, HEALTH)
    made = {"accepted": contract.valid_events(frame, HEALTH), "parsed": parsed, "decrypted": parsed.select(decrypt(F.col("raw")))}
    assert all(rows.collect() for rows in made.values())
    return {f"{name} {mode}": explained(spark, rows, mode) for name, rows in made.items() for mode in MODES} | {
        f"{name} tree": rows._jdf.queryExecution().toString() for name, rows in made.items()
    }


def explained(spark, rows, mode):
    return spark._jvm.PythonSQLUtils.explainString(rows._jdf.queryExecution(), mode)


def errors(spark, folder):
    """Failures in Spark's analysis, in a task, and of streams, as they are printed, logged and written to a file."""
    frame, stream = records(spark, folder)
    ensure_tables(HEALTH, Workspace(folder, HEALTH.name))
    parsed = contract.parse(stream, HEALTH)

    def keep(rows, number):
        keep_events(rows, Batch("q", number), deployed(HEALTH, Workspace(folder, HEALTH.name)))
        raise ValueError("after its work was done")

    failing = {
        "analysis": lambda: contract.valid_events(frame, HEALTH).select("no such column"),
        "task": lambda: contract.valid_events(frame, HEALTH).select("*", F.raise_error(F.lit("in a task"))).collect(),
        "stream": lambda: ended(contract.valid_events(stream, HEALTH).select(F.raise_error(F.col("patient_id"))), folder / "one"),
        "stream, in Python": lambda: ended(parsed, folder / "two", keep),
    }
    texts = {}
    for name, fail in failing.items():
        with pytest.raises((PySparkException, ValueError)) as caught:
            fail()
        problem = caught.value
        told = {"": str(problem), " repr": repr(problem), " reason": reason_of(problem), " trace": failure_trace(problem)}
        texts |= {f"{name}{what}": text for what, text in told.items()}
        for deep in (getattr(problem, "_origin", None), getattr(problem, "_cause", None)):
            texts[f"{name} {type(deep).__name__}"] = f"{deep} {deep.toString() if hasattr(deep, 'toString') else ''}"
        assert "\n+- " not in texts[f"{name} reason"] + texts[f"{name} trace"], "no plan in what is logged"
    return texts


def ended(rows, checkpoint, keep=lambda rows, number: rows.collect()):
    query = rows.writeStream.foreachBatch(keep).option("checkpointLocation", str(checkpoint)).start()
    try:
        query.processAllAvailable()
    except StreamingQueryException as ended:
        raise query.exception() or ended from None
    finally:
        query.stop()


def secured(spark):
    """The plan of a source behind a login, and the error when nothing answers."""
    options = Security("SASL_PLAINTEXT", "PLAIN", "u", SecretStr(PASSWORD)).spark_options()
    waits = {"kafka.default.api.timeout.ms": "1500", "kafka.request.timeout.ms": "1000", "kafka.bootstrap.servers": "127.0.0.1:9"}
    rows = spark.read.format("kafka").options(**options, **waits, subscribe="t").load()
    with pytest.raises(Exception) as caught:
        rows.collect()
    return {"source tree": rows._jdf.queryExecution().logical().toString(), "source error": str(caught.value),
            "source trace": failure_trace(caught.value)}  # fmt: skip


def test_the_queries_ran_and_failed(left):
    texts, files = left
    assert "in a task" in texts["task"] and "after its work was done" in texts["stream, in Python"]
    assert "scalar-subquery" in texts["parsed extended"]
    log = next(path for path in files if "spark-events" in path.parts)
    assert b"SparkListenerSQLExecutionStart" in log.read_bytes()
    assert [path for path in files if path.suffix == ".parquet" and "quarantine" in str(path)]


def test_no_secret_is_left(left, shown):
    _, files = left
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert {name: found for name, secret in SECRETS.items() if (found := shown(secret, content))} == {}, path


def test_an_error_that_is_raised_is_not_printed_as_well(spark, capfd, shown):
    with pytest.raises(PySparkException) as caught:
        spark.range(1).select(F.concat(F.lit(KEY), F.col("id").cast("binary")))
    assert shown(KEY, str(caught.value).encode()), "its text has the plan"
    printed = capfd.readouterr()
    assert not shown(KEY, (printed.out + printed.err + failure_trace(caught.value) + reason_of(caught.value)).encode())


def test_a_literal_in_a_plan_would_be_found(spark, shown):
    """That the search finds what it looks for, and what Spark's redaction does where a key would get into a plan after all."""
    rows = spark.range(1).select(F.concat(F.lit(KEY), F.col("id").cast("string").cast("binary")))
    assert shown(KEY, rows._jdf.queryExecution().logical().toString().encode())
    assert not shown(KEY, explained(spark, rows, "extended").encode())
    for text in (KEY, KEY.hex().encode(), base64.b64encode(b"z" + KEY + b"zz"), repr(list(KEY)).encode(), repr(KEY).encode()):
        assert shown(KEY, b"before " + text + b" after")
