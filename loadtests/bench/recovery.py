"""Recovery: how long after a SIGKILL amid a steady stream alerts come again, of a detector that is started again at once."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from common.deployment import Deployment
from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.monitoring.alert_watch import AlertWatch
from common.replay.pacing import at_rate
from common.replay.send_generated import send_generated
from common.streaming.queries import QueryEnded
from loadtests.bench.backlog import World
from loadtests.chaos.drivers import Driver
from loadtests.chaos.kill_plan import HALVES

BETWEEN_SECONDS = 20.0  # of work between a recovery and the next kill
CURRENT_MS = 1000.0     # an alert that comes so soon after its event is of a stream that has caught up
LONGEST_SECONDS = 300.0
LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Recovered:
    """Seconds from when a killed detector was gone to the first alert of an event sent after that, and to the first within
    `CURRENT_MS` of its event; None where there was none within `LONGEST_SECONDS`, as where it does not hold the rate. Its JVM
    outlives its Python by moments, in which alerts still come.
    """

    first: float | None
    current: float | None


def recoveries(deployment: Deployment, world: World, rate: float, kills: int) -> list[Recovered]:
    """Of each kill, of the detector's Python and of its JVM in turns; none where no alert comes at all. Raises QueryEnded."""
    log = deployment.workspace.folder / "recovery.log"
    where = ["--data", str(deployment.workspace.data), "--bootstrap-servers", deployment.kafka.bootstrap_servers]
    command = [sys.executable, "-m", "common.cli", "detect", deployment.vertical.name, *where]
    with AlertWatch(deployment.kafka, topic_names(deployment.vertical).alerts) as watch:
        driver = Driver("detect", command, "judging", log, os.environ, lambda: watch.seen.updates)
        driver.start()
        try:
            if not driver.wait_until_ready():
                raise QueryEnded(f"detect did not start; see {log}")
            with _steady_load(deployment, world, rate):
                if _first(watch, lambda sent, came: True) is None:
                    return []
                return [_recovery(driver, watch, HALVES[number % len(HALVES)]) for number in range(kills)]
        finally:
            driver.stop()


def _recovery(driver: Driver, watch: AlertWatch, half: str) -> Recovered:
    time.sleep(BETWEEN_SECONDS)
    driver.kill(half)
    gone = time.time()
    driver.start()
    first = _first(watch, lambda sent, came: sent > gone)
    current = _first(watch, lambda sent, came: sent > gone and (came - sent) * 1000 < CURRENT_MS)
    return Recovered(*(None if came is None else came - gone for came in (first, current)))


def _first(watch: AlertWatch, is_it: Callable[[float, float], bool]) -> float | None:
    """When the first alert came of which `is_it` is true: when its newest event was sent, and when it came; epoch seconds."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        for came, milliseconds in list(watch.seen.latencies):
            if is_it(came - milliseconds / 1000, came):
                return came
        time.sleep(LOOK_EVERY)
    return None


@contextmanager
def _steady_load(deployment: Deployment, world: World, rate: float) -> Iterator[None]:
    """Events come in at `rate` a second while the block runs."""
    stop = threading.Event()

    def send() -> None:
        chunks = world.generate(deployment, False)
        with Producer(deployment.kafka, linger=0) as producer:
            send_generated(deployment.vertical, chunks, producer, partial(at_rate, per_second=rate), stop=stop)

    sender = threading.Thread(target=send, name="steady-load", daemon=True)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()
