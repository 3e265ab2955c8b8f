"""Runs drivers and broker on known events and kills them as planned, until all records that came in are judged and archived."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from common import tables
from common.deployment import Deployment
from common.embedded.kafka import EmbeddedKafka
from common.embedded.supervise import SupervisedProcess, start_supervised
from common.kafka.producers import DeliveryFailed, Producer
from common.kafka.topics import end_offsets, topic_names
from common.monitoring.alert_watch import AlertWatch
from common.reconciliation.lineage import finished_ends
from common.simulation.fuzz import Envelope
from common.streaming.queries import QueryEnded
from loadtests.chaos.drivers import Driver
from loadtests.chaos.expected import Fuzz
from loadtests.chaos.kill_plan import BROKER, PARTITIONS, Kill
from loadtests.chaos.topic_faults import add_partition, roll_back_transaction
from loadtests.simulation_spec import SimulationSpec

POLL_SECONDS = 0.2
QUIET_SECONDS = 25.0  # without an alert, after which none is expected any more
RECOVERY_SECONDS = 120.0  # of such quiet that a driver gets which is still starting
CHECKPOINT_INTERVAL = "10"
END_SECONDS = 600.0  # for the pipeline to come to rest, and for the archive to end


class PipelineUnsettled(QueryEnded):
    """The pipeline did not start, or did not come to rest after the last kill."""


@dataclass
class FaultReport:
    """What happened. spontaneous_exits: by driver, exit statuses of ends that no kill caused; memory_mib: by driver, samples.

    survivors: processes that outlived their driver; alerts: different ones on the topic; fuzz_sent, fuzz_refused: records that
    Kafka took, and that were too large for it; rolled_back: offsets of the topic that belong to a rolled-back transaction.
    """

    kills: list[Kill]
    spontaneous_exits: dict[str, list[int]] = field(default_factory=dict)
    memory_mib: dict[str, list[float]] = field(default_factory=dict)
    survivors: int = 0
    alerts: int = 0
    fuzz_sent: int = 0
    fuzz_refused: int = 0
    rolled_back: int = 0


@dataclass(frozen=True)
class ChaosRun:
    """What is run. events: records of `simulation` to send, at `rate` a second; fuzz: records that are sent among them.

    broker_away_seconds: for which a killed broker stays away.
    """

    deployment: Deployment
    simulation: SimulationSpec
    events: int
    rate: float
    fuzz: Fuzz
    broker_away_seconds: float = 0

    @property
    def seconds(self) -> float:
        """For which events come in."""
        return self.events / self.rate


def run_with_faults(run: ChaosRun, broker: EmbeddedKafka, kills: list[Kill]) -> FaultReport:
    """Runs the pipeline, kills as planned, and returns when every event is judged and archived. Raises PipelineUnsettled."""
    fault_report = FaultReport(kills)
    vertical, folder = run.deployment.vertical, run.deployment.workspace.folder
    with ExitStack() as stack:
        watch = stack.enter_context(AlertWatch(run.deployment.kafka, topic_names(vertical).alerts))
        drivers = {driver.name: stack.enter_context(_running_driver(driver)) for driver in _make_drivers(run, watch)}
        for driver in drivers.values():
            if not driver.wait_until_ready():
                raise PipelineUnsettled(f"{driver.name} did not start; see {driver.log}")
        fault_report.rolled_back = roll_back_transaction(run.deployment.kafka, vertical, run.fuzz.values)
        generator = stack.enter_context(_running_generator(run))
        recoveries = _inject_kills(run, broker, drivers, fault_report, generator)
        if generator.exit_status():
            raise PipelineUnsettled(f"the generator ended with {generator.exit_status()}; see {folder / 'generator.log'}")
        _wait_until_settled(run, drivers, watch, recoveries)
        # By a clock that is set back, some alerts come before the watch's start: these count as earlier.
        fault_report.alerts = watch.tally.alerts.total() + watch.tally.earlier
        fault_report.spontaneous_exits = {driver.name: driver.spontaneous_exits for driver in drivers.values()}
        fault_report.memory_mib = {driver.name: driver.memory_mib for driver in drivers.values()}
        fault_report.survivors = sum(driver.survivors for driver in drivers.values())
    status, _ = archive_all(run)
    if status != 0:
        raise PipelineUnsettled(f"the archive did not come to its end; see {folder / 'archive.log'}")
    return fault_report


def _make_drivers(run: ChaosRun, watch: AlertWatch) -> list[Driver]:
    environment = {"HYBRID_CHECKPOINT_INTERVAL": CHECKPOINT_INTERVAL, **os.environ}
    folder = run.deployment.workspace.folder
    archive, detect = _command(run, "archive"), _command(run, "detect")
    return [
        Driver("archive", archive, "archiving to", folder / "archive.log", environment, lambda: _count_archived(run)),
        Driver("detect", detect, "judging", folder / "detect.log", environment, lambda: watch.tally.updates),
    ]


@contextmanager
def _running_driver(driver: Driver) -> Iterator[Driver]:
    driver.start()
    try:
        yield driver
    finally:
        driver.stop()


@contextmanager
def _running_generator(run: ChaosRun) -> Iterator[SupervisedProcess]:
    # Record n is due n / rate seconds after the start: half a record less than `events` sends exactly that many.
    pace = ["--rate", str(run.rate), "--for", f"{(run.events - 0.5) / run.rate:.6f}s"]
    simulation = ["--seed", str(run.simulation.seed), "--start", run.simulation.start.isoformat()]
    environment = {**os.environ, "HYBRID_DELIVERY_TIMEOUT": f"{END_SECONDS + run.broker_away_seconds}"}
    command = [*_command(run, "generate"), *pace, *simulation]
    with start_supervised(command, run.deployment.workspace.folder / "generator.log", environment=environment) as generator:
        yield generator


def _command(run: ChaosRun, name: str, *options: str) -> list[str]:
    folder_and_broker = [
        "--data", str(run.deployment.workspace.data), "--bootstrap-servers", run.deployment.kafka.bootstrap_servers
    ]  # fmt: skip
    return [sys.executable, "-m", "common.cli", name, run.deployment.vertical.name, *folder_and_broker, *options]


def _inject_kills(
    run: ChaosRun, broker: EmbeddedKafka, drivers: dict[str, Driver], fault_report: FaultReport, generator: SupervisedProcess
) -> "list[_PendingRecovery]":
    """Carry out each kill when it is due, until the generator has ended. Returns the recoveries that are not over."""
    due_kills, recoveries, fuzz = list(fault_report.kills), list[_PendingRecovery](), run.fuzz.records()
    started_at, fuzz_sent = time.monotonic(), 0
    producer = Producer(run.deployment.kafka, delivery_timeout=END_SECONDS + run.broker_away_seconds)
    with suppress(DeliveryFailed), producer:  # what is too large for the topic is counted below
        while generator.exit_status() is None or due_kills:
            elapsed = time.monotonic() - started_at
            while due_kills and due_kills[0].at_seconds <= elapsed:
                recoveries.append(_kill_and_restart(due_kills.pop(0), run, broker, drivers))
            target = int(len(run.fuzz) * min(1.0, elapsed / run.seconds))
            _send_fuzz(producer, run, islice(fuzz, target - fuzz_sent))
            fuzz_sent = target
            recoveries = _keep_running(drivers, recoveries)
        _send_fuzz(producer, run, fuzz)
    fault_report.fuzz_sent, fault_report.fuzz_refused = producer.delivered_count, producer.failed_count
    return recoveries


@dataclass(frozen=True)
class _PendingRecovery:
    """A kill whose victim's work has not gone on yet. started_at: `time.monotonic()`; progress: the driver's when it was gone."""

    kill: Kill
    driver: Driver
    started_at: float
    progress: int

    def finish(self) -> bool:
        """Whether the driver's work has gone on; if so, notes in the kill how long that took."""
        if self.driver.progress() <= self.progress:
            return False
        self.kill.recovery_seconds = time.monotonic() - self.started_at
        return True


