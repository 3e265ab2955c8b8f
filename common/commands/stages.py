"""Defines the commands for one stage each, which run until stopped: generate, replay, archive, detect."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from common.clock import ClockWatch
from common.command_options import Data, Seed, Servers, Start, VerticalName, duration, first_day
from common.installed import find_vertical
from common.kafka.acls import role_rights
from common.kafka.connection import MAX_SILENCE_SECONDS, Connection, check_connection
from common.kafka.lag import LagMeter
from common.kafka.producers import Producer
from common.kafka.topics import ensure_topics, topic_names
from common.monitoring.alert_watch import AlertWatch
from common.monitoring.stage_report import StageReport, archived_line
from common.published.live_thresholds import thresholds
from common.replay.file_replay import ReplayCounts, plan_replay, replay_file
from common.replay.mapping import parse_mapping
from common.replay.pacing import end_schedule, schedule_at_rate, schedule_at_speed
from common.replay.send_generated_events import SendCounts, send_generated_events
from common.runtime import deployment_of, existing_broker, population_of, read_settings, session, session_of
from common.settings import SettingsError
from common.streaming.archiving import Archiving, run_archiving
from common.streaming.detection import run_detection
from common.terminal import console  # fmt: skip
from common.waiting import due_every, while_streaming

STATUS_INTERVAL_SECONDS = 10.0


def add_to(app: typer.Typer) -> None:
    for command in (generate, replay, archive, detect):
        app.command()(command)


def generate(
    vertical: VerticalName,
    rate: Annotated[float, typer.Option(min=0.001, help="events per second")] = 500,
    for_: Annotated[str | None, typer.Option("--for", help="how long, for instance 60s or 5m [default: until stopped]")] = None,
    days: Annotated[int, typer.Option(min=1, help="simulated days at most")] = 3650,
    start: Start = None,
    dirt: Annotated[bool, typer.Option(help="with late, duplicate and broken events")] = True,
    seed: Seed = 1,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Send synthetic events, and apart from them their labels, to the vertical's topics."""
    declared_vertical, settings = find_vertical(vertical), read_settings(data, servers)
    connection = existing_broker(settings)
    topics = role_rights(declared_vertical, "producer") | role_rights(declared_vertical, "labeller")
    ensure_topics(connection, declared_vertical, settings.partitions, settings.replication, only=topics)
    chunks = declared_vertical.generate(seed, first_day(start), days, population_of(declared_vertical), dirt)
    seconds = duration(for_) or math.inf
    say = _ProgressLine(
        lambda counts: f"{counts.events:,} events, {counts.labels:,} labels sent; simulated time {counts.simulated_time}"
    )
    with Producer(connection, 0.0 if rate <= 20_000 else 0.005, settings.delivery_timeout) as producer:
        counts = send_generated_events(
            declared_vertical,
            chunks,
            producer,
            lambda chunks: end_schedule(schedule_at_rate(chunks, rate), seconds),
            progress=say,
        )
    console.print(f"sent {counts.events:,} events and {counts.labels:,} labels")


def replay(
    vertical: VerticalName,
    file: Annotated[Path, typer.Option(help="CSV, JSON lines or Parquet")],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="event_field=column, once per field; field=A+B joins columns, field==text is the same for all rows; a field "
            "without it takes the column of its name",
        ),
    ] = None,
    speed: Annotated[str, typer.Option(help="times the events' own time, or max")] = "max",
    label: Annotated[str | None, typer.Option(help="column that says whether a row is anomalous")] = None,
    scenario: Annotated[str | None, typer.Option(help="column that says what kind of anomaly")] = None,
    label_delay: Annotated[float, typer.Option(min=0, help="days after which a label is known")] = 7,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Send a file that nobody here generated through the very same path, in the order and at the pace of its own time."""
    declared_vertical, settings = find_vertical(vertical), read_settings(data, servers)
    plan = plan_replay(declared_vertical, file, parse_mapping(map_ or []), label, scenario, timedelta(days=label_delay))
    speed_factor = speed_of(speed)
    connection = existing_broker(settings)
    topics = role_rights(declared_vertical, "producer") | (role_rights(declared_vertical, "labeller") if plan.labels else {})
    ensure_topics(connection, declared_vertical, settings.partitions, settings.replication, only=topics)
    with Producer(connection, delivery_timeout=settings.delivery_timeout) as producer:
        counts = replay_file(
            plan,
            producer,
            partial(schedule_at_speed, speed=speed_factor),
            progress=_ProgressLine(lambda counts: f"{counts.rows:,} rows read, {counts.events:,} events sent"),
        )
    console.print(replay_line(counts))


def archive(
    vertical: VerticalName,
    for_: Annotated[str | None, typer.Option("--for", help="how long [default: until stopped]")] = None,
    until_idle: Annotated[bool, typer.Option(help="end once all that is in the topics is archived")] = False,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Keep what comes in: valid events, quarantine, labels and alerts, each once, in Delta tables."""
    declared_vertical, settings = find_vertical(vertical), read_settings(data, servers)
    if until_idle:  # the pause between batches is there to make files large: here somebody waits
        settings = settings.model_copy(update={"archive_interval": 1})
    connection = existing_broker(settings)
    deployment = deployment_of(declared_vertical, settings, connection)
    ensure_topics(
        connection, declared_vertical, settings.partitions, settings.replication, only=role_rights(declared_vertical, "archive")
    )
    archiving: Archiving | None = None
    try:
        with (
            deployment.workspace.lock("archive"),
            session_of(deployment) as spark,
            run_archiving(spark, deployment) as archiving,
        ):
            console.print(f"archiving to {deployment.tables}; Ctrl-C ends it")
            if until_idle:
                drain(archiving, connection)
            else:
                _report_archive(archiving, connection, topic_names(declared_vertical).events, duration(for_))
    finally:
        if archiving:  # whatever ended it: what has come into the tables by then
            console.print(f"in the tables: {archived_line(archiving.counts)}", soft_wrap=True)


