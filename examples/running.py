"""What the examples' commands share: where their broker is, and how a line is said."""

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


def arguments(description: str | None) -> argparse.Namespace:
    """--bootstrap-servers, which every example that needs Kafka takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bootstrap-servers", help="your Kafka, host:port [default: one is started here, and ended]")
    return parser.parse_args()


@contextmanager
def with_broker(given: str | None = None) -> Iterator[str]:
    """The bootstrap servers of the given cluster, or of a broker that runs as long as the block."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="hybrid-example-") as folder, EmbeddedKafka(Path(folder)) as kafka:
        yield kafka.bootstrap_servers


@contextmanager
def spark_for(name: str, task_slots: int) -> Iterator[tuple[SparkSession, Path]]:
    """A Spark session, and a folder for what an example leaves; both are gone after the block."""
    with tempfile.TemporaryDirectory(prefix=f"hybrid-{name}-") as folder:
        spark = start_session(name, task_slots, Path(folder) / "spark")
        try:
            yield spark, Path(folder)
        finally:
            spark.stop()


def topic_of_this_run(name: str) -> str:
    """A topic that nobody else has, so that an example can run again on the same cluster."""
    return f"{name}-{time.time_ns() // 1_000_000:x}"


def say(line: str) -> None:
    """Print it at once, also where the output is not a terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_vertical(name: str) -> None:
    """A minute of a domain, as `hybrid run NAME --for 60s` runs it; --bootstrap-servers is handed on. Ends this process."""
    command = [sys.executable, "-m", "common.cli", "run", name, "--for", "60s", *sys.argv[1:]]
    sys.exit(subprocess.run(command, check=False).returncode)