def _kill_and_restart(kill: Kill, run: ChaosRun, broker: EmbeddedKafka, drivers: dict[str, Driver]) -> _PendingRecovery:
    """Kill and start again. A broker's work goes on when an alert comes through it, counted from its return."""
    started_at, driver = time.monotonic(), drivers.get(kill.victim, drivers["detect"])
    if kill.victim == BROKER:
        broker.kill()
        progress = driver.progress()
        while time.monotonic() < started_at + run.broker_away_seconds:
            _keep_running(drivers, [])
        started_at = time.monotonic()
        broker.start()
    elif kill.victim == PARTITIONS:
        add_partition(run.deployment.kafka, run.deployment.vertical)
        progress = driver.progress()
    else:
        driver.kill(kill.process_kind)
        progress = driver.progress()
        driver.start()
    return _PendingRecovery(kill, driver, started_at, progress)


def _keep_running(drivers: dict[str, Driver], recoveries: list[_PendingRecovery]) -> list[_PendingRecovery]:
    """Start again what has ended; returns, a moment later, the recoveries that are not over."""
    for driver in drivers.values():
        driver.keep_running()
    time.sleep(POLL_SECONDS)
    return [recovery for recovery in recoveries if not recovery.finish()]


def _send_fuzz(producer: Producer, run: ChaosRun, fuzz: Iterable[tuple[bytes | None, Envelope]]) -> None:
    for value, (key, headers, timestamp) in fuzz:
        producer.send(topic_names(run.deployment.vertical).events, key, value, timestamp, headers=headers)


