"""What a gateway's well-behaved client has to wait, and what memory the gateway holds, while others attack it."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from common import tables
from common.archive.archive_tables import ALERTS_SCHEMA, PARTITION
from common.embedded.ports import HOST, free_port, wait_until_taken
from common.embedded.supervise import Supervised, supervised
from common.gateway.tokens import TokenFile
from common.kafka.connection import Connection
from common.monitoring.alert_watch import percentiles
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.bench.attackers import KINDS
from loadtests.bench.http_load import post_all
from loadtests.process_memory import held_mib

NONE = "none"
ATTACKS = (NONE, *KINDS)
CONNECTIONS, PER_SECOND = 4, 50  # of the well-behaved client, each request an event
WARM_UP = 0.2  # of the requests: the broker's Java compiles what they need
LOOK_SECONDS, START_SECONDS = 0.1, 60.0
TEXTS = ("vertical", "rule", "entity_id", "severity", "reasons", "event")
FIRST_DAY, DAYS = datetime(2020, 1, 1, tzinfo=UTC), 30  # of the alerts


@dataclass(frozen=True)
class Withstood:
    """p50, p99, max: ms until the good client's answers, all 202, after a warm-up. peak_mib: the most that the gateway held."""

    answers: int
    p50: float | None
    p99: float | None
    max: float
    peak_mib: float


@contextmanager
def gateway_under_attack(vertical: Vertical, connection: Connection, data: Path) -> Iterator[tuple[int, Supervised, str, str]]:
    """A gateway of default settings with two tokens: its port, its process, and the tokens of the well-behaved and the other."""
    file, port = TokenFile(data), free_port()
    scopes = [f"{vertical.name}:read", f"{vertical.name}:write"]
    good, bad = (file.add(name, scopes, [vertical.name]) for name in ("good", "bad"))
    command = [sys.executable, "-m", "common.cli", "gateway", vertical.name, "--http", f"{HOST}:{port}", "--data", str(data)]
    with supervised([*command, "--bootstrap-servers", connection.bootstrap_servers], data / "gateway.log") as process:
        wait_until_taken(port, START_SECONDS)
        yield port, process, good, bad


def withstand(attack: str, path: str, bodies: list[bytes], gateway: tuple[int, Supervised, str, str], log: Path) -> Withstood:
    """Sends `bodies` to `path` while the attack goes on."""
    port, process, good, bad = gateway
    attackers = [sys.executable, "-m", "loadtests.bench.attackers", attack, str(port), path, bad]
    with ExitStack() as stack:
        peak = stack.enter_context(_peak(process))
        if attack != NONE:
            stack.enter_context(supervised(attackers, log))
            time.sleep(2)  # until it is under way
        answered = post_all(HOST, port, path, bodies, CONNECTIONS, "application/json", PER_SECOND, good)
    latencies = answered.latencies[round(WARM_UP * len(bodies)):]
    found = percentiles(latencies)
    return Withstood(len(latencies), found.p50, found.p99, max(latencies), max(peak))


def store_alerts(vertical: Vertical, data: Path, number: int) -> None:
    """A table of so many alerts, over a month."""
    path, schema = Workspace(data, vertical.name).table("alerts"), to_arrow_schema(ALERTS_SCHEMA, timezone="UTC")
    tables.ensure_table(path, ALERTS_SCHEMA, [PARTITION])
    for day in range(DAYS):
        began, rows = FIRST_DAY + timedelta(days=day), number // DAYS
        times = pa.array([began + timedelta(seconds=86_400 * row / rows) for row in range(rows)], pa.timestamp("us", tz="UTC"))
        columns = {field.name: pa.nulls(rows, field.type) for field in schema}
        columns |= {"event_time": times, "ingest_time": times}
        columns |= {"alert_id": pa.array([f"{day:04x}{row:028x}" for row in range(rows)])}
        columns |= {name: pa.array(["x" * 60] * rows) for name in TEXTS}
        columns |= {"score": pa.array([1.0] * rows), PARTITION: pa.array([began.date()] * rows)}
        tables.append_arrow(pa.table(columns, schema=schema), path)


@contextmanager
def _peak(process: Supervised) -> Iterator[list[float]]:
    """MiB that the gateway held, a tenth of a second apart."""
    [gateway] = psutil.Process(process.pid).children()
    held, ended = [held_mib(gateway.pid)], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            held.append(held_mib(gateway.pid))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()
