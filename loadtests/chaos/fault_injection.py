"""The disturbed run: drivers and broker at work on known events, killed as planned, until all that came in has been judged."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import islice

from common import tables
from common.embedded.kafka import EmbeddedKafka
from common.embedded.supervise import Supervised, supervised
from common.kafka.connection import Connection
from common.kafka.producers import Producer, Undelivered
from common.kafka.topics import end_offsets, topic_names
from common.monitoring.alert_watch import AlertWatch
from common.reconciliation.lineage import judged_ends
from common.simulation.fuzz import Envelope
from common.streaming.queries import QueryEnded
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.chaos.drivers import Driver
from loadtests.chaos.expected import Fuzz
from loadtests.chaos.kill_plan import BROKER, PARTITIONS, Kill
from loadtests.chaos.topic_faults import add_partition, roll_back

LOOK_EVERY = 0.2
QUIET = 25.0  # seconds without an alert after which none is expected any more
LONGEST_RECOVERY = 120.0  # of that silence, for a driver that is starting
CHECKPOINT_INTERVAL = "10"
LONGEST_END = 600.0


class Unsettled(QueryEnded):
    """After the last kill the pipeline did not come to rest."""


@dataclass
class Disturbed:
    """What happened. ended: by driver, exit statuses of ends that nobody asked for; memory: by driver, MiB held now and then.

    outlived: processes that outlived their driver; alerts: different ones on the topic; fuzz_sent, fuzz_refused: records that
    Kafka took, and that were too large for it; rolled_back: offsets of the topic that are of a transaction which was.
    """

    kills: list[Kill]
    ended: dict[str, list[int]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    outlived: int = 0
    alerts: int = 0
    fuzz_sent: int = 0
    fuzz_refused: int = 0
    rolled_back: int = 0


@dataclass(frozen=True)
class Run:
    """seconds: how long events come in, at `rate` a second; fuzz: records that are sent among them.

    broker_away: seconds that a killed broker stays away.
    """

    vertical: Vertical
    workspace: Workspace
    connection: Connection
    seconds: float
    rate: float
    events: int
    seed: int
    start: date
    fuzz: Fuzz
    broker_away: float = 0


def disturb(run: Run, broker: EmbeddedKafka, kills: list[Kill]) -> Disturbed:
    """Run it all, kill as planned, and return when every event has been judged and archived. Raises Unsettled."""
    result = Disturbed(kills)
    topics = topic_names(run.vertical)
    with ExitStack() as stack:
        watch = stack.enter_context(AlertWatch(run.connection, topics.alerts))
        drivers = {driver.name: stack.enter_context(_running(driver)) for driver in _drivers(run, watch)}
        for driver in drivers.values():
            if not driver.wait_until_ready():
                raise Unsettled(f"{driver.name} did not start; see {driver.log}")
        result.rolled_back = roll_back(run.connection, run.vertical, run.fuzz.values)
        source = stack.enter_context(_generator(run))
        recovering = _kill_all(run, broker, drivers, result, source)
        if source.exit_status():
            raise Unsettled(f"the generator ended with {source.exit_status()}; see {run.workspace.folder / 'generator.log'}")
        _settle(run, drivers, watch, recovering)
        result.alerts = watch.seen.alerts.total() + watch.seen.earlier  # by a clock that is set back, some come before its start
        result.ended = {driver.name: driver.ended for driver in drivers.values()}
        result.memory = {driver.name: driver.memory for driver in drivers.values()}
        result.outlived = sum(driver.outlived for driver in drivers.values())
    status, _ = archive_all(run)
    if status != 0:
        raise Unsettled(f"the archive did not come to its end; see {run.workspace.folder / 'archive.log'}")
    return result


def _drivers(run: Run, watch: AlertWatch) -> list[Driver]:
    environment = {"HYBRID_CHECKPOINT_INTERVAL": CHECKPOINT_INTERVAL, **os.environ}
    folder = run.workspace.folder
    return [
        Driver("archive", _command(run, "archive"), "archiving to", folder / "archive.log", environment, lambda: _archived(run)),
        Driver("detect", _command(run, "detect"), "judging", folder / "detect.log", environment, lambda: watch.seen.updates),
    ]


@contextmanager
def _running(driver: Driver) -> Iterator[Driver]:
    driver.start()
    try:
        yield driver
    finally:
        driver.stop()


@contextmanager
def _generator(run: Run) -> Iterator[Supervised]:
    # Record n is due n / rate seconds after the start: half a record less than `events` sends exactly that many.
    timed = ["--rate", str(run.rate), "--for", f"{(run.events - 0.5) / run.rate:.6f}s"]
    same = ["--seed", str(run.seed), "--start", run.start.isoformat()]
    patient = {**os.environ, "HYBRID_DELIVERY_TIMEOUT": f"{LONGEST_END + run.broker_away}"}
    command = [*_command(run, "generate"), *timed, *same]
    with supervised(command, run.workspace.folder / "generator.log", environment=patient) as source:
        yield source


def _command(run: Run, name: str, *more: str) -> list[str]:
    where = ["--data", str(run.workspace.data), "--bootstrap-servers", run.connection.bootstrap_servers]
    return [sys.executable, "-m", "common.cli", name, run.vertical.name, *where, *more]


def _kill_all(
    run: Run, broker: EmbeddedKafka, drivers: dict[str, Driver], result: Disturbed, source: Supervised
) -> "list[_Recovering]":
    """Until the generator has ended: kill whoever's moment has come. Returns the kills that nobody has recovered from yet."""
    due, recovering, fuzz = list(result.kills), list[_Recovering](), run.fuzz.records()
    began, sent = time.monotonic(), 0
    producer = Producer(run.connection, delivery_timeout=LONGEST_END + run.broker_away)
    with suppress(Undelivered), producer:  # what is too large for the topic is counted below
        while source.exit_status() is None or due:
            elapsed = time.monotonic() - began
            while due and due[0].at <= elapsed:
                recovering.append(_strike(due.pop(0), run, broker, drivers))
            wanted = int(len(run.fuzz) * min(1.0, elapsed / run.seconds))
            _send(producer, run, islice(fuzz, wanted - sent))
            sent = wanted
            recovering = _look(drivers, recovering)
        _send(producer, run, fuzz)
    result.fuzz_sent, result.fuzz_refused = producer.delivered, producer.failed
    return recovering


