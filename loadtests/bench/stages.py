"""How many events each stage of a vertical handles a second, with the memory that it takes and the files that it leaves."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pyspark.sql import SparkSession

from common import tables
from common.batch.backfill import backfill
from common.batch.batch import run_batch
from common.deployment import Deployment
from common.embedded.ports import HOST, free_port, wait_until_taken
from common.embedded.supervise import supervised
from common.monitoring.alert_watch import percentiles
from common.streaming.archiving import archiving
from common.workspace import Workspace
from loadtests.bench.backlog import World, at_least, clean_messages, fill_topic, on_topic
from loadtests.bench.http_load import Answered, post_all
from loadtests.bench.yardsticks import bare_spark, consume, python_loop
from loadtests.process_memory import PeakMemory

BATCH = 500            # events in a request, where they come in batches
SINGLE_SHARE = 10      # one in so many events is sent by itself: such requests are that much slower
CONNECTIONS = {"one by one": 64, f"{BATCH} at once": 16}
STEADY = {"one by one": 2_500, f"{BATCH} at once": 60}  # requests a second: half of what the gateway is to take
WARM_UP = 0.25          # of the requests at a steady rate: the broker's Java compiles what they need, the gateway connects
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
class Asked:
    """A world, so many days of history in it, and so many events after them."""

    world: World
    history_days: int
    events: int

    @property
    def after(self) -> World:
        return self.world.after(self.history_days)


def stages(spark: SparkSession, deployment: Deployment, asked: Asked) -> Iterator[tuple[str, Callable[[], Stage]]]:
    """Names of the stages, and what measures each; in this order, as each stands on what the ones before have left."""
    archived = Workspace(deployment.workspace.data / "archived", deployment.vertical.name)
    yield "generator", partial(_generator, deployment, asked)
    yield "backfill", partial(_backfill, spark, deployment, asked)
    yield "batch", partial(_batch, spark, deployment, asked)
    yield "producer", lambda: _timed(lambda: fill_topic(deployment, asked.after, asked.events))
    yield "consume alone", lambda: _rate(deployment, partial(consume, deployment))
    yield "python loop", lambda: _rate(deployment, partial(python_loop, deployment))
    yield "bare Spark", lambda: _rate(deployment, partial(bare_spark, spark, deployment))
    yield "archive", partial(_archive, spark, deployment, archived)
    yield from gateway_stages(deployment, asked)


def gateway_stages(deployment: Deployment, asked: Asked) -> Iterator[tuple[str, Callable[[], Stage]]]:
    """Requests of one event and of many, to the gateway and to a server that does nothing with them."""
    echo = ["uvicorn", "loadtests.bench.echo_server:app", "--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    gateway = ["common.cli", "gateway", deployment.vertical.name, "--bootstrap-servers", deployment.kafka.bootstrap_servers]
    gateway += ["--open", "--data", str(deployment.settings.data.absolute())]
    # A fifth of the events: HTTP is not what a backlog is worked off by.
    chunks = clean_messages(deployment, asked.after, asked.events // 5)
    events = [value for chunk in chunks for value in chunk.values]
    single = events[: len(events) // SINGLE_SHARE]
    batches = [b"\n".join(events[first : first + BATCH]) for first in range(0, len(events), BATCH)]
    requests = {"one by one": (single, len(single), "application/json"), f"{BATCH} at once": (batches, len(events), NDJSON)}
    for name, command, port in (("echo", echo, free_port()), ("gateway", gateway, free_port())):
        listen = ["--http", f"{HOST}:{port}"] if name == "gateway" else ["--port", str(port), "--log-level", "warning"]
        for how, sent in requests.items():
            post = partial(_http, deployment, [*command, *listen], port, *sent, CONNECTIONS[how])
            yield f"{name}, {how}", post
            if name == "gateway":
                yield f"{name}, {how}, steady", partial(post, STEADY[how])


def _generator(deployment: Deployment, asked: Asked) -> Stage:
    made = asked.after.generate(deployment, True)
    return _timed(lambda: sum(len(chunk.messages or ()) for chunk in at_least(made, asked.events)))


def _backfill(spark: SparkSession, deployment: Deployment, asked: Asked) -> Stage:
    days = (asked.world.seed, asked.world.start, asked.history_days, asked.world.population)
    return _timed(lambda: backfill(spark, deployment.vertical, deployment.workspace, *days), deployment.workspace)


def _batch(spark: SparkSession, deployment: Deployment, asked: Asked) -> Stage:
    """Contract suite, baselines, trends and plots of all the history."""
    return _timed(lambda: run_batch(spark, deployment.vertical, deployment.workspace, asked.after.start).events)


def _archive(spark: SparkSession, deployment: Deployment, archived: Workspace) -> Stage:
    def drain() -> int:
        settings = deployment.settings.model_copy(update={"archive_interval": 1})
        with archiving(spark, deployment.vertical, archived, deployment.kafka, settings) as queries:
            queries.drain()
            return queries.counts()["events"] + queries.counts()["quarantine"]

    measured = _timed(drain, archived)
    if measured.events != (events := on_topic(deployment)):
        raise RuntimeError(f"the topic holds {events:,} events, the archive kept {measured.events:,}")
    return measured


def _http(
    deployment: Deployment, module: list[str], port: int, bodies: list[bytes], events: int, kind: str, connections: int,
    per_second: float = math.inf,
) -> Stage:
    def post() -> Answered:
        return post_all(HOST, port, f"/v1/{deployment.vertical.name}/events", bodies, connections, kind, per_second)

    environment = {**os.environ, "HYBRID_GATEWAY_RATE": "0"}  # from one address comes more than one client may send
    log = deployment.settings.data.absolute() / "bench-http.log"
    with supervised([sys.executable, "-m", *module], log, environment=environment), PeakMemory() as memory:
        wait_until_taken(port, START_SECONDS)
        answered = post()
    left_out = round(WARM_UP * len(bodies)) if per_second < math.inf else 0
    found = percentiles(answered.latencies[left_out:])
    return Stage(events, answered.seconds, memory.mib, p50=found.p50, p99=found.p99)


def _timed(work: Callable[[], int], workspace: Workspace | None = None) -> Stage:
    with PeakMemory() as memory:
        started = time.monotonic()
        events = work()
        seconds = time.monotonic() - started
    return Stage(events, seconds, memory.mib, len(tables.files(workspace.table("events"))) if workspace else None)


def _rate(deployment: Deployment, rate_over: Callable[[int], float]) -> Stage:
    events = on_topic(deployment)
    with PeakMemory() as memory:
        per_second = rate_over(events)
    return Stage(events, events / per_second, memory.mib)
