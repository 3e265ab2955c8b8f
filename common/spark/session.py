"""The Spark session: one per process, shared by streams and batch under fair scheduler pools."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pyspark
from pyspark import SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from common.embedded.class_data import sharing_options
from common.kafka.security import SECRET_OPTIONS
from common.settings import Settings, load
from common.spark.java_lookups import keep_lookups

LOG = logging.getLogger(__name__)

# Streams are served first up to all slots, batch takes what they leave: a real-time query gives its slots back at every
# checkpoint, and must get them again before a batch job that has hundreds of tasks waiting.
POOLS = """<?xml version="1.0"?>
<allocations>
  <pool name="streams"><schedulingMode>FAIR</schedulingMode><weight>3</weight><minShare>{slots}</minShare></pool>
  <pool name="batch"><schedulingMode>FAIR</schedulingMode><weight>1</weight><minShare>0</minShare></pool>
</allocations>
"""


COMPILE_LARGE_METHODS = "-XX:-DontCompileHugeMethods"
# Java's second compiler makes code faster in the end, and on two cores is at work for minutes until then. Without it Java
# keeps a fifth of the room for code, which a vertical's queries overflow.
COMPILE_QUICKLY = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


# Beyond some size (39,000 bytes of a method were seen) Java's first compiler gives up, and interprets for good: such a query is
# not made one method, then, but several. Behind a window's state that pays earlier: over a method of 13,000 bytes Java's second
# compiler was at work 40% of the time, for good, while what works per event is a third faster as one method of over 14,000
# (docs/performance-notebook.md).
METHOD_LIMIT = "spark.sql.codegen.hugeMethodLimit"
LONGEST_METHOD, LONGEST_STATEFUL_METHOD = 20_000, 12_000  # bytes

LONG_HEX = "[0-9A-Fa-f]{64,}"
# PySpark prints what it also raises, beside all other logging, with Java's text: the plan.
PRINTERS_OF_PLANS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")

MOMENT = 0.5  # seconds, between the end of the JVM's connections and its own


def start_session(
    name: str, task_slots: int, folder: Path, settings: Settings | None = None, *, is_brief: bool = False,
    java_options: Sequence[str] | None = None, encrypts: bool = False,
) -> SparkSession:
    """A session with `task_slots` local task slots (or on `settings.spark_master`), working under `folder`.

    Real-time queries hold a slot for each Kafka and each shuffle partition for good: count them with
    `common.streaming.queries.task_slots` and add some for batch. is_brief: it is to be quick at once, rather than quickest
    after some minutes. java_options: in the place of those by which Java starts from the classes that were kept for it. encrypts:
    what is spilt, shuffled or kept on disk meanwhile is encrypted, with a key that nobody is told.
    """
    from common.embedded.jars import ensure_jars
    from common.embedded.java import JavaError, find_java

    settings = settings or load(Settings)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    pools = folder / "pools.xml"
    pools.write_text(POOLS.format(slots=task_slots))
    jars = ensure_jars("spark")
    java = find_java()
    if java_options is None:
        java_options = sharing_options("spark", java, spark_class_path())
    os.environ["JAVA_HOME"] = str(java.home)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)  # and not another Spark that the machine may have
    builder = SparkSession.builder.appName(name).master(settings.spark_master or f"local[{task_slots}]")
    encryption = {"spark.io.encryption.enabled": "true"} if encrypts else {}
    for key, value in (_options(settings, folder, pools, jars, is_brief, java_options) | encryption).items():
        builder = builder.config(key, value)
    with _stderr_to(folder / "spark.log"), _java_ended_if_cut_short():
        try:
            spark = builder.getOrCreate()
        except PySparkRuntimeError as problem:
            if problem.getCondition() != "JAVA_GATEWAY_EXITED":
                raise
            raise JavaError(
                f"Spark's Java ended before it had started: see above, or {folder / 'spark.log'}. It was given "
                f"{settings.driver_memory} of memory (HYBRID_DRIVER_MEMORY) and the master "
                f"{settings.spark_master or 'local'} (HYBRID_SPARK_MASTER)"
            ) from None
    keep_lookups(spark._jvm)
    spark.sparkContext.setLogLevel("ERROR")
    for name in PRINTERS_OF_PLANS:
        PySparkLogger.getLogger(name).disabled = True
    # Starts what keeps track of state stores, which a batch job with transformWithState would not find otherwise.
    spark._jsparkSession.streams()
    return spark


def spark_class_path() -> str:
    """What Spark's Java is started with, as far as it stays the same."""
    return str(Path(pyspark.__file__).parent / "jars" / "*")


@contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """A JVM that is started in the block, and the workers it starts, write their messages to `log` instead of the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _java_ended_if_cut_short() -> Iterator[None]:
    """Ends the JVM that was started in the block if a signal or an error leaves it: not connected to us yet, it would stay."""
    own = psutil.Process()
    before = set(own.children())
    try:
        yield
    except BaseException:
        for started in set(own.children()) - before:
            for process in (*started.children(recursive=True), started):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        raise


def java_is_gone() -> bool:
    """Whether the JVM that this process started for Spark has ended; one that is about to gets a moment."""
    process: subprocess.Popen[bytes] | None = getattr(SparkContext._gateway, "proc", None)  # None: Java started this process
    if process is None:
        return False
    try:
        process.wait(MOMENT)
    except subprocess.TimeoutExpired:
        return False
    return True


def use_pool(spark: SparkSession, pool: str) -> None:
    """Jobs that this thread starts from now on run in scheduler pool `pool` ("streams" or "batch")."""
    spark.sparkContext.setLocalProperty("spark.scheduler.pool", pool)


@contextmanager
def methods_for(spark: SparkSession, stateful: bool) -> Iterator[None]:
    """A streaming query that is started in the block is compiled as suits it; it keeps the settings that it was started with."""
    spark.conf.set(METHOD_LIMIT, LONGEST_STATEFUL_METHOD if stateful else LONGEST_METHOD)
    try:
        yield
    finally:
        spark.conf.set(METHOD_LIMIT, LONGEST_METHOD)


def use_group(spark: SparkSession, group: str) -> None:
    """Jobs that this thread starts from now on can be cancelled together, by `cancel_group`."""
    spark.sparkContext.setJobGroup(group, group)


def cancel_group(spark: SparkSession, group: str) -> None:
    """Ends the group's running jobs, with an error in the thread that waits for them."""
    spark.sparkContext.cancelJobGroup(group)


def _options(
    settings: Settings, folder: Path, pools: Path, jars: list[Path], is_brief: bool, java_options: Sequence[str]
) -> dict[str, str]:
    cores = os.cpu_count() or 2
    # Slots are many, cores are few: by slots, a handful of rows from Python would come through as many Python workers.
    local = {} if settings.spark_master else {
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.default.parallelism": str(cores)}
    return local | {
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.driver.memory": settings.driver_memory,
        # The generated code of a query with all its rules is one large method, which Java would interpret for good instead
        # of compiling it. What was seen with and without: docs/performance-notebook.md.
        "spark.driver.extraJavaOptions": " ".join([
            COMPILE_LARGE_METHODS, *([COMPILE_QUICKLY] if is_brief else []), *(f'"{option}"' for option in java_options)]),
        "spark.executor.extraJavaOptions": COMPILE_LARGE_METHODS,
        METHOD_LIMIT: str(LONGEST_METHOD),
        # Compiled queries that are kept: with Spark's 100, which the archive alone overflows, each of its batches would be
        # compiled anew, by Spark and then by Java, which took a third of its time (docs/performance-notebook.md).
        "spark.sql.codegen.cache.maxEntries": "1000",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(folder / "local"),
        "spark.redaction.regex": SECRET_OPTIONS,
        "spark.sql.redaction.options.regex": SECRET_OPTIONS,
        # Keys are never in plans (common.privacy.pseudonyms); should one get there, it is not shown.
        "spark.redaction.string.regex": LONG_HEX,
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        # A batch job's scan in as many tasks as there are slots would leave streams no core.
        "spark.sql.files.minPartitionNum": str(max(1, cores // 2)),
        "spark.scheduler.mode": "FAIR",
        "spark.scheduler.allocation.file": str(pools),
        # Spark's own check counts the waiting tasks of batch as taken slots and would end a stream at its checkpoint. We
        # count the slots ourselves (streams.task_slots), and the pools see to it that streams get theirs.
        "spark.scheduler.pipelinedGroup.slotCheck.enabled": "false",
        # Otherwise every operation on a column asks the JVM five things more, to tell the line of Python in an error: most of
        # the time that building the rules takes (docs/performance-notebook.md).
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        # A Python worker that has read a baseline, or the like, waits for more with its 50 to 75 MB until none has been asked
        # for a minute: for good, in a stream. Of four verticals 40 to 70 did. These are for each kind of work there is.
        "spark.python.factory.idleWorkerMaxPoolSize": "3",
        # How long Java offers us the rows of a collect: after Spark's own 15 s a busy machine is told "connection refused".
        "spark.python.authenticate.socketTimeout": "120s",
        "spark.sql.session.timeZone": "UTC",
        # Otherwise Spark puts settings and the environment in the place of ${...} in an expression before it reads it.
        "spark.sql.variable.substitute": "false",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.streaming.stateStore.providerClass":
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
        # The newest baselines are read through a Python data source, which is not on the real-time mode's list.
        "spark.sql.streaming.realTimeMode.allowlistCheck": "false",
        # Windows behind the watermark go as events come, two for each; otherwise all go at the checkpoint, while alerts wait.
        "spark.sql.streaming.statefulOperator.incrementalCleanupFactor": "2",
        # A shuffle's network buffer waits this long for more rows: 1 ms: p50 2.7 ms, not 30 (docs/performance-notebook.md).
        "spark.shuffle.streaming.networkBufferMaxWaitTimeMs": "1",
        # Constraints over a model's many features, each an expression of others, take the optimizer minutes and gigabytes.
        "spark.sql.constraintPropagation.enabled": "false",
        # Who is killed in the first batch, or meets a full disk there, leaves unfinished files in the checkpoint. Spark would
        # then refuse to start from it, for good; whether a checkpoint fits its query is for `state.check_state` to say.
        "spark.sql.streaming.verifyCheckpointDirectoryEmptyOnStart": "false",
        "spark.sql.streaming.metricsEnabled": "true",
        "spark.sql.adaptive.enabled": "true",
    }