@dataclass(frozen=True)
class _Recovering:
    """A kill whose victim's work has not gone on yet. before: the driver's progress when it was gone."""

    kill: Kill
    driver: Driver
    at: float
    before: int

    def over(self) -> bool:
        if self.driver.progress() <= self.before:
            return False
        self.kill.back = time.monotonic() - self.at
        return True


def _strike(kill: Kill, run: Run, broker: EmbeddedKafka, drivers: dict[str, Driver]) -> _Recovering:
    """Kill and start again. A broker's work goes on when an alert comes through it, counted from its return."""
    at, driver = time.monotonic(), drivers.get(kill.victim, drivers["detect"])
    if kill.victim == BROKER:
        broker.kill()
        before = driver.progress()
        while time.monotonic() < at + run.broker_away:
            _look(drivers, [])
        at = time.monotonic()
        broker.start()
    elif kill.victim == PARTITIONS:
        add_partition(run.connection, run.vertical)
        before = driver.progress()
    else:
        driver.kill(kill.half)
        before = driver.progress()
        driver.start()
    return _Recovering(kill, driver, at, before)


def _look(drivers: dict[str, Driver], recovering: list[_Recovering]) -> list[_Recovering]:
    """Start again what has ended; returns, a moment later, the kills that are not recovered from yet."""
    for driver in drivers.values():
        driver.keep_running()
    time.sleep(LOOK_EVERY)
    return [each for each in recovering if not each.over()]


def _send(producer: Producer, run: Run, fuzz: Iterable[tuple[bytes | None, Envelope]]) -> None:
    for value, (key, headers, timestamp) in fuzz:
        producer.send(topic_names(run.vertical).events, key, value, timestamp, headers=headers)


def _settle(run: Run, drivers: dict[str, Driver], watch: AlertWatch, recovering: list[_Recovering]) -> None:
    """Returns when every query has judged all there is, no alert has come for a while, and who was killed is back at work.

    That is not waited for for good: an archive that was killed last may have nothing left to do.
    """
    ends = end_offsets(run.connection, topic_names(run.vertical).events)
    wanted = {(query.name, partition): end for query in run.vertical.queries for partition, end in ends.items()}
    deadline, quiet_since, updates = time.monotonic() + LONGEST_END, time.monotonic(), -1
    while (quiet := time.monotonic() - quiet_since) < QUIET or (recovering and quiet < LONGEST_RECOVERY):
        recovering = _look(drivers, recovering)
        judged = judged_ends(run.workspace)
        behind = {query: end - judged.get(query, 0) for query, end in wanted.items() if judged.get(query, 0) < end}
        if time.monotonic() > deadline:
            raise Unsettled(f"{LONGEST_END:.0f} s after the last kill, records of query and partition are not judged: {behind}")
        if behind or watch.seen.updates != updates:
            quiet_since, updates = time.monotonic(), watch.seen.updates


def archive_all(run: Run) -> tuple[int | None, str]:
    """Archive all that is in the topics: the exit status, None where it did not end, and what was said."""
    log = run.workspace.folder / "archive.log"
    so_far = log.stat().st_size if log.exists() else 0
    with supervised(_command(run, "archive", "--until-idle"), log) as last:
        deadline = time.monotonic() + LONGEST_END
        while last.exit_status() is None and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
        return last.exit_status(), log.read_bytes()[so_far:].decode(errors="replace")


def _archived(run: Run) -> int:
    return sum(tables.row_count(run.workspace.table(name)) for name in ("events", "quarantine"))
