"""Measures how many events each stage of a vertical handles a second, what memory it takes and how many files it makes."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from pyspark.sql import SparkSession

from common import tables
from common.batch.backfill import backfill
from common.batch.batch import run_batch
from common.deployment import Deployment
from common.embedded.ports import HOST, find_free_port, wait_until_listening
from common.embedded.supervise import start_supervised
from common.monitoring.alert_watch import percentiles
from common.streaming.archiving import run_archiving
from common.workspace import Workspace
from loadtests.bench.backlog import clean_messages, count_events, fill_topic, take_at_least
from loadtests.bench.http_load import Endpoint, post_all
from loadtests.bench.yardsticks import bare_spark, consume, python_loop
from loadtests.process_memory import PeakMemory
from loadtests.simulation_spec import SimulationSpec

BATCH_EVENTS = 500  # events in a request, where they come in batches
HTTP_SHARE = 5  # one in so many events is sent by HTTP, which is not what a backlog is worked off by
SINGLE_SHARE = 10  # one in so many of these is sent by itself: such requests are that much slower
SINGLE, BATCHED = "one by one", f"{BATCH_EVENTS} at once"
CONNECTIONS = {SINGLE: 64, BATCHED: 16}
STEADY_REQUESTS = {SINGLE: 2_500, BATCHED: 60}  # a second: half of what the gateway is to take
WARM_UP_SHARE = 0.25  # of the requests at a steady rate: the broker's Java compiles what they need, the gateway connects
START_SECONDS = 60.0
NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Stage:
    """events in `seconds`. peak_mib: of all processes, broker and Spark included; files: that the events table then has.

    p50 and p99: ms to an answer, where there are answers, after a warm-up where requests come at a steady rate.
    """

    events: int
    seconds: float
    peak_mib: float
    files: int | None = None
    p50: float | None = None
    p99: float | None = None

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


@dataclass(frozen=True)
class StageInput:
    """A simulation, its days of history, and the number of events after them."""

    simulation: SimulationSpec
    history_days: int
    events: int

    @property
    def later_simulation(self) -> SimulationSpec:
        """The simulation from the day after its history on."""
        return self.simulation.after(self.history_days)


@dataclass(frozen=True)
class HttpLoad:
    """Bodies to post, which hold so many events, over so many connections."""

    bodies: list[bytes]
    events: int
    content_type: str
    connections: int


@dataclass(frozen=True)
class HttpServer:
    """A Python module with its arguments that serves HTTP at `port`."""

    command: list[str]
    port: int


def stages(spark: SparkSession, deployment: Deployment, data: StageInput) -> Iterator[tuple[str, Callable[[], Stage]]]:
    """Yields each stage's name and the function that measures it, in an order in which a stage finds the data that it needs."""
    simulation, archive = data.later_simulation, Workspace(deployment.workspace.data / "archived", deployment.vertical.name)
    yield "generator", partial(_measure_generator, deployment, data)
    yield "backfill", partial(_measure_backfill, spark, deployment, data)
    yield "batch", partial(_measure_batch, spark, deployment, data)
    yield "producer", lambda: _measure(lambda: fill_topic(deployment, simulation, data.events))
    yield "consume alone", lambda: _measure_rate(deployment, partial(consume, deployment))
    yield "python loop", lambda: _measure_rate(deployment, partial(python_loop, deployment))
    yield "bare Spark", lambda: _measure_rate(deployment, partial(bare_spark, spark, deployment))
    yield "archive", partial(_measure_archive, spark, deployment, archive)
    yield from gateway_stages(deployment, data)


def gateway_stages(deployment: Deployment, data: StageInput) -> Iterator[tuple[str, Callable[[], Stage]]]:
    """Requests of one event and of many, to the gateway and to a server that does nothing with them."""
    loads = _http_loads(deployment, data)
    for name, server in (("echo", _echo_server()), ("gateway", _gateway(deployment))):
        for batching, load in loads.items():
            post = partial(_measure_http, deployment, server, load)
            yield f"{name}, {batching}", post
            if name == "gateway":
                yield f"{name}, {batching}, steady", partial(post, STEADY_REQUESTS[batching])


