"""Measures how long a gateway's well-behaved client waits, and what memory the gateway holds, while others attack it."""

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
from common.embedded.ports import HOST, find_free_port, wait_until_listening
from common.embedded.supervise import SupervisedProcess, start_supervised
from common.gateway.tokens import TokenFile
from common.kafka.connection import Connection
from common.monitoring.alert_watch import percentiles
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.bench.attackers import KINDS
from loadtests.bench.http_load import Endpoint, post_all
from loadtests.process_memory import measure_memory

NONE = "none"
ATTACKS = (NONE, *KINDS)
CONNECTIONS, REQUESTS_PER_SECOND = 4, 50  # of the well-behaved client, each request an event
WARM_UP_SHARE = 0.2  # of the requests: the broker's Java compiles what they need
SAMPLE_SECONDS, START_SECONDS, ATTACK_START_SECONDS = 0.1, 60.0, 2.0
TEXT_COLUMNS = ("vertical", "rule", "entity_id", "severity", "reasons", "event")
FIRST_DAY, DAYS = datetime(2020, 1, 1, tzinfo=UTC), 30  # of the alerts


@dataclass(frozen=True)
class AttackResult:
    """p50, p99, max: ms until the good client's answers, all 202, after a warm-up. peak_mib: the most that the gateway held."""

    answers: int
    p50: float | None
    p99: float | None
    max: float
    peak_mib: float


@dataclass(frozen=True)
class GatewayUnderAttack:
    """A running gateway, and two tokens for it: that of the well-behaved client and that of the attackers."""

    port: int
    process: SupervisedProcess
    client_token: str
    attacker_token: str


@contextmanager
def running_gateway(vertical: Vertical, connection: Connection, data: Path) -> Iterator[GatewayUnderAttack]:
    """Runs a gateway of default settings until the block ends."""
    tokens, port = TokenFile(data), find_free_port()
    scopes = [f"{vertical.name}:read", f"{vertical.name}:write"]
    client_token, attacker_token = (tokens.add(name, scopes, [vertical.name]) for name in ("good", "bad"))
    command = [sys.executable, "-m", "common.cli", "gateway", vertical.name, "--http", f"{HOST}:{port}", "--data", str(data)]
    with start_supervised([*command, "--bootstrap-servers", connection.bootstrap_servers], data / "gateway.log") as process:
        wait_until_listening(port, START_SECONDS)
        yield GatewayUnderAttack(port, process, client_token, attacker_token)


def measure_attack(attack: str, path: str, bodies: list[bytes], gateway: GatewayUnderAttack, log: Path) -> AttackResult:
    """Measures the client that sends `bodies` to `path` while the attack goes on. log: of the attackers."""
    attackers = [sys.executable, "-m", "loadtests.bench.attackers", attack, str(gateway.port), path, gateway.attacker_token]
    with ExitStack() as stack:
        memory_mib = stack.enter_context(_memory_samples(gateway.process))
        if attack != NONE:
            stack.enter_context(start_supervised(attackers, log))
            time.sleep(ATTACK_START_SECONDS)
        endpoint = Endpoint(HOST, gateway.port, path, token=gateway.client_token)
        times = post_all(endpoint, bodies, CONNECTIONS, REQUESTS_PER_SECOND)
    latencies = times.latencies[round(WARM_UP_SHARE * len(bodies)) :]
    latency_percentiles = percentiles(latencies)
    return AttackResult(len(latencies), latency_percentiles.p50, latency_percentiles.p99, max(latencies), max(memory_mib))


def store_alerts(vertical: Vertical, data: Path, alert_count: int) -> None:
    """Writes a table of so many alerts, over a month."""
    path, schema = Workspace(data, vertical.name).table("alerts"), to_arrow_schema(ALERTS_SCHEMA, timezone="UTC")
    tables.ensure_table(path, ALERTS_SCHEMA, [PARTITION])
    for day in range(DAYS):
        midnight, row_count = FIRST_DAY + timedelta(days=day), alert_count // DAYS
        event_times = pa.array(
            [midnight + timedelta(seconds=86_400 * row / row_count) for row in range(row_count)], pa.timestamp("us", tz="UTC")
        )
        columns = {field.name: pa.nulls(row_count, field.type) for field in schema}
        columns |= {"event_time": event_times, "ingest_time": event_times}
        columns |= {"alert_id": pa.array([f"{day:04x}{row:028x}" for row in range(row_count)])}
        columns |= {name: pa.array(["x" * 60] * row_count) for name in TEXT_COLUMNS}
        columns |= {"score": pa.array([1.0] * row_count), PARTITION: pa.array([midnight.date()] * row_count)}
        tables.append_arrow(pa.table(columns, schema=schema), path)


@contextmanager
def _memory_samples(process: SupervisedProcess) -> Iterator[list[float]]:
    """MiB that the gateway holds, a tenth of a second apart, until the block ends."""
    [gateway] = psutil.Process(process.pid).children()
    samples, stop = [measure_memory(gateway.pid)], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            samples.append(measure_memory(gateway.pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
