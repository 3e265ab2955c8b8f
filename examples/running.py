"""Provides what the examples' commands share: arguments, a broker, a Spark session, and lines on the terminal."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from common.embedded.kafka import EmbeddedKafka
from common.spark.session import start_session


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Parse --bootstrap-servers, which every example takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bootstrap-servers", help="your Kafka, host:port [default: one is started here, and ended]")
    return parser.parse_args()


@contextmanager
def broker_for(bootstrap_servers: str | None) -> Iterator[str]:
    """The bootstrap servers of your cluster, or without one of a broker that runs as long as the block."""
    if bootstrap_servers:
        yield bootstrap_servers
        return
    with tempfile.TemporaryDirectory(prefix="hybrid-example-") as folder, EmbeddedKafka(Path(folder)) as kafka:
        yield kafka.bootstrap_servers


@contextmanager
def spark_for(name: str, task_slots: int) -> Iterator[tuple[SparkSession, Path]]:
    """A Spark session, and a folder for what an example writes; both are removed after the block."""
    with tempfile.TemporaryDirectory(prefix=f"hybrid-{name}-") as folder:
        spark = start_session(name, task_slots, Path(folder) / "spark")
        try:
            yield spark, Path(folder)
        finally:
            spark.stop()


def unique_topic(name: str) -> str:
    """A topic's name that no other run uses, so that an example can run again on the same cluster."""
    return f"{name}-{time.time_ns() // 1_000_000:x}"


def say(line: str) -> None:
    """Print a line at once, also where the output is not a terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_vertical(name: str) -> None:
    """Run a domain for a minute, as `hybrid run NAME --for 60s` does, and exit with its status. Passes --bootstrap-servers on."""
    command = [sys.executable, "-m", "common.cli", "run", name, "--for", "60s", *sys.argv[1:]]
    sys.exit(subprocess.run(command, check=False).returncode)
