"""The settings of our Spark session: a dictionary for each topic, with the reason beside a setting where one is needed."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.kafka.security import SECRET_OPTIONS
from common.settings import Settings

# Java interprets for good, instead of compiling it, what is larger than 8,000 bytes of a method; the generated code of a query
# with all its rules is one large method. What was seen with and without: docs/performance-notebook.md.
COMPILE_LARGE_METHODS = "-XX:-DontCompileHugeMethods"
# Java's second compiler makes code faster in the end, and works for minutes on two cores until then. Without it Java has a fifth
# of the memory for code, which is too little for a vertical's queries: hence 240 MB.
COMPILE_QUICKLY = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"

# Spark generates several methods, instead of one, for a query whose code is larger than this limit. Beyond some size (39,000
# bytes of a method were seen) Java's first compiler gives up, and interprets for good. Behind a window's state a lower limit
# pays: over a method of 13,000 bytes Java's second compiler was at work 40% of the time, for good, while a query that works per
# event is a third faster as one method of over 14,000 (docs/performance-notebook.md).
METHOD_LIMIT = "spark.sql.codegen.hugeMethodLimit"
LONGEST_METHOD, LONGEST_STATEFUL_METHOD = 20_000, 12_000  # bytes

CODE_GENERATION = {
    METHOD_LIMIT: str(LONGEST_METHOD),
    # Compiled queries that are kept: Spark's 100 are fewer than the archive alone has, and each of its batches would be compiled
    # anew, by Spark and then by Java, which took a third of its time (docs/performance-notebook.md).
    "spark.sql.codegen.cache.maxEntries": "1000",
    # Constraints over a model's many features, each an expression of others, take the optimizer minutes and gigabytes.
    "spark.sql.constraintPropagation.enabled": "false",
    "spark.sql.adaptive.enabled": "true",
}

STREAMING = {
    "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    # The newest baselines are read through a Python data source, which is not on the real-time mode's list.
    "spark.sql.streaming.realTimeMode.allowlistCheck": "false",
    # State behind the watermark is removed as events come, two windows for each; otherwise all of it is removed at the
    # checkpoint, while alerts wait.
    "spark.sql.streaming.statefulOperator.incrementalCleanupFactor": "2",
    # A shuffle's network buffer waits this long for more rows: 1 ms gave p50 2.7 ms instead of 30 (docs/performance-notebook.md).
    "spark.shuffle.streaming.networkBufferMaxWaitTimeMs": "1",
    # A query that is killed in its first batch, or meets a full disk there, leaves unfinished files in the checkpoint. Spark
    # would then refuse to start from it, for good; `state.check_state` decides whether a checkpoint fits its query.
    "spark.sql.streaming.verifyCheckpointDirectoryEmptyOnStart": "false",
    "spark.sql.streaming.metricsEnabled": "true",
}

SCHEDULING = {
    "spark.scheduler.mode": "FAIR",
    # Spark's own check counts the waiting tasks of batch as used slots and would end a stream at its checkpoint. Slots are
    # counted by `streaming.queries.task_slots`, and the pools give streams theirs.
    "spark.scheduler.pipelinedGroup.slotCheck.enabled": "false",
}

PYTHON = {
    # Otherwise every operation on a column asks the JVM five more questions, to name the line of Python in an error: most of the
    # time that building the rules takes (docs/performance-notebook.md).
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # A Python worker that has read a baseline, or the like, waits with its 50 to 75 MB until none has been needed for a minute:
    # in a stream, for good. 40 to 70 workers of four verticals did. These are enough for each kind of work.
    "spark.python.factory.idleWorkerMaxPoolSize": "3",
    # How long Java offers Python the rows of a collect: after Spark's own 15 s a busy machine gets "connection refused".
    "spark.python.authenticate.socketTimeout": "120s",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}

SECRECY = {
    "spark.redaction.regex": SECRET_OPTIONS,
    "spark.sql.redaction.options.regex": SECRET_OPTIONS,
    # Keys are never in plans (common.privacy.pseudonyms); should one get there, it is not shown.
    "spark.redaction.string.regex": "[0-9A-Fa-f]{64,}",
    # Otherwise Spark replaces ${...} in an expression by settings and environment variables before it parses it.
    "spark.sql.variable.substitute": "false",
}

ROWS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # the only type that Delta allows
}

NO_SCREEN = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}

CONSTANT_OPTIONS = CODE_GENERATION | STREAMING | SCHEDULING | PYTHON | SECRECY | ROWS | NO_SCREEN


def memory_options(settings: Settings, is_brief: bool, java_options: Sequence[str]) -> dict[str, str]:
    """The JVM's memory and options; is_brief: it compiles quickly rather than well."""
    quoted_options = [f'"{option}"' for option in java_options]
    return {
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.extraJavaOptions": " ".join(
            [COMPILE_LARGE_METHODS, *([COMPILE_QUICKLY] if is_brief else []), *quoted_options]
        ),
        "spark.executor.extraJavaOptions": COMPILE_LARGE_METHODS,
    }


def parallelism_options(settings: Settings) -> dict[str, str]:
    """How many tasks and partitions there are, and for a local session its addresses."""
    cores = os.cpu_count() or 2
    local = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # Slots are many, cores are few: by slots, a handful of rows from Python would come through as many Python workers.
        "spark.default.parallelism": str(cores),
    }
    return ({} if settings.spark_master else local) | {
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        # A batch job's scan in as many tasks as there are slots would leave streams no core.
        "spark.sql.files.minPartitionNum": str(max(1, cores // 2)),
    }


def folder_options(folder: Path, jars: Sequence[Path], pools: Path) -> dict[str, str]:
    """The files and folders that the session uses; pools: the definition of the scheduler's pools."""
    return {
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.scheduler.allocation.file": str(pools),
    }
