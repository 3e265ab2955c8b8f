"""Measures how long after a SIGKILL amid a steady stream alerts come again, of a detector that is started again at once."""

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
from common.replay.pacing import schedule_at_rate
from common.replay.send_generated_events import send_generated_events
from common.streaming.queries import QueryEnded
from loadtests.chaos.drivers import Driver
from loadtests.chaos.kill_plan import PROCESS_KINDS
from loadtests.simulation_spec import SimulationSpec

WORK_SECONDS = 20.0  # between a recovery and the next kill
CURRENT_MS = 1000.0  # a stream whose alerts come so soon after their events has caught up
MAX_WAIT_SECONDS = 300.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Recovery:
    """Seconds from when a killed detector was gone to the first alert of an event sent after that, and to the first within
    `CURRENT_MS` of its event; None where there was none within `MAX_WAIT_SECONDS`, as where the detector does not hold the rate.
    The JVM outlives its Python by moments, in which alerts still come.
    """

    first: float | None
    current: float | None


def measure_recoveries(deployment: Deployment, simulation: SimulationSpec, rate: float, kills: int) -> list[Recovery]:
    """Kills the detector's Python and JVM in turns and measures each recovery; empty if no alert comes. Raises QueryEnded."""
    vertical, workspace = deployment.vertical, deployment.workspace
    log = workspace.folder / "recovery.log"
    folder_and_broker = ["--data", str(workspace.data), "--bootstrap-servers", deployment.kafka.bootstrap_servers]
    command = [sys.executable, "-m", "common.cli", "detect", vertical.name, *folder_and_broker]
    with AlertWatch(deployment.kafka, topic_names(vertical).alerts) as watch:
        driver = Driver("detect", command, "judging", log, os.environ, lambda: watch.tally.updates)
        driver.start()
        try:
            if not driver.wait_until_ready():
                raise QueryEnded(f"detect did not start; see {log}")
            with _steady_events(deployment, simulation, rate):
                if _wait_for_alert(watch, lambda sent_at, arrival: True) is None:
                    return []
                return [_measure_recovery(driver, watch, PROCESS_KINDS[number % len(PROCESS_KINDS)]) for number in range(kills)]
        finally:
            driver.stop()


def _measure_recovery(driver: Driver, watch: AlertWatch, process_kind: str) -> Recovery:
    time.sleep(WORK_SECONDS)
    driver.kill(process_kind)
    kill_time = time.time()
    driver.start()
    first = _wait_for_alert(watch, lambda sent_at, arrival: sent_at > kill_time)
    current = _wait_for_alert(watch, lambda sent_at, arrival: sent_at > kill_time and (arrival - sent_at) * 1000 < CURRENT_MS)
    return Recovery(*(None if arrival is None else arrival - kill_time for arrival in (first, current)))


def _wait_for_alert(watch: AlertWatch, is_sought: Callable[[float, float], bool]) -> float | None:
    """When the first alert came of which `is_sought(its newest event's time, its arrival)` is true; all in epoch seconds."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline:
        for arrival, milliseconds in list(watch.tally.latencies):
            if is_sought(arrival - milliseconds / 1000, arrival):
                return arrival
        time.sleep(POLL_SECONDS)
    return None


@contextmanager
def _steady_events(deployment: Deployment, simulation: SimulationSpec, rate: float) -> Iterator[None]:
    """Sends events at `rate` a second while the block runs."""
    stop = threading.Event()

    def send() -> None:
        chunks = simulation.generate(deployment.vertical, with_dirt=False)
        with Producer(deployment.kafka, linger=0) as producer:
            send_generated_events(deployment.vertical, chunks, producer, partial(schedule_at_rate, per_second=rate), stop=stop)

    sender = threading.Thread(target=send, name="steady-load", daemon=True)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()