def _http_loads(deployment: Deployment, data: StageInput) -> dict[str, HttpLoad]:
    chunks = clean_messages(deployment, data.later_simulation, data.events // HTTP_SHARE)
    events = [value for chunk in chunks for value in chunk.values]
    single = events[: len(events) // SINGLE_SHARE]
    batches = [b"\n".join(events[first : first + BATCH_EVENTS]) for first in range(0, len(events), BATCH_EVENTS)]
    return {
        SINGLE: HttpLoad(single, len(single), "application/json", CONNECTIONS[SINGLE]),
        BATCHED: HttpLoad(batches, len(events), NDJSON, CONNECTIONS[BATCHED]),
    }


def _echo_server() -> HttpServer:
    port = find_free_port()
    app = ["uvicorn", "loadtests.bench.echo_server:app", "--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    return HttpServer([*app, "--port", str(port), "--log-level", "warning"], port)


def _gateway(deployment: Deployment) -> HttpServer:
    port = find_free_port()
    gateway = ["common.cli", "gateway", deployment.vertical.name, "--bootstrap-servers", deployment.kafka.bootstrap_servers]
    return HttpServer([*gateway, "--open", "--data", str(deployment.settings.data.absolute()), "--http", f"{HOST}:{port}"], port)


def _measure_generator(deployment: Deployment, data: StageInput) -> Stage:
    chunks = data.later_simulation.generate(deployment.vertical)
    return _measure(lambda: sum(len(chunk.messages or ()) for chunk in take_at_least(chunks, data.events)))


def _measure_backfill(spark: SparkSession, deployment: Deployment, data: StageInput) -> Stage:
    simulation = data.simulation
    return _measure(
        lambda: backfill(spark, deployment, simulation.seed, simulation.start, data.history_days, simulation.population),
        deployment.workspace,
    )


def _measure_batch(spark: SparkSession, deployment: Deployment, data: StageInput) -> Stage:
    """Contract suite, baselines, trends and plots of all the history."""
    return _measure(lambda: run_batch(spark, deployment, data.later_simulation.start).events)


def _measure_archive(spark: SparkSession, deployment: Deployment, workspace: Workspace) -> Stage:
    """Archive all of the topic, into another workspace."""
    settings = deployment.settings.model_copy(update={"archive_interval": 1})

    def drain() -> int:
        with run_archiving(spark, replace(deployment, workspace=workspace, settings=settings)) as queries:
            queries.drain()
            return queries.counts()["events"] + queries.counts()["quarantine"]

    stage = _measure(drain, workspace)
    if stage.events != (events := count_events(deployment)):
        raise RuntimeError(f"the topic holds {events:,} events, the archive kept {stage.events:,}")
    return stage


def _measure_http(deployment: Deployment, server: HttpServer, load: HttpLoad, per_second: float = math.inf) -> Stage:
    endpoint = Endpoint(HOST, server.port, f"/v1/{deployment.vertical.name}/events", load.content_type)
    environment = {**os.environ, "HYBRID_GATEWAY_RATE": "0"}  # from one address comes more than one client may send
    log = deployment.settings.data.absolute() / "bench-http.log"
    with start_supervised([sys.executable, "-m", *server.command], log, environment=environment), PeakMemory() as memory:
        wait_until_listening(server.port, START_SECONDS)
        times = post_all(endpoint, load.bodies, load.connections, per_second)
    warm_up = round(WARM_UP_SHARE * len(load.bodies)) if per_second < math.inf else 0
    latency = percentiles(times.latencies[warm_up:])
    return Stage(load.events, times.seconds, memory.mib, p50=latency.p50, p99=latency.p99)


def _measure(work: Callable[[], int], workspace: Workspace | None = None) -> Stage:
    """work: returns how many events it handled. workspace: whose files are counted afterwards."""
    with PeakMemory() as memory:
        started_at = time.monotonic()
        events = work()
        seconds = time.monotonic() - started_at
    return Stage(events, seconds, memory.mib, len(tables.files(workspace.table("events"))) if workspace else None)


def _measure_rate(deployment: Deployment, rate_of: Callable[[int], float]) -> Stage:
    """rate_of: events per second for the number of events on the topic."""
    events = count_events(deployment)
    with PeakMemory() as memory:
        per_second = rate_of(events)
    return Stage(events, events / per_second, memory.mib)
