"""Starts the Spark session: one per process, shared by streams and batch in fair scheduler pools."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark
from pyspark import SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from common.embedded.class_data import sharing_options
from common.settings import Settings, load
from common.spark.java_lookups import keep_lookups
from common.spark.options import (
    CONSTANT_OPTIONS,
    LONGEST_METHOD,
    LONGEST_STATEFUL_METHOD,
    METHOD_LIMIT,
    folder_options,
    memory_options,
    parallelism_options,
)

LOG = logging.getLogger(__name__)

# Streams come first, up to all slots, and batch gets the slots that are left: a real-time query gives its slots back at every
# checkpoint, and must get them again before a batch job with hundreds of waiting tasks.
POOLS = """<?xml version="1.0"?>
<allocations>
  <pool name="streams"><schedulingMode>FAIR</schedulingMode><weight>3</weight><minShare>{slots}</minShare></pool>
  <pool name="batch"><schedulingMode>FAIR</schedulingMode><weight>1</weight><minShare>0</minShare></pool>
</allocations>
"""

# These loggers of PySpark print errors that it raises as well, with Java's text, which has the query plan.
PLAN_LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")

JAVA_END_SECONDS = 0.5  # from the end of the JVM's connections to its own end


@dataclass(frozen=True)
class SessionMode:
    """How a session works.

    is_brief: it is quick at once, rather than quickest after some minutes. encrypts: data that it spills, shuffles or keeps on
    disk is encrypted with a key that exists in memory only. java_options: in the place of the usual ones, by which Java starts
    from stored classes (`embedded.class_data`).
    """

    is_brief: bool = False
    encrypts: bool = False
    java_options: tuple[str, ...] | None = None


def start_session(
    name: str, task_slots: int, folder: Path, settings: Settings | None = None, mode: SessionMode = SessionMode()
) -> SparkSession:
    """A session with `task_slots` local task slots (or on `settings.spark_master`), which works in `folder`.

    Real-time queries hold a slot for each Kafka and each shuffle partition for good: count them with
    `common.streaming.queries.task_slots` and add some for batch.
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
    java_options = sharing_options("spark", java, spark_class_path()) if mode.java_options is None else mode.java_options
    os.environ["JAVA_HOME"] = str(java.home)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)  # and not another Spark that the machine may have
    options = CONSTANT_OPTIONS | {
        **memory_options(settings, mode.is_brief, java_options),
        **parallelism_options(settings),
        **folder_options(folder, jars, pools),
        **({"spark.io.encryption.enabled": "true"} if mode.encrypts else {}),
    }
    builder = SparkSession.builder.appName(name).master(settings.spark_master or f"local[{task_slots}]")
    for key, value in options.items():
        builder = builder.config(key, value)
    with _stderr_to(folder / "spark.log"), _kill_java_on_error():
        try:
            spark = builder.getOrCreate()
        except PySparkRuntimeError as problem:
            if problem.getCondition() != "JAVA_GATEWAY_EXITED":
                raise
            raise JavaError(
                f"Spark's Java ended while it started: see above, or {folder / 'spark.log'}. It was given "
                f"{settings.driver_memory} of memory (HYBRID_DRIVER_MEMORY) and the master "
                f"{settings.spark_master or 'local'} (HYBRID_SPARK_MASTER)"
            ) from None
    keep_lookups(spark._jvm)
    spark.sparkContext.setLogLevel("ERROR")
    for name in PLAN_LOGGERS:
        PySparkLogger.getLogger(name).disabled = True
    # This starts the coordinator of state stores, without which a batch job with transformWithState fails.
    spark._jsparkSession.streams()
    return spark


def spark_class_path() -> str:
    """The class path of Spark's Java, without the jars of a session."""
    return str(Path(pyspark.__file__).parent / "jars" / "*")


@contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """A JVM that is started in the block, and its workers, write their messages to `log` instead of the terminal."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


@contextmanager
def _kill_java_on_error() -> Iterator[None]:
    """Kill the JVM that the block starts if the block ends by an error or a signal: not connected to us yet, it would stay."""
    this_process = psutil.Process()
    earlier_children = set(this_process.children())
    try:
        yield
    except BaseException:
        for child in set(this_process.children()) - earlier_children:
            for process in (*child.children(recursive=True), child):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        raise


def java_is_gone() -> bool:
    """Whether the JVM that this process started for Spark has ended; one that is ending gets JAVA_END_SECONDS."""
    process: subprocess.Popen[bytes] | None = getattr(SparkContext._gateway, "proc", None)  # None where Java started this process
    if process is None:
        return False
    try:
        process.wait(JAVA_END_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def use_pool(spark: SparkSession, pool: str) -> None:
    """Jobs that this thread starts from now on run in scheduler pool `pool` ("streams" or "batch")."""
    spark.sparkContext.setLocalProperty("spark.scheduler.pool", pool)


@contextmanager
def methods_for(spark: SparkSession, stateful: bool) -> Iterator[None]:
    """Queries that are started in the block are compiled with the limit for stateful queries or others, and keep it."""
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