def _report_archive(archiving: Archiving, connection: Connection, topic: str, seconds: float | None) -> None:
    """Prints a line every few seconds if more records have come, until the time is over."""
    lag, last_line, is_due = LagMeter(connection, topic), "", due_every(STATUS_INTERVAL_SECONDS)
    for _ in while_streaming(seconds):
        archiving.raise_failure()
        if is_due():
            check_connection(connection, MAX_SILENCE_SECONDS)
            line = f"archived: {archived_line(archiving.counts)}; {lag.measure(archiving.progress()):,} records wait in the topic"
            if line != last_line:
                last_line = line
                console.print(line, soft_wrap=True)


def drain(archiving: Archiving, connection: Connection) -> None:
    """Return once all that is in the topics is archived.

    Raises BrokerError when the broker is gone, and ClockSetBack: Spark would wait for good, or until the clock is where it was.
    """
    is_due, clock = due_every(STATUS_INTERVAL_SECONDS), ClockWatch()
    is_due()  # the broker has just answered

    def check_surroundings() -> None:
        archiving.raise_failure()
        clock.check()
        if is_due():
            check_connection(connection, MAX_SILENCE_SECONDS)

    archiving.drain(check_surroundings)


def detect(
    vertical: VerticalName,
    for_: Annotated[str | None, typer.Option("--for", help="how long [default: until stopped]")] = None,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Judge events as they come; alerts go to the vertical's alerts topic."""
    declared_vertical, settings = find_vertical(vertical), read_settings(data, servers)
    connection = existing_broker(settings)
    deployment = deployment_of(declared_vertical, settings, connection)
    topics = role_rights(declared_vertical, "detector")
    partitions = ensure_topics(connection, declared_vertical, settings.partitions, settings.replication, only=topics)
    with (
        deployment.workspace.lock("detect"),
        session([declared_vertical], settings, partitions) as spark,
        AlertWatch(connection, topic_names(declared_vertical).alerts, settings.alert_cooldown) as watch,
        ExitStack() as ending,
        run_detection(spark, deployment) as detection,
    ):
        for line in detection.modes():
            console.print(line)
        for threshold in thresholds(declared_vertical, deployment.tables):
            if threshold.changed_by:
                console.print(f"{threshold.name}: {threshold.value:g}, published by {threshold.changed_by.details['who']}")
        report = StageReport(declared_vertical, deployment.tables, watch, detection.log.progress, _say)
        ending.callback(report.say_all)  # once the queries have ended, and what they judged last is on record
        console.print("judging; Ctrl-C ends it")
        is_due = due_every(STATUS_INTERVAL_SECONDS)
        for _ in while_streaming(duration(for_)):
            detection.keep_running()
            detection.follow_model()
            report.say_alerts()
            if is_due():
                check_connection(connection, MAX_SILENCE_SECONDS)
                report.say_all()
                for line in detection.log.watermarks.new_lines(spark, deployment):
                    _say(line)


def _say(line: str) -> None:
    # What an alert says may come from outside: it is text, not markup.
    console.print(line, markup=False, soft_wrap=True)


def speed_of(text: str) -> float:
    """Times event time; `max` is infinite. Raises SettingsError."""
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise SettingsError(f"--speed {text}: give a number above 0, or max")
    return speed


def replay_line(counts: ReplayCounts) -> str:
    """What a replay read and sent, in a line."""
    unusable = (
        f", of them {counts.unreadable:,} unreadable and {counts.untimed:,} without a readable time"
        if counts.unreadable + counts.untimed
        else ""
    )
    return f"{counts.rows:,} rows read{unusable}; {counts.events:,} events and {counts.labels:,} labels sent"


class _ProgressLine:
    """Prints a line of progress every few seconds."""

    def __init__(self, format_counts: Callable[[Any], str]) -> None:
        self._format_counts, self._printed_at = format_counts, 0.0

    def __call__(self, counts: ReplayCounts | SendCounts) -> None:
        if time.monotonic() - self._printed_at > STATUS_INTERVAL_SECONDS:
            self._printed_at = time.monotonic()
            console.print(self._format_counts(counts))
