"""Counts eight seconds of log lines with DStreams and with Structured Streaming."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from examples.dstreams import legacy, structured
from examples.dstreams.lines import SECONDS, WINDOW, lines_of

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)

Say = Callable[[str], None]
Counts = dict[str, int]


@dataclass
class Outcome:
    """Counts by level: of the windows that end with each second, of all seconds, and of all as they came from a socket."""

    legacy_windows: list[Counts] = field(default_factory=list)
    legacy_total: Counts = field(default_factory=dict)
    legacy_socket: Counts = field(default_factory=dict)
    structured_windows: list[Counts] = field(default_factory=list)
    structured_total: Counts = field(default_factory=dict)


def run_story(spark: SparkSession, folder: Path, say: Say) -> Outcome:
    """Run both on the same lines. folder: for files and checkpoints."""
    outcome = Outcome()
    batches = [lines_of(second) for second in range(SECONDS)]
    say(f"{SECONDS} batches of log lines, {sum(map(len, batches))} in all; with DStreams, from a queue:")
    context = spark.sparkContext
    outcome.legacy_windows, outcome.legacy_total = legacy.run_on_queue(context, batches, WINDOW, folder / "dstreams")
    say("with DStreams, the same lines from a socket:")
    with _line_server([line for batch in batches for line in batch]) as (host, port):
        outcome.legacy_socket = legacy.run_on_socket(context, host, port, sum(map(len, batches)))

    say("with Structured Streaming, from files, each line with its second:")
    files = folder / "lines"
    files.mkdir()
    for second, batch in enumerate(batches):
        time = f"{BEGIN + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"
        (files / f"{second}.json").write_text("".join(json.dumps({"time": time, "line": line}) + "\n" for line in batch))
    lines = structured.read_files(spark, files)
    windows = structured.run_to_table(structured.count_in_window(lines, WINDOW), "windows", folder / "windows").collect()
    outcome.structured_windows = [
        {row.level: row["count"] for row in windows if row.window.end == _end_of(second)} for second in range(SECONDS)
    ]
    total = structured.run_to_table(structured.count_so_far(lines), "total", folder / "total")
    outcome.structured_total = {row.level: row["count"] for row in total.collect()}

    for second in range(SECONDS):
        legacy_counts, structured_counts = outcome.legacy_windows[second], outcome.structured_windows[second]
        difference = "" if legacy_counts == structured_counts else f", but DStreams: {_format_counts(legacy_counts)}"
        say(f"the {WINDOW} seconds up to second {second}: {_format_counts(structured_counts)}{difference}")
    say(f"all, DStreams:             {_format_counts(outcome.legacy_total)}")
    say(f"all, DStreams by a socket: {_format_counts(outcome.legacy_socket)}")
    say(f"all, Structured Streaming: {_format_counts(outcome.structured_total)}")
    return outcome


def _end_of(second: int) -> datetime:
    """The end of the window whose last second this is, without a zone, as Spark gives a UTC time to Python."""
    return (BEGIN + timedelta(seconds=second + 1)).replace(tzinfo=None)


def _format_counts(counts: Counts) -> str:
    return ", ".join(f"{level} {count}" for level, count in sorted(counts.items()))


@contextmanager
def _line_server(lines: list[str]) -> Iterator[tuple[str, int]]:
    """The address of a server that sends the lines to its first client, and keeps the connection until the block ends."""
    has_ended = threading.Event()

    def send(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            client.sendall("".join(f"{line}\n" for line in lines).encode())
            has_ended.wait(legacy.MAX_WAIT_SECONDS)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(legacy.MAX_WAIT_SECONDS)
        threading.Thread(target=send, args=(server,), daemon=True).start()
        try:
            yield server.getsockname()
        finally:
            has_ended.set()