def _wait_until_settled(run: ChaosRun, drivers: dict[str, Driver], watch: AlertWatch, recoveries: list[_PendingRecovery]) -> None:
    """Returns when every query has judged all records, no alert has come for a while, and all killed drivers are at work again.

    The wait for a driver has a limit: an archive that was killed last may have nothing left to do.
    """
    vertical = run.deployment.vertical
    topic_ends = end_offsets(run.deployment.kafka, topic_names(vertical).events)
    targets = {(query.name, partition): end for query in vertical.queries for partition, end in topic_ends.items()}
    deadline, quiet_since, updates = time.monotonic() + END_SECONDS, time.monotonic(), -1
    while (quiet_seconds := time.monotonic() - quiet_since) < QUIET_SECONDS or (recoveries and quiet_seconds < RECOVERY_SECONDS):
        recoveries = _keep_running(drivers, recoveries)
        ends = finished_ends(run.deployment.workspace)
        missing_offsets = {query: target - ends.get(query, 0) for query, target in targets.items() if ends.get(query, 0) < target}
        if time.monotonic() > deadline:
            raise PipelineUnsettled(
                f"{END_SECONDS:.0f} s after the last kill, records of query and partition are not judged: {missing_offsets}"
            )
        if missing_offsets or watch.tally.updates != updates:
            quiet_since, updates = time.monotonic(), watch.tally.updates


def archive_all(run: ChaosRun) -> tuple[int | None, str]:
    """Archive all that is in the topics: the exit status, None where it did not end in time, and the output."""
    log = run.deployment.workspace.folder / "archive.log"
    log_size = log.stat().st_size if log.exists() else 0
    with start_supervised(_command(run, "archive", "--until-idle"), log) as archive:
        deadline = time.monotonic() + END_SECONDS
        while archive.exit_status() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return archive.exit_status(), log.read_bytes()[log_size:].decode(errors="replace")


def _count_archived(run: ChaosRun) -> int:
    return sum(tables.row_count(run.deployment.workspace.table(name)) for name in ("events", "quarantine"))
