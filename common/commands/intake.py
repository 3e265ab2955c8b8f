"""Runs `hybrid intake`, which makes events of a vertical from documents in another format, on a topic or in a file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka.admin import AdminClient

from common.command_options import Data, Servers, VerticalName
from common.errors import did_you_mean
from common.formats import Format
from common.installed import find_vertical
from common.intake.file import IntakeError, translate_file
from common.intake.topic import TopicIntake
from common.intake.translation import IntakeCounts, Translator
from common.kafka.acls import role_rights
from common.kafka.connection import MAX_SILENCE_SECONDS, BrokerError, Connection, check_connection, read_cluster
from common.kafka.producers import Producer
from common.kafka.topics import create_topics, ensure_topics, own_topics, topic_names
from common.runtime import existing_broker, read_settings
from common.settings import Settings, SettingsError
from common.terminal import console
from common.vertical import Vertical
from common.waiting import due_every

LINE_SECONDS = 10.0  # between two lines of progress


def add_to(app: typer.Typer) -> None:
    app.command()(intake)


def intake(
    vertical: VerticalName,
    format_: Annotated[str, typer.Option("--format", help="fhir (health_monitoring), ves (telecom_anomaly)")],
    topic: Annotated[str | None, typer.Option(help="topic of documents in that format, one a record; Ctrl-C ends it")] = None,
    file: Annotated[
        Path | None, typer.Option(help="a JSON document, or one a line (.ndjson, .jsonl), packed by gzip or not")
    ] = None,
    until_idle: Annotated[bool, typer.Option(help="end once all that is in the topic is translated")] = False,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Translate documents in another format, from a topic or a file, and send them to the events topic.

    What cannot be translated is sent as it is, for the archive to quarantine. Several of the same vertical and topic share the
    topic's partitions; one that is started again goes on where Kafka had acknowledged what it sent.
    """
    subject, settings = find_vertical(vertical), read_settings(data, servers)
    translator = Translator(subject, find_format(subject, format_))
    if (topic is None) == (file is None):
        raise SettingsError("give either --topic or --file")
    if topic is not None:
        check_source(subject, topic)
    if file is not None and not file.exists():
        raise IntakeError(f"--file {file}: there is no such file")
    connection = existing_broker(settings)
    ensure_topics(connection, subject, settings.partitions, settings.replication, only=role_rights(subject, "producer"))
    if topic is not None:
        ensure_source(connection, topic, settings)
        console.print(f"translating what comes to topic {topic}; Ctrl-C ends it", markup=False)
    counts = IntakeCounts()
    try:
        if topic is not None:
            print_progress = progress_printer(counts, partial(check_connection, connection, MAX_SILENCE_SECONDS))
            TopicIntake(connection, topic, translator).run(counts, until_idle, print_progress)
        elif file is not None:
            with Producer(connection, delivery_timeout=settings.delivery_timeout) as producer:
                translate_file(file, translator, producer, counts, progress_printer(counts))
    finally:  # whatever ended it: what Kafka has acknowledged by then
        console.print(str(counts), markup=False, soft_wrap=True)


def find_format(vertical: Vertical, name: str) -> Format:
    """The vertical's format of that name. Raises SettingsError where it has none."""
    if name in vertical.formats:
        return vertical.formats[name]
    if not vertical.formats:
        raise SettingsError(f"--format {name}: {vertical.name} reads its own events alone; hybrid replay sends files of them")
    names = ", ".join(vertical.formats)
    raise SettingsError(f"--format {name}: {vertical.name} reads {names}{did_you_mean(name, vertical.formats)}")


def check_source(vertical: Vertical, topic: str) -> None:
    """Raises SettingsError for a topic that the vertical's own records lie on: what is sent on would come round again."""
    if topic in {*topic_names(vertical), *own_topics(vertical)}:
        raise SettingsError(f"--topic {topic}: this is a topic of {vertical.name} itself; give one that others send documents to")


def ensure_source(connection: Connection, topic: str, settings: Settings) -> None:
    """Create the topic where it is missing from an embedded broker; raises BrokerError where it is missing from a given Kafka."""
    topics = read_cluster(connection).topics
    if topic in topics:
        return
    if settings.bootstrap_servers:
        raise BrokerError(f"--topic {topic}: {connection.bootstrap_servers} has no such topic{did_you_mean(topic, topics)}")
    create_topics(AdminClient(connection.client_options()), connection, [topic], settings.partitions, settings.replication)
    console.print(f"topic {topic} was not there: it is now, with {settings.partitions} partitions", markup=False)


def progress_printer(counts: IntakeCounts, on_interval: Callable[[], object] = lambda: None) -> Callable[[], None]:
    """A function to be called often: every LINE_SECONDS it prints the counts if they have changed, and calls `on_interval`."""
    is_due, last_line = due_every(LINE_SECONDS), str(counts)

    def print_progress() -> None:
        nonlocal last_line
        if is_due():
            if str(counts) != last_line:
                last_line = str(counts)
                console.print(last_line, markup=False, soft_wrap=True)
            on_interval()

    return print_progress
