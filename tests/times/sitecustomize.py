"""Python imports this by itself where it finds it: each process that a timed test starts tells where its time went.

On the path, and TEST_TIMES set, under `make test-times` alone. A process appends lines of JSON to a file of its own in the folder
TEST_TIMES: starts of sessions and brokers, and, of each Spark, what its Java did until it was stopped.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from pathlib import Path

FOLDER = os.environ.get("TEST_TIMES")


def note(**fields):
    """One line, whole: several threads may write."""
    line = json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv)[:200], **fields}) + "\n"
    with Path(FOLDER, f"{os.getpid()}.jsonl").open("a") as file:
        file.write(line)


def timed(function, kind):
    def run(*words, **named):
        began = time.monotonic()
        try:
            return function(*words, **named)
        finally:
            note(kind=kind, seconds=time.monotonic() - began)

    return run


def java_times(context):
    """Seconds that this Spark's Java spent, by what it did; phases of several threads add up to more than its life."""
    import psutil

    jvm = context._jvm
    management = jvm.java.lang.management.ManagementFactory
    rules = jvm.org.apache.spark.sql.catalyst.rules.RuleExecutor.dumpTimeSpent()
    total = next((line for line in rules.splitlines() if line.startswith("Total time:")), "Total time: 0 seconds")
    collectors = management.getGarbageCollectorMXBeans()
    return {
        "rules": float(total.split()[2]),
        "generated": jvm.org.apache.spark.sql.catalyst.expressions.codegen.CodeGenerator.compileTime() / 1e9,
        "compiled": management.getCompilationMXBean().getTotalCompilationTime() / 1e3,
        "collected": sum(collectors[number].getCollectionTime() for number in range(len(collectors))) / 1e3,
        "classes": management.getClassLoadingMXBean().getTotalLoadedClassCount(),
        "cpu": sum(psutil.Process(context._gateway.proc.pid).cpu_times()[:2]),
        "life": management.getRuntimeMXBean().getUptime() / 1e3,
    }


def telling_of_java(stop):
    def run(context):
        if getattr(context, "_jsc", None) is not None:
            try:
                note(kind="spark", **java_times(context))
            except Exception as error:
                note(kind="spark", error=repr(error)[:200])
        return stop(context)

    return run


def patch_session(module):
    module.start_session = timed(module.start_session, "session")
    module.SparkContext.stop = telling_of_java(module.SparkContext.stop)


def patch_kafka(module):
    module.EmbeddedKafka.start = timed(module.EmbeddedKafka.start, "broker")


PATCHES = {"common.spark.session": patch_session, "common.embedded.kafka": patch_kafka}


class Patching(importlib.abc.MetaPathFinder):
    """Finds a module as Python would, and patches it once it is loaded."""

    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                load = spec.loader.exec_module

                def exec_module(module, load=load):
                    load(module)
                    PATCHES[module.__name__](module)

                spec.loader.exec_module = exec_module
                return spec
        return None


if FOLDER:
    sys.meta_path.insert(0, Patching())
